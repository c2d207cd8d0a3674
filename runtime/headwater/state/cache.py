"""Entries of a local store that were used lately, in bounded memory.

They are in columns: as Python objects an entry takes 190 bytes beside its content, here 25. What a
newer one hides stays until the room is full; then all is written anew without it, as a
log-structured file system cleans (Rosenblum and Ousterhout, 1992).
"""

from typing import Any, Final

import numpy as np

from headwater.ports.state import Keys
from headwater.state.entries import Entries, Extent, Room

UNKNOWN: Final[Any] = object()
"""Stands for a key that a layer knows nothing of; None is known: there is no value."""

LIVE_SHARE: Final = 0.75  # of the limit is kept when it is reached: to write all anew costs 0.2 us
# an entry, so at most 0.6 for each that comes
GROWTH: Final = 2  # a room is made so many times as large as what is put into it
COLUMN_BYTES: Final = 2**31 - 1  # of 32-bit offsets


class Cache:
    """The entries that came last, by key.

    `is_whole` as long as every entry of the local store is here: then what is not here is nowhere.
    What is dropped and used again comes again: an order of last use would cost more at each read.
    """

    def __init__(self, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self._limit_bytes = 0
        self._room = Room(Extent())

    def get(self, keys: Keys) -> list[Any]:
        """The values of the keys, UNKNOWN where only the local store can tell."""
        values, is_here = self._room.get(keys)
        if not self.is_whole:
            for place in np.flatnonzero(~is_here).tolist():
                values[place] = UNKNOWN
        return values

    def add(self, added: Entries) -> None:
        """Keep entries, which are in the local store as well; of a key the last counts."""
        if not self._room.takes(added.extent):
            added = self._make_room_for(added)
        self.is_whole &= self._room.append(added)

    @property
    def bytes(self) -> int:
        """How much memory the entries take, with the room for those to come."""
        return self._room.size.bytes

    def emptied(self) -> "Cache":
        """One with nothing in it, for all that is stored to be added to: whole if it takes it."""
        cache = Cache(is_whole=True)
        cache.limit(self._limit_bytes)
        return cache

    def limit(self, limit_bytes: int) -> None:
        """Take no more memory than this."""
        self._limit_bytes = min(limit_bytes, COLUMN_BYTES)
        if self.bytes > self._limit_bytes:
            self._make_room_for(Entries.of([], []))

    def _make_room_for(self, added: Entries) -> Entries:
        """Keep the last entries and take the last of those that are added, which are returned."""
        limit = int(self._limit_bytes * LIVE_SHARE)
        taken, older = added.last(limit), self._room
        live = older.valued(older.live())
        kept = older.last(live, limit - taken.extent.bytes)
        self.is_whole &= len(taken) == len(added) and len(kept) == len(live)
        need = older.extent(kept) + taken.extent
        if self.bytes <= self._limit_bytes and older.size.holds(need * (1 / LIVE_SHARE)):
            older.clean(kept)
            return taken
        self._room = Room(need * min(GROWTH, self._limit_bytes / max(need.bytes, 1)))
        for entries in older.entries(kept):
            self._room.append(entries)
        return taken
