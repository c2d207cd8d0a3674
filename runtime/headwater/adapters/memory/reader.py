"""A log in memory, read by ranges, with the same laws as a real one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headwater.errors import UnverifiableError
from headwater.model import Headers, Partition, Positions, RawRecord
from headwater.ports import Records


@dataclass(frozen=True, slots=True)
class MemoryRecords:
    """Consecutive records of one partition (the port `Records`)."""

    topic: str
    records: Sequence[RawRecord]

    @property
    def values(self) -> Sequence[bytes | None]:
        """The values, framed as in the log."""
        return [record.value for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def ends(self) -> Positions:
        """The next offset per partition after these records."""
        return {record.partition: record.offset + 1 for record in self.records}

    def starts(self) -> Positions:
        """The first offset per partition of these records."""
        return {record.partition: record.offset for record in reversed(self.records)}

    def raw(self, row: int) -> RawRecord:
        """One record with everything."""
        return self.records[row]

    def keys(self) -> Sequence[bytes | None]:
        """The keys."""
        return [record.key for record in self.records]

    def headers(self) -> Mapping[int, Headers]:
        """The headers of the rows that have some."""
        return {row: each.headers for row, each in enumerate(self.records) if each.headers}

    def partitions(self) -> Sequence[int]:
        """The partition index of each record."""
        return [record.partition.index for record in self.records]

    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return [record.offset for record in self.records]

    def timestamps_ms(self) -> Sequence[int]:
        """The publish time of each record."""
        return [record.timestamp_ms for record in self.records]


class MemoryLogReader:
    """Reads what a test put in. `bounds` are `[beginning, end)` as the log holds them."""

    def __init__(
        self,
        records: Mapping[Partition, Sequence[RawRecord]],
        bounds: Mapping[Partition, tuple[int, int]],
    ) -> None:
        self._records = records
        self._bounds = bounds

    def read(
        self, ranges: Mapping[Partition, tuple[int, int]], *, max_records: int
    ) -> Iterator[Records]:
        """Every record of `[start, end)`, each `Records` of one partition, in order.

        Raises UnverifiableError (RANGE_LOST) when the log does not hold a range.
        """
        for partition, (start, end) in ranges.items():
            beginning, last = self._bounds.get(partition, (0, 0))
            if start < end and not beginning <= start < end <= last:
                raise UnverifiableError(f"{partition} does not hold it", code="RANGE_LOST")
        for partition, (start, end) in ranges.items():
            wanted = [r for r in self._records.get(partition, ()) if start <= r.offset < end]
            for first in range(0, len(wanted), max_records):
                yield MemoryRecords(partition.topic, wanted[first : first + max_records])

    def close(self) -> None:
        """Nothing to let go of."""
