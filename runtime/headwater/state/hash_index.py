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

ROW_BYTES: Final = 8 + 2 * 4  # a hash, and two slots of a table that is half full at most

_SLOTS_PER_ROW: Final = 2
_PUT_AT_ONCE: Final = 10_000  # rows, of which a round takes some 50 bytes each
_HALF: Final = np.uint64(32)  # bits of a hash, of which the upper half chooses the first slot


class HashIndex:
    """The newest row of each hash, for rows below `rows`."""

    def __init__(self, rows: int) -> None:
        self._size: Final = np.uint64(_SLOTS_PER_ROW * rows + 1)
        self._slots = np.full(int(self._size), NOWHERE, np.int32)
        self._hashes = np.zeros(rows + 1, np.uint64)  # the last stands for NOWHERE

    def find(self, hashes: Hashes) -> Rows:
        """The row of each hash, NOWHERE where there is none."""
        found = np.full(len(hashes), NOWHERE, np.int32)
        left = np.arange(len(hashes))
        slots = self._first(hashes)
        while len(left):
            rows = self._slots[slots]
            is_other = self._hashes[rows] != hashes
            found[left] = np.where(is_other, NOWHERE, rows)
            goes_on = np.flatnonzero(is_other & (rows != NOWHERE))
            left, hashes, slots = left[goes_on], hashes[goes_on], self._next(slots[goes_on])
        return found

    def put(self, hashes: Hashes, rows: Rows) -> Rows:
        """Let hashes stand for new rows; of a hash that comes twice the last counts.

        Returns for each the row that its hash stood for before or stands for instead; NOWHERE
        where there is none.
        """
        self._hashes[rows] = hashes
        others = np.full(len(hashes), NOWHERE, np.int32)
        left = np.arange(len(hashes))
        slots = self._first(hashes)
        while len(left):
            before = self._slots[slots]
            is_ours = (before == NOWHERE) | (self._hashes[before] == hashes)
            # Of several that want a slot numpy writes the last: the others look again.
            self._slots[slots[is_ours]] = rows[is_ours]
            after = self._slots[slots]
            others[left] = np.where(after == rows, before, after)
            goes_on = np.flatnonzero(self._hashes[after] != hashes)
            left, hashes, rows = left[goes_on], hashes[goes_on], rows[goes_on]
            slots = self._next(slots[goes_on])
        return others

    def rows(self) -> Rows:
        """The rows that are found, ascending."""
        is_found = np.zeros(len(self._hashes), np.bool_)
        is_found[self._slots] = True
        return np.flatnonzero(is_found[:-1]).astype(np.int32)

    def hashes(self, rows: Rows) -> Hashes:
        """The hashes of some rows."""
        return self._hashes[rows]

    def keep(self, rows: Rows) -> None:
        """Leave only some of `rows()`, which are numbered anew in their order."""
        is_all = np.array_equal(rows, self.rows())
        numbers = np.full(len(self._hashes), NOWHERE, np.int32)
        numbers[rows] = np.arange(len(rows), dtype=np.int32)
        self._hashes[: len(rows)] = self._hashes[rows]
        if is_all:
            self._slots[:] = numbers[self._slots]
            return
        self._slots.fill(NOWHERE)  # what stands behind a slot that is made free would be lost
        for start in range(0, len(rows), _PUT_AT_ONCE):
            part = np.arange(start, min(start + _PUT_AT_ONCE, len(rows)), dtype=np.int32)
            self.put(self._hashes[part], part)

    def _first(self, hashes: Hashes) -> npt.NDArray[Any]:
        return (((hashes >> _HALF) * self._size) >> _HALF).astype(np.intp)

    def _next(self, slots: npt.NDArray[Any]) -> npt.NDArray[Any]:
        slots += 1
        slots[slots == len(self._slots)] = 0
        return slots
