"""A reading that goes on for ever is closed, whatever its reader is at."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.reader.shop import Shop, places

from headwater.adapters.memory import MemoryFollower
from headwater.errors import ReadRefusedError
from headwater.reader.reading import Reading

ORDERS = 5
LONGEST_S = 60.0


@pytest.fixture
def shop() -> Shop:
    """A log of a few orders."""
    made = Shop()
    made.publish(ORDERS)
    return made


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each client that was let go of."""
    told: list[str] = []
    monkeypatch.setattr(MemoryFollower, "close", lambda _self: told.append("follower"))
    return told


def at_empty_poll(patch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do that within each poll that finds nothing."""
    poll = MemoryFollower.poll

    def polled(*given: Any) -> Any:
        found = poll(*given)
        if not found:
            do()
        return found

    patch.setattr(MemoryFollower, "poll", polled)


def read(reading: Reading) -> tuple[int, str]:
    """How many rows came until it ended, and the code of its end."""
    rows = 0
    try:
        for frame in reading:
            rows += frame.height
    except ReadRefusedError as error:
        return rows, error.code
    return rows, ""


def test_another_thread_closes_it(
    shop: Shop, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that waits is told, lets go of the clients, and its token goes on."""
    waits = threading.Event()
    at_empty_poll(monkeypatch, waits.set)
    reading = shop.product().read("beginning")
    told: list[tuple[int, str]] = []
    reader = threading.Thread(target=lambda: told.append(read(reading)))
    reader.start()
    assert waits.wait(LONGEST_S)
    reading.close()
    reader.join(LONGEST_S)
    assert told == [(ORDERS, "READING_ENDED")]
    assert closed == ["follower"]
    shop.publish(2)
    again = [
        place for frame in shop.product().read(reading.token, "now") for place in places(frame)
    ]
    assert len(again) == 2


def test_a_handler_of_signals_closes_it(
    shop: Shop, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs amid a step of the very thread that reads, which must not wait for itself."""
    reading = shop.product().read("beginning")
    before = signal.signal(signal.SIGUSR1, lambda *_: reading.close())
    try:
        at_empty_poll(monkeypatch, lambda: signal.raise_signal(signal.SIGUSR1))
        assert read(reading) == (ORDERS, "READING_ENDED")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert closed == ["follower"]


def test_a_frame_that_was_made_while_it_is_closed_is_behind_its_token(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not given, so it is not passed either."""
    reading = shop.product().read("beginning")
    poll = MemoryFollower.poll

    def closing(*given: Any) -> Any:
        reading.close()
        return poll(*given)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFollower, "poll", closing)
        assert read(reading) == (0, "READING_ENDED")
    again = shop.product().read(reading.token, "now")
    assert sum(frame.height for frame in again) == ORDERS


def test_who_reads_on_while_it_is_being_closed_is_told_that(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other thread reads it, and to let go of the clients takes its time."""
    reading = shop.product().read("beginning")
    codes: list[str] = []

    def also(_follower: MemoryFollower) -> None:
        with pytest.raises(ReadRefusedError, match="was closed") as refused:
            next(reading)
        reading.close()
        codes.append(refused.value.code)

    monkeypatch.setattr(MemoryFollower, "close", also)
    next(reading)
    reading.close()
    assert codes == ["READING_ENDED"]


def test_a_second_thread_is_told_to_read_its_own(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of one reading are one after the other; the first goes on."""
    reading = shop.product().read("beginning")
    codes: list[str] = []

    def also() -> None:
        with pytest.raises(ReadRefusedError, match="another thread") as refused:
            next(reading)
        codes.append(refused.value.code)
        reading.close()

    at_empty_poll(monkeypatch, also)
    assert read(reading) == (ORDERS, "READING_ENDED")
    assert codes == ["READING_ENDED"]
