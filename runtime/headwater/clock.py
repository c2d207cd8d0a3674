"""Time as an argument: whoever needs the time is handed a Clock."""

import time
from datetime import datetime
from typing import Final, Protocol


class Clock(Protocol):
    """Two readings of time: one to measure with, one to print."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going backwards."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going backwards."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to; for tests."""

    def __init__(self, *, at_s: float = 0.0) -> None:
        self.at_s = at_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`."""
        self.at_s += seconds

    def monotonic(self) -> float:
        """The seconds this clock was moved to."""
        return self.at_s

    def wall_ms(self) -> int:
        """The same reading in milliseconds."""
        return int(self.at_s * 1000)


SYSTEM: Final = SystemClock()


def moment_ms(text: str) -> int:
    """Milliseconds since the Unix epoch of an ISO 8601 time with its zone.

    Raises ValueError for what is no time, or has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return round(moment.timestamp() * 1000)
