"""How events are put into windows of event time. Declares; `flow.windows` computes."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from headwater.product.durations import duration_ms

LONGEST_MS: Final = 3_660 * 86_400_000
"""Ten years: a longer window is a mistake of units, and its bounds might leave the calendar."""
MOST_OVERLAP: Final = 1_000
"""Windows that one event may be in: each is a row of the batch and an entry of the state."""


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Windows `size` long, one `every` so often from 1970-01-01 UTC; start in, end out.

    Tumbling when both are the same, hopping otherwise (Kafka Streams' `TimeWindows`). A day is 24
    hours, and a week begins on a Thursday, as that date did.
    """

    size: str
    every: str

    @property
    def size_ms(self) -> int:
        """The length in milliseconds. Only for windows without mistakes."""
        return _known_ms(self.size)

    @property
    def every_ms(self) -> int:
        """From one start to the next, in milliseconds. Only for windows without mistakes."""
        return _known_ms(self.every)


@dataclass(frozen=True, slots=True)
class SessionWindows:
    """Windows of activity: events of a key no more than `gap` apart are in one session."""

    gap: str

    @property
    def gap_ms(self) -> int:
        """The gap in milliseconds. Only for windows without mistakes."""
        return _known_ms(self.gap)


Windows: TypeAlias = TimeWindows | SessionWindows


def tumbling(size: str) -> TimeWindows:
    """Windows side by side: every event is in one, `size` long ("1h")."""
    return TimeWindows(size, size)


def hopping(size: str, *, every: str) -> TimeWindows:
    """Windows `size` long, a new one `every` so often: an event is in `size / every` of them."""
    return TimeWindows(size, every)


def session(*, gap: str) -> SessionWindows:
    """Windows that last as long as events of a key follow each other within `gap` ("30m")."""
    return SessionWindows(gap)


def windows_mistakes(windows: object) -> list[str]:
    """What is wrong with declared windows; empty when they are right."""
    match windows:
        case SessionWindows(gap):
            return _duration_mistakes("gap", gap)
        case TimeWindows(size, every):
            mistakes = _duration_mistakes("size", size)
            if every != size:
                mistakes += _duration_mistakes("every", every)
            return mistakes or _overlap_mistakes(windows)
        case _:
            return [f"{windows!r} are no windows; write such as tumbling('1h')"]


def _duration_mistakes(name: str, text: object) -> list[str]:
    length = duration_ms(text)
    if not isinstance(text, str) or length is None:
        return [f"{name}={text!r} is no duration; write such as '10m' or '1h'"]
    if length > LONGEST_MS:
        return [f"{name}={text!r} is longer than ten years; write a shorter one"]
    return []


def _overlap_mistakes(windows: TimeWindows) -> list[str]:
    if windows.every_ms > windows.size_ms:
        text = "is longer than size: events between two windows would be in none"
        return [f"every={windows.every!r} {text}; write a shorter every"]
    if windows.size_ms > MOST_OVERLAP * windows.every_ms:
        text = f"puts an event into more than {MOST_OVERLAP} windows"
        return [f"every={windows.every!r} {text} of size={windows.size!r}; write a longer every"]
    return []


def _known_ms(text: str) -> int:
    length = duration_ms(text)
    if length is None:
        raise ValueError(_duration_mistakes("duration", text)[0])
    return length
