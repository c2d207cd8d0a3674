"""Durations as people write them: 100ms, 5s, 15m, 1h, 7d."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator

_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(text: object) -> timedelta:
    """A duration from a number with a unit; a timedelta passes.

    Raises ValueError saying what a duration looks like.
    """
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("write a number with a unit: 100ms, 5s, 15m, 1h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back, in the largest unit that divides it."""
    for name, unit in reversed(_UNITS.items()):
        if duration >= unit and duration % unit == timedelta(0):
            return f"{duration // unit}{name}"
    return f"{duration / _UNITS['ms']:g}ms"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
