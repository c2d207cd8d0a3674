"""Sessions that are told with each row that changes them."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.flow.test_windowed import CUTS, EVENTS, LATENESS, cut, of_task, sessions_of, windowed
from tests.flow.windowing import Event, Result, Running, results

from headwater.product.windows import SessionWindows


def folded(told: Sequence[Result]) -> list[Result]:
    """What a reader has who lets each row replace those of its group whose bounds it holds."""
    held: list[Result] = []
    for row in told:
        held = [
            old
            for old in held
            if not (old[:2] == row[:2] and row[2] <= old[2] and old[3] <= row[3])
        ]
        held.append(row)
    return sorted(held, key=lambda row: (row[3], row[0] is not None, row[0] or 0, row[1]))


def grown(events: Sequence[Event], gap: int, lateness: int) -> list[Result]:
    """Row by row, each with the session it is in, of those before it that were not late."""
    told: list[Result] = []
    for count, event in enumerate(events, start=1):
        before = events[:count]
        mark = max(each.time or 0 for each in before)
        if (event.time or 0) + lateness >= mark:
            standing = sessions_of(before, gap, lateness)
            group = (event.kind, event.id)
            (mine,) = (
                row
                for row in standing
                if row[:2] == group and row[2] <= (event.time or 0) <= row[3] - gap
            )
            told.append(mine)
    return told


@given(EVENTS, CUTS, st.integers(1, 8), LATENESS)
def test_sessions_told_on_change_are_those_of_one_record_after_the_other(
    events: list[Event], ends: list[int], gap: int, lateness: str
) -> None:
    """Any batching tells the same; the last rows of sessions are those that they close with."""
    windows, wait_ms = SessionWindows(f"{gap}ms"), int(lateness.rstrip("ms"))
    running, closing = (
        Running(windowed(windows, lateness, emit)) for emit in ("on_change", "on_close")
    )
    parts = cut(of_task(events), ends)
    found = [row for part in parts for row in results(running.run(part))]
    assert found == grown(of_task(events), gap, wait_ms)
    closed = [row for part in parts for row in results(closing.run(part))]
    closed += results(closing.run([], {0: 10_000}))
    assert folded(found) == closed
    assert results(running.run([], {0: 10_000})) == []
    running.commit()
    assert running.store.sizes()[0].keys == 0, "nothing is left"
