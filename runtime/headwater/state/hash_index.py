"""Where rows stand by a 64-bit hash, a batch at a time: open addressing with linear probing.

The table is that of Knuth (The Art of Computer Programming 3, 6.4, algorithm L), probed for all
hashes of a batch at once: what met another hash goes on to the next slot in the next round. Nothing
is deleted from it; whoever holds the rows makes a new one.
"""

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint64]
Rows: TypeAlias = npt.NDArray[np.int32]

NOWHERE: Final = -1
"""Stands for a row that is not there."""

SLOTS_PER_ROW: Final = 1.5  # two thirds full: 2 slots for a hash that is found, 5 for another
SLOT_BYTES: Final = 12  # a hash and a row

_HALF: Final = np.uint64(32)  # bits of a hash, of which the upper half chooses the first slot


class HashIndex:
    """The row of each hash, for at most `rows` hashes."""

    def __init__(self, rows: int) -> None:
        self._size: Final = np.uint64(int(rows * SLOTS_PER_ROW) + 1)
        self._hashes = np.zeros(int(self._size), np.uint64)
        self._rows = np.full(int(self._size), NOWHERE, np.int32)

    def find(self, hashes: Hashes) -> Rows:
        """The row of each hash, NOWHERE where there is none."""
        found = np.full(len(hashes), NOWHERE, np.int32)
        left = np.arange(len(hashes))
        slots = self._first(hashes)
        while len(left):
            rows = self._rows[slots]
            is_other = self._hashes[slots] != hashes
            goes_on = is_other & (rows != NOWHERE)
            found[left] = np.where(is_other, NOWHERE, rows)
            left, hashes, slots = left[goes_on], hashes[goes_on], self._next(slots[goes_on])
        return found

    def put(self, hashes: Hashes, rows: Rows) -> Rows:
        """Let hashes stand for rows; of a hash that comes twice the last counts.

        Returns for each the row that its hash stood for before or stands for instead; NOWHERE
        where there is none.
        """
        others = np.full(len(hashes), NOWHERE, np.int32)
        left = np.arange(len(hashes))
        slots = self._first(hashes)
        while len(left):
            before = self._rows[slots]
            is_ours = (before == NOWHERE) | (self._hashes[slots] == hashes)
            mine = slots[is_ours]
            # Of several that want a slot numpy writes the last, in both: the others look again.
            self._rows[mine], self._hashes[mine] = rows[is_ours], hashes[is_ours]
            goes_on = self._hashes[slots] != hashes
            after = self._rows[slots]
            others[left] = np.where(after == rows, before, after)
            left, hashes, rows = left[goes_on], hashes[goes_on], rows[goes_on]
            slots = self._next(slots[goes_on])
        return others

    def renumber(self, rows: Rows) -> None:
        """Let the hashes of row n stand for `rows[n]`."""
        is_used = self._rows != NOWHERE
        self._rows[is_used] = rows[self._rows[is_used]]

    def clear(self) -> None:
        """Forget every hash."""
        self._rows.fill(NOWHERE)

    def rows(self) -> Rows:
        """All rows that a hash stands for, in no order."""
        rows: Rows = self._rows[self._rows != NOWHERE]
        return rows

    def _first(self, hashes: Hashes) -> npt.NDArray[Any]:
        return (((hashes >> _HALF) * self._size) >> _HALF).astype(np.intp)

    def _next(self, slots: npt.NDArray[Any]) -> npt.NDArray[Any]:
        slots = slots + 1
        slots[slots == int(self._size)] = 0
        return slots
