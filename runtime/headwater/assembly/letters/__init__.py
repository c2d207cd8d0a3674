"""The dead letters of a product: listed, replayed, discarded, and what halts it skipped."""

from headwater.assembly.letters.box import Entry, Refused, Selection
from headwater.assembly.letters.opening import DeadLetters, open_letters
from headwater.assembly.letters.replay import Replayed, ReplayOptions

__all__ = [
    "DeadLetters",
    "Entry",
    "Refused",
    "ReplayOptions",
    "Replayed",
    "Selection",
    "open_letters",
]
