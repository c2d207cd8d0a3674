"""The newest record of each key: of a stretch of one partition's log, in memory or on disk.

Rows travel as columns: those of a snapshot, the key's bytes, their hash, and whether the record was
a tombstone, whose other columns are null.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.ports import Records
from headwater.snapshot.column_hashes import xxh3_64
from headwater.snapshot.rows import LogRows, RowCodec

KEY: Final = "_key"
HASH: Final = "_key.hash"  # with a dot, which the name of no field of a contract has
DELETED: Final = "_key.deleted"
MARKS: Final = (KEY, HASH, DELETED)
HASH_BITS: Final = 64  # of xxh3_64, whose high bits are the bucket


def keyed(rows: LogRows, records: Records, codec: RowCodec) -> pa.Table:
    """Rows of the log with their keys, and behind them the tombstones among the same records."""
    stored = codec.to_table(rows)
    columns = pa.schema([pa.field(each.name, each.type) for each in stored.schema])
    places = [row for row, value in enumerate(records.values) if value is None]
    offsets, keys = records.offsets(), records.keys()
    held = [
        pa.array([offsets[row] for row in places], each.type)
        if each.name == "_offset"
        else pa.nulls(len(places), each.type)
        for each in columns
    ]
    gone = pa.Table.from_arrays(held, schema=columns)
    return pa.concat_tables(
        [
            _marked(stored.cast(columns), rows.keys, is_deleted=False),
            _marked(
                gone, pa.array([keys[row] for row in places], pa.large_binary()), is_deleted=True
            ),
        ]
    )


def _marked(table: pa.Table, keys: Any, *, is_deleted: bool) -> pa.Table:
    deleted = pa.repeat(pa.scalar(is_deleted), len(keys))
    for name, column in (
        (KEY, keys),
        (HASH, hashes(pl.Series(keys))),
        (DELETED, deleted),
    ):
        table = table.append_column(name, column)
    return table


def hashes(keys: pl.Series) -> Any:
    """xxh3_64 of each key, as an array of unsigned integers. No key is null."""
    return xxh3_64(keys).to_arrow()


def newest(keys: pl.Series, offsets: pl.Series) -> Any:
    """Which rows have the greatest offset of their key, as a mask for Arrow."""
    frame = pl.DataFrame({"key": keys, "offset": offsets})
    is_newest = pl.col("offset") == pl.col("offset").max().over("key")
    return frame.select(is_newest).to_series().to_arrow()


def bucket_of(hashed: Any, buckets: int) -> Any:
    """The bucket of each hash, of so many, a power of two: its high bits."""
    if buckets == 1:
        return pa.repeat(pa.scalar(0, pa.uint64()), len(hashed))  # all bits cannot be shifted out
    shift = HASH_BITS - (buckets.bit_length() - 1)
    return pc.shift_right(hashed, pa.scalar(shift, pa.uint64()))


def on_disk(path: Path, table: pa.Table) -> pa.Table:
    """The table written to a file and mapped from there: its pages can leave the memory."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@dataclass(slots=True)
class Fold:
    """Keeps the newest record of each key of one partition, in at most `limit` bytes of memory.

    What is more goes to files in `directory`, with what the same keys have later in other files.
    """

    directory: Path
    limit: int
    _recent: list[pa.Table] = field(default_factory=list)
    _recent_bytes: int = 0
    _spilled: list[pa.Table] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        """Take what `keyed` gives of the records that follow."""
        self._recent.append(rows)
        self._recent_bytes += rows.nbytes
        if self._recent_bytes > self.limit:
            settled = _folded(self._recent)
            if settled.nbytes > self.limit // 2:  # what is less is folded on in memory
                path = self.directory / f"{len(self._spilled)}.arrow"
                self._spilled.append(on_disk(path, settled))
                settled = settled.schema.empty_table()
            self._recent, self._recent_bytes = [settled], settled.nbytes

    @property
    def records(self) -> int:
        """How many are kept; a key may still be counted several times."""
        return sum(each.num_rows for each in self._parts())

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(each.nbytes for each in self._parts())

    def touched(self, buckets: int) -> set[int]:
        """The buckets, of so many, that hold a key."""
        found: set[int] = set()
        for each in self._parts():
            found.update(pc.unique(bucket_of(each[HASH], buckets)).to_pylist())
        return found

    def bucket(self, bucket: int, buckets: int) -> pa.Table | None:
        """The newest record of each key in a bucket; None when there is none."""
        parts = [
            part.filter(pc.equal(bucket_of(part[HASH], buckets), bucket)) for part in self._parts()
        ]
        return _folded(parts) if any(part.num_rows for part in parts) else None

    def _parts(self) -> list[pa.Table]:
        return [each for each in (*self._spilled, *self._recent) if each.num_rows]


def _folded(parts: Sequence[pa.Table]) -> pa.Table:
    rows = pa.concat_tables(parts)
    return rows.filter(newest(pl.Series(rows[KEY]), pl.Series(rows["_offset"])))
