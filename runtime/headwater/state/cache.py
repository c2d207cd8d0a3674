"""Entries of a local store that were used lately, in bounded memory."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, Final

from headwater.ports.state import Values

UNKNOWN: Final[Any] = object()
"""Stands for a key that a layer knows nothing of; None is known: there is no value."""

ENTRY_BYTES: Final = 190
"""What an entry takes beside its content: two `bytes` objects and a slot of a dict (CPython 3.11,
measured over a million entries)."""

DROPPED_SHARE: Final = 16  # few enough for no pause, enough to look for the first ones rarely

REMEMBERED: Final = 100_000  # entries: the mean follows rows that grow, lists and sketches

Entries = Mapping[bytes, bytes | None]


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


class Cache:
    """Entries in the order they came. When they fill the room, the first sixteenth is dropped.

    What is dropped and used again comes again, once in many reads: an order of last use would cost
    more at each of them.
    """

    def __init__(self, weight: EntryWeight) -> None:
        self.limit_bytes = 0
        self._weight = weight
        self._entries: dict[bytes, bytes | None] = {}

    def get(self, keys: Sequence[bytes]) -> Iterable[Any]:
        """The values of the keys, UNKNOWN where there is none here; to be read once."""
        return map(self._entries.get, keys, repeat(UNKNOWN))

    def add(self, entries: Entries) -> None:
        """Keep entries; they are in the local store as well."""
        self._entries.update(entries)
        while self.bytes > self.limit_bytes:
            for key in list(islice(self._entries, len(self._entries) // DROPPED_SHARE + 1)):
                del self._entries[key]

    def forget(self, keys: Iterable[bytes]) -> None:
        """These keys were written to the local store by another way."""
        if self._entries:
            for key in keys:
                self._entries.pop(key, None)

    @property
    def bytes(self) -> int:
        """About how much memory the entries take."""
        return self._weight.of(len(self._entries))
