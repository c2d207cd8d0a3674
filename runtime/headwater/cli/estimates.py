"""Estimates, parts and moments as people read them."""

from datetime import UTC, datetime
from typing import Final

from headwater.snapshot.sketches import Estimate

MS: Final = 1000
LEAST: Final = 0.001  # of a whole: one digit of a percent is shown


def about(found: Estimate, *, is_short: bool = False) -> str:
    """A number of things, with its bounds where it is estimated: about 91,204 (± 3.2 %)."""
    if found.is_exact:
        return f"{round(found.value):,}"
    if is_short:
        return f"~{round(found.value):,}"
    half = (found.high - found.low) / 2 / found.value if found.value else 0.0
    return f"about {round(found.value):,} (± {percent(half)})"


def part(found: Estimate) -> str:
    """A part with its bounds: 41.3 % (40.2 % to 42.5 %)."""
    if found.is_exact:
        return percent(found.value)
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def percent(share: float) -> str:
    """A part of a whole; none at all is 0 %, and what is there is never rounded to that."""
    if not share:
        return "0 %"
    return "< 0.1 %" if share < LEAST else f"{100 * share:.1f} %"


def when(milliseconds: int) -> str:
    """A moment in UTC, to the second."""
    moment = datetime.fromtimestamp(milliseconds / MS, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
