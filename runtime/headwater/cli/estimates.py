"""Estimates, parts and moments as people read them."""

from datetime import UTC, datetime
from typing import Final

from headwater.snapshot.sketches import Estimate

MS: Final = 1000


def about(found: Estimate, *, is_short: bool = False) -> str:
    """A number of things, with its bounds where it is estimated: about 91,204 (± 3.2 %)."""
    if found.is_exact:
        return f"{round(found.value):,}"
    if is_short:
        return f"~{round(found.value):,}"
    half = (found.high - found.low) / 2 / found.value if found.value else 0.0
    return f"about {round(found.value):,} (± {half:.1%})"


def part(found: Estimate) -> str:
    """A part with its bounds: 41.3 % (40.2 to 42.5 %)."""
    if found.is_exact:
        return f"{found.value:.1%}"
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def percent(count: int, of: int) -> str:
    """A part of the rows; none at all is 0, and what is there is never rounded to that."""
    if not count or not of:
        return "0 %"
    return "< 0.1 %" if count / of < 0.001 else f"{count / of:.1%}"  # noqa: PLR2004 - one digit is shown


def when(milliseconds: int) -> str:
    """A moment in UTC, to the second."""
    moment = datetime.fromtimestamp(milliseconds / MS, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
