"""What entries take in memory as Python objects."""

from collections.abc import Iterable
from typing import Final

from headwater.ports.state import Values

ENTRY_BYTES: Final = 190
"""What an entry takes beside its content: two `bytes` objects and a slot of a dict (CPython 3.11,
measured over a million entries)."""

REMEMBERED: Final = 100_000  # entries: the mean follows rows that grow, lists and sketches


class EntryWeight:
    """How many bytes entries take, judged by the mean of those seen lately."""

    def __init__(self) -> None:
        self._bytes = 0
        self._entries = 0

    def see(self, keys: Iterable[bytes], values: Values) -> None:
        """Take entries into the mean."""
        if self._entries > REMEMBERED:  # what was seen before counts half as much from here on
            self._entries, self._bytes = self._entries // 2, self._bytes // 2
        self._entries += len(values)
        self._bytes += sum(map(len, keys)) + sum(map(len, filter(None, values)))

    def of(self, entries: int) -> int:
        """The bytes of this many entries, with what the interpreter needs for them."""
        mean = self._bytes // self._entries if self._entries else 0
        return entries * (mean + ENTRY_BYTES)
