"""Rows of a snapshot as the records they were in the log."""

from collections.abc import Mapping, Sequence

import polars as pl

from headwater.contract import Encoded
from headwater.errors import DamagedError
from headwater.model import Headers, Partition, Position, Positions, RawRecord
from headwater.reader.backfill import Backfill


class TableRecords:
    """Consecutive rows of one partition as the records they were (the port `Records`).

    A row's key and value are what the contract makes of its columns. Headers are not kept.
    `end` is the next offset behind them, where there are no more rows that of the cut.
    """

    def __init__(self, partition: Partition, end: int, places: pl.DataFrame, of: Encoded) -> None:
        self.partition = partition
        self.end = end
        self._places = places
        self._encoded = of
        self.values: Sequence[bytes | None] = of.values

    @property
    def topic(self) -> str:
        """The topic whose log they stand in."""
        return self.partition.topic

    def __len__(self) -> int:
        return len(self.values)

    def ends(self) -> Positions:
        """The next offset behind these records."""
        return {self.partition: self.end}

    def raw(self, row: int) -> RawRecord:
        """One record with everything."""
        return RawRecord(
            partition=self.partition,
            offset=self._places["_offset"][row],
            timestamp_ms=self._stamps()[row],
            key=self._encoded.keys[row],
            value=self._encoded.values[row],
        )

    def keys(self) -> Sequence[bytes | None]:
        """The keys."""
        return self._encoded.keys

    def headers(self) -> Mapping[int, Headers]:
        """None."""
        return {}

    def partitions(self) -> Sequence[int]:
        """The partition index of each record: the same of all."""
        return [self.partition.index] * len(self)

    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return self._places["_offset"].to_list()

    def timestamps_ms(self) -> Sequence[int]:
        """The publish time of each record."""
        return self._stamps().to_list()

    def last_published_ms(self) -> int:
        """The publish time of the last record."""
        return int(self._stamps()[-1])

    def _stamps(self) -> pl.Series:
        return self._places["_timestamp"].dt.epoch("ms")


class RowsLeft:
    """The rows of one partition that are left below the cut; `reached` is the next offset."""

    def __init__(self, backfill: Backfill, start: Position) -> None:
        self._partition = start.partition
        self._cut = backfill.cut[start.partition]
        self._encoder = backfill.encoder
        self._frames = backfill.rows(start)
        self._head: pl.DataFrame | None = None
        self.reached = start.next_offset

    def is_read(self) -> bool:
        """Whether no row is left."""
        if self._head is None or self._head.is_empty():
            self._head = next(self._frames, None)
        return self._head is None

    def records(self, most: int) -> TableRecords | None:
        """The next records, so many at most; None when none is left. Raises DamagedError."""
        parts: list[pl.DataFrame] = []
        while most > 0 and not self.is_read() and self._head is not None:
            parts.append(self._head[:most])
            self._head = self._head[most:]
            most -= parts[-1].height
        return self._encoded(pl.concat(parts)) if parts else None

    def close(self) -> None:
        """Let go of the files."""
        self._frames.close()

    def _encoded(self, rows: pl.DataFrame) -> TableRecords:
        offsets = rows["_offset"]
        encoded = self._encoder.encode(rows.select(list(self._encoder.contract.columns)))
        if encoded.quarantined:
            first = encoded.quarantined[0]
            raise DamagedError(
                f"The row of {self._partition}@{offsets[first.row]} in the snapshot is none of its"
                f" contract ({first.code}: {first.message}); look with `headwater verify`, and"
                f" restore the table from a copy."
            )
        end = self._cut if self.is_read() else int(offsets[-1]) + 1
        return TableRecords(self._partition, end, rows.select("_offset", "_timestamp"), encoded)
