"""Two definitions of a product over one cut of its inputs, compared row by row."""

from headwater.assembly.diff.comparison import (
    Compared,
    Comparison,
    DiffOptions,
    load_candidate,
    outside,
)
from headwater.assembly.diff.tally import Allowance, PortTally, RefusedTally, stop_text

__all__ = [
    "Allowance",
    "Compared",
    "Comparison",
    "DiffOptions",
    "PortTally",
    "RefusedTally",
    "load_candidate",
    "outside",
    "stop_text",
]
