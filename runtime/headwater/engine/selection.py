"""Some rows of a batch, or none at all, as a batch of their own (the port `Records`)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from headwater.model import Headers, Partition, Positions, RawRecord
from headwater.ports import Records

T = TypeVar("T")


class Selection:
    """The records at `rows`, ascending places in `records`; row 0 is the first of them."""

    def __init__(self, records: Records, rows: Sequence[int]) -> None:
        self.topic = records.topic
        self._records = records
        self._rows = rows
        self.values: Sequence[bytes | None] = self._taken(records.values)

    def __len__(self) -> int:
        return len(self._rows)

    def ends(self) -> Positions:
        """The next offset per partition after these records."""
        return {
            Partition(self.topic, index): offset + 1  # of several the last, which is the highest
            for index, offset in zip(self.partitions(), self.offsets(), strict=True)
        }

    def raw(self, row: int) -> RawRecord:
        """One record with everything."""
        return self._records.raw(self._rows[row])

    def keys(self) -> Sequence[bytes | None]:
        """The keys."""
        return self._taken(self._records.keys())

    def headers(self) -> Mapping[int, Headers]:
        """The headers of the rows that have some."""
        found = self._records.headers()
        return {place: found[row] for place, row in enumerate(self._rows) if row in found}

    def partitions(self) -> Sequence[int]:
        """The partition index of each record."""
        return self._taken(self._records.partitions())

    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return self._taken(self._records.offsets())

    def timestamps_ms(self) -> Sequence[int]:
        """The publish time of each record."""
        return self._taken(self._records.timestamps_ms())

    def _taken(self, column: Sequence[T]) -> Sequence[T]:
        return [column[row] for row in self._rows]


class NoRecords:
    """A batch without records: something else happened to its topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.values: Sequence[bytes | None] = ()

    def __len__(self) -> int:
        return 0

    def ends(self) -> Positions:
        """None."""
        return {}

    def raw(self, row: int) -> RawRecord:
        """There is none. Raises IndexError."""
        raise IndexError(row)

    def keys(self) -> Sequence[bytes | None]:
        """None."""
        return ()

    def headers(self) -> Mapping[int, Headers]:
        """None."""
        return {}

    def partitions(self) -> Sequence[int]:
        """None."""
        return ()

    def offsets(self) -> Sequence[int]:
        """None."""
        return ()

    def timestamps_ms(self) -> Sequence[int]:
        """None."""
        return ()
