"""Windows as they are declared."""

import pytest

from headwater.product.windows import (
    SessionWindows,
    TimeWindows,
    hopping,
    session,
    tumbling,
    windows_mistakes,
)


def test_windows_say_their_lengths_in_milliseconds() -> None:
    """Sizes are durations as elsewhere in a declaration; tumbling is hopping by its own size."""
    assert (tumbling("1h").size_ms, tumbling("1h").every_ms) == (3_600_000, 3_600_000)
    assert (hopping("1h", every="10m").size_ms, hopping("1h", every="10m").every_ms) == (
        3_600_000,
        600_000,
    )
    assert session(gap="30m").gap_ms == 1_800_000
    assert tumbling("1h") == hopping("1h", every="1h")


@pytest.mark.parametrize(
    "windows", [tumbling("1h"), hopping("1h", every="7m"), session(gap="3660d")]
)
def test_sound_windows_have_no_mistakes(windows: object) -> None:
    """What works is accepted; `every` need not divide `size`."""
    assert windows_mistakes(windows) == []


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ("1h", "no windows"),
        (tumbling("soon"), "size='soon' is no duration"),
        (tumbling("0m"), "size='0m' is no duration"),
        (tumbling("1.5h"), "is no duration"),
        (TimeWindows(5, 5), "size=5 is no duration"),  # type: ignore[arg-type]  # the mistake
        (hopping("1h", every="x"), "every='x' is no duration"),
        (hopping("1h", every="2h"), "would be in none"),
        (hopping("1d", every="1s"), "more than 1000 windows"),
        (tumbling("3661d"), "longer than ten years"),
        (SessionWindows("-1m"), "gap='-1m' is no duration"),
    ],
)
def test_each_mistake_in_windows_is_told_once(windows: object, words: str) -> None:
    """One sentence says what is wrong and what to write."""
    (mistake,) = windows_mistakes(windows)
    assert words in mistake
    assert "write" in mistake


def test_a_length_is_not_guessed() -> None:
    """Asking windows with a mistake for their length raises."""
    with pytest.raises(ValueError, match="no duration"):
        _ = session(gap="soon").gap_ms
