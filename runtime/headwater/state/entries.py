"""Entries in columns: keys and values one after another as Arrow lays them out, found by hash."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.ports.state import Keys, Values
from headwater.state.hash_index import NOWHERE, ROW_BYTES, Hashes, HashIndex, Rows

Mask: TypeAlias = npt.NDArray[np.bool_]

ENTRY_BYTES: Final = 9 + ROW_BYTES
"""What an entry takes beside its content: two ends, whether it has a value, and in the index."""

SLICE_ROWS: Final = 10_000  # of a room are copied at once


@dataclass(frozen=True, slots=True)
class Extent:
    """What entries take: how many they are, and the bytes of their keys and values."""

    rows: int = 0
    keys: int = 0
    values: int = 0

    @property
    def bytes(self) -> int:
        """All of it, in memory."""
        return self.rows * ENTRY_BYTES + self.keys + self.values

    def __add__(self, other: "Extent") -> "Extent":
        return Extent(self.rows + other.rows, self.keys + other.keys, self.values + other.values)

    def __mul__(self, factor: float) -> "Extent":
        return Extent(*(int(each * factor) for each in (self.rows, self.keys, self.values)))

    def holds(self, other: "Extent") -> bool:
        """Whether so much fits in."""
        return other.rows <= self.rows and other.keys <= self.keys and other.values <= self.values


class Entries:
    """Keys with their hashes and values, null where there is none: LargeBinaryArrays."""

    def __init__(self, keys: Any, hashes: Hashes, values: Any) -> None:
        self.keys = keys
        self.hashes = hashes
        self.values = values

    @classmethod
    def of(cls, keys: Keys, values: Values) -> "Entries":
        """Those of bytes objects."""
        columns = (pa.array(each, pa.large_binary()) for each in (keys, values))
        return cls(next(columns), hashes_of(keys), next(columns))

    @classmethod
    def ascending(cls, entries: Mapping[bytes, bytes | None]) -> "Entries":
        """Those of a dict, by key."""
        columns = {"key": [*entries], "hash": hashes_of(entries), "value": [*entries.values()]}
        schema = {"key": pl.Binary, "hash": pl.UInt64, "value": pl.Binary}
        frame = pl.DataFrame(columns, schema=schema).sort("key")
        hashes = frame["hash"].to_numpy()
        return cls(frame["key"].to_arrow(), hashes, frame["value"].to_arrow())

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def extent(self) -> Extent:
        """What they take."""
        return Extent(len(self), self.keys.total_values_length, self.values.total_values_length)

    def last(self, limit_bytes: int) -> "Entries":
        """As many of the last ones as take no more than this."""
        sizes = np.diff(_ends(self.keys)) + np.diff(_ends(self.values))
        first = first_within(sizes, limit_bytes)
        return Entries(self.keys.slice(first), self.hashes[first:], self.values.slice(first))


class Room:
    """Entries in as much room as was made for them; a newer one hides the older, which stays.

    Of several keys of one hash only the last is found.
    """

    def __init__(self, size: Extent) -> None:
        self.size: Final = size
        self._used = Extent()
        self._keys = _Column(size.rows, size.keys)
        self._values = _Column(size.rows, size.values)
        self._has_value = np.zeros(size.rows, np.bool_)
        self._index = HashIndex(size.rows)

    def takes(self, more: Extent) -> bool:
        """Whether so much can be appended."""
        return self.size.holds(self._used + more)

    def append(self, entries: Entries) -> bool:
        """Append entries that it takes; whether every other key can still be found."""
        rows = self._write(entries)
        others = self._index.put(entries.hashes, rows)
        has_other = others != NOWHERE
        names = self._keys.take(others[has_other])
        return bool(names.equals(self._keys.take(rows[has_other])))

    def get(self, keys: Keys) -> tuple[list[bytes | None], Mask]:
        """The value of each key, None also where there is none; and whether the key is here."""
        wanted = pa.array(keys, pa.binary())
        rows = self._index.find(hashes_of(keys))
        names = self._keys.take(rows, rows != NOWHERE)
        same = pc.fill_null(pc.equal(names, wanted), False)  # noqa: FBT003 - Arrow's signature
        is_here = same.to_numpy(zero_copy_only=False)
        has_value = is_here & self._has_value[rows] if self.size.rows else is_here
        return self._values.take(rows, has_value).to_pylist(), is_here

    def live(self) -> Rows:
        """The rows that are found, in the order they came."""
        return self._index.rows()

    def valued(self, rows: Rows) -> Rows:
        """Those of some rows that have a value."""
        return rows[self._has_value[rows]]

    def last(self, rows: Rows, limit_bytes: int) -> Rows:
        """As many of the last of some rows as take no more than this."""
        return rows[first_within(self._keys.sizes(rows) + self._values.sizes(rows), limit_bytes) :]

    def extent(self, rows: Rows) -> Extent:
        """What some rows take."""
        sizes = (int(column.sizes(rows).sum()) for column in (self._keys, self._values))
        return Extent(len(rows), *sizes)

    def clean(self, rows: Rows) -> None:
        """Leave only some of the live rows, in their order."""
        self._used = Extent()
        for entries in self.entries(rows):  # what is written stands behind what is read
            self._write(entries)
        self._index.keep(rows)

    def entries(self, rows: Rows) -> Iterator[Entries]:
        """Some rows, a slice of them at a time."""
        for start in range(0, len(rows), SLICE_ROWS):
            part = rows[start : start + SLICE_ROWS]
            values = self._values.take(part, self._has_value[part])
            yield Entries(self._keys.take(part), self._index.hashes(part), values)

    def _write(self, entries: Entries) -> Rows:
        start = self._used.rows
        rows = np.arange(start, start + len(entries), dtype=np.int32)
        self._keys.append(start, entries.keys)
        self._values.append(start, entries.values)
        self._has_value[rows] = entries.values.is_valid().to_numpy(zero_copy_only=False)
        self._used += entries.extent
        return rows


class _Column:
    """Values one after another, with room for more."""

    def __init__(self, rows: int, size: int) -> None:
        self._ends = np.zeros(rows + 1, np.int32)
        self._data = np.empty(size, np.uint8)  # the system gives pages when they are written
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._data)]
        self._array = pa.Array.from_buffers(pa.binary(), rows, buffers)

    def append(self, start: int, values: Any) -> None:
        """Write a BinaryArray, or a large one, behind the first `start` values."""
        ends = _ends(values)
        begin = self._ends[start]
        self._ends[start : start + len(ends)] = ends - ends[0] + begin
        if ends[-1] > ends[0]:
            data = np.frombuffer(values.buffers()[2], np.uint8)[ends[0] : ends[-1]]
            self._data[begin : begin + len(data)] = data

    def take(self, rows: Rows, mask: Mask | None = None) -> Any:
        """The BinaryArray of some rows, null where the mask says so: only these need not exist."""
        is_null = None if mask is None or mask.all() else ~mask
        return self._array.take(pa.array(rows, mask=is_null))

    def sizes(self, rows: Rows) -> npt.NDArray[np.int32]:
        """How many bytes some rows are."""
        return self._ends[rows + 1] - self._ends[rows]


def first_within(sizes: npt.NDArray[Any], limit_bytes: int) -> int:
    """Where the last entries of these contents begin that take no more than a limit."""
    needed = np.cumsum(sizes[::-1] + ENTRY_BYTES, dtype=np.int64)
    return len(sizes) - int(np.searchsorted(needed, limit_bytes, side="right"))


def _ends(values: Any) -> npt.NDArray[Any]:
    """Where the values of an array of bytes begin and end in its data."""
    kind = np.int32 if pa.types.is_binary(values.type) else np.int64
    return np.frombuffer(values.buffers()[1], kind)[values.offset :][: len(values) + 1]


def hashes_of(keys: Collection[bytes]) -> Hashes:
    """Python's own: known of a key that a dict was asked for, and of no use to an attacker."""
    return np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)
