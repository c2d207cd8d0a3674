"""Durations as a declaration writes them: 100ms, 90s, 15m, 1h, 7d."""

import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)", re.ASCII)
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: object) -> int | None:
    """A duration in milliseconds; None for what is no duration or takes no time."""
    match = _DURATION.fullmatch(str(text))
    return int(match[1]) * _MILLISECONDS[match[2]] or None if match else None
