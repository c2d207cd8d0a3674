"""The buckets of a table of mode "latest": a file each, by partition and the hash of the key.

A bucket is a range of hashes, and of twice as many each is divided in two. A file that another
writer made, as by compaction, may hold rows of every bucket.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import DamagedError
from headwater.ports import Table, TableFile
from headwater.snapshot.division import together
from headwater.snapshot.evolving import Evolving
from headwater.snapshot.file_names import bucket_name
from headwater.snapshot.fold import DELETED, KEY, MARKS, Fold, bucket_of, hashes, newest, on_disk
from headwater.snapshot.multiset import total, total_of
from headwater.snapshot.rows import RowCodec

BUCKET_BYTES: Final = (
    64 * 1024 * 1024
)  # of columns; writing it anew takes a few times as much memory
SLICE_ROWS: Final = 20_000  # encoded at once, as many as are read at once
_NAME: Final = re.compile(r"bucket-(\d+)-(\d+)-of-(\d+)-")


@dataclass(frozen=True, slots=True)
class StoredBucket:
    """A file and the bucket it holds; without partition it may hold rows of any."""

    name: str
    partition: int | None
    bucket: int
    buckets: int

    @classmethod
    def of(cls, file: TableFile) -> "StoredBucket":
        """By the name that a file was given."""
        found = _NAME.match(Path(file.name).name)
        if found is None:
            return cls(file.name, None, 0, 1)
        partition, bucket, buckets = map(int, found.groups())
        return cls(file.name, partition, bucket, buckets)

    def meets(self, partition: int, bucket: int, buckets: int) -> bool:
        """Whether it may hold a row of a bucket, of as many or more."""
        return (
            self.partition in {None, partition}
            and bucket * self.buckets // buckets == self.bucket  # of fewer, each holds several
        )


def bucket_count(rows: int, row_bytes: float, before: int) -> int:
    """How many buckets rows of a partition ask for: a power of two, never fewer than `before`."""
    wanted = max(1, int(rows * row_bytes // BUCKET_BYTES))
    return max(before, 1 << (wanted.bit_length() - 1))


@dataclass(slots=True)
class Counted:
    """Rows of one partition of the whole table, and the sum of their digests."""

    rows: int = 0
    hash: int = 0

    def add(self, rows: pa.Table, codec: RowCodec) -> None:
        """Count rows in."""
        self.rows += rows.num_rows
        for part in _slices(rows):
            self.hash = total((self.hash, total_of(codec.from_table(part).digests)))

    def take_out(self, rows: pa.Table, codec: RowCodec) -> None:
        """Count rows out that were counted in."""
        self.rows -= rows.num_rows
        for part in _slices(rows):
            self.hash = total((self.hash, -total_of(codec.from_table(part).digests)))


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Writes the buckets of one commit anew, one at a time; they wait in files of `scratch`.

    `files` hold the rows to go on from. With `is_recounted` all rows are counted anew, else only
    those that come and go.
    """

    evolving: Evolving
    files: Sequence[StoredBucket]
    buckets: int
    is_recounted: bool
    scratch: Path

    @property
    def table(self) -> Table:
        """What is written."""
        return self.evolving.table

    @property
    def codec(self) -> RowCodec:
        """Reads its rows, as they are from this commit on."""
        return self.evolving.codec

    def touched(self, fold: Fold) -> Sequence[int]:
        """The buckets to be written of a partition: those with news, or all."""
        if self.is_recounted or self._is_divided():
            return range(self.buckets)
        return sorted(fold.touched(self.buckets))

    def replaced(self, partition: int, bucket: int) -> set[str]:
        """The files whose rows stand in a bucket from now on."""
        return {each.name for each in self._of(partition, bucket)}

    def name(self, partition: int, bucket: int, end: int) -> str:
        """How a bucket's file is called, by which it is known again; `end` tells folds apart."""
        return bucket_name(partition, bucket, self.buckets, end)

    def written(self, partition: int, bucket: int, fold: Fold, counted: Counted) -> pa.Table | None:
        """The rows of a bucket from now on, None for none; `counted` follows them.

        Those of one value of the dividing column stand beside each other.
        Raises DamagedError for a stored file that cannot be read, or a row without its key.
        """
        stored = self._stored(partition, bucket)
        news = fold.bucket(bucket, self.buckets)
        keys = [] if stored is None else [self._keys(stored)]
        places = [] if stored is None else [pl.Series(stored["_offset"])]
        if news is not None:
            keys.append(pl.Series(news[KEY]))
            places.append(pl.Series(news["_offset"]))
        if not keys:
            return None
        stays = newest(pl.concat(keys), pl.concat(places))
        rows = self._kept(stored, news, stays, counted)
        if self.is_recounted:
            counted.add(rows, self.codec)
        if not rows.num_rows:
            return None
        rows = together(rows, self.evolving.divided_by)
        return on_disk(self.scratch / f"{partition}-{bucket}.arrow", rows)

    def _kept(
        self, stored: pa.Table | None, news: pa.Table | None, stays: Any, counted: Counted
    ) -> pa.Table:
        height = 0 if stored is None else stored.num_rows
        parts = []
        if stored is not None:
            parts.append(stored.filter(stays[:height]))
            if not self.is_recounted:
                counted.take_out(stored.filter(pc.invert(stays[:height])), self.codec)
        if news is not None:
            is_row = pc.and_(stays[height:], pc.invert(news[DELETED].combine_chunks()))
            rows = news.filter(is_row).drop_columns(list(MARKS))
            parts.append(self.evolving.stored(rows).cast(self.evolving.columns))
            if not self.is_recounted:
                counted.add(parts[-1], self.codec)
        return pa.concat_tables(parts)

    def _is_divided(self) -> bool:
        """Whether a file holds rows of several buckets."""
        return any(each.partition is None or each.buckets != self.buckets for each in self.files)

    def _of(self, partition: int, bucket: int) -> Iterator[StoredBucket]:
        return (each for each in self.files if each.meets(partition, bucket, self.buckets))

    def _stored(self, partition: int, bucket: int) -> pa.Table | None:
        parts = []
        for file in self._of(partition, bucket):
            for batch in self.table.scan(file.name):
                rows = pa.Table.from_batches([batch]).filter(pc.field("_partition") == partition)
                rows = self.evolving.carried(rows)
                if file.buckets != self.buckets:
                    hashed = hashes(self._keys(rows))
                    rows = rows.filter(pc.equal(bucket_of(hashed, self.buckets), bucket))
                parts.append(rows)
        return pa.concat_tables(parts) if parts else None

    def _keys(self, rows: pa.Table) -> pl.Series:
        """The keys of stored rows; as one column, which is a fraction of as many objects."""
        found = pl.Series([], dtype=pl.Binary)
        for part in _slices(rows):
            keys = self.codec.keys(part)
            if keys.null_count:
                raise DamagedError(
                    f"A row in {self.table.location} has no key; nothing was written. Restore it"
                    f" from a copy, or begin a new snapshot with --to."
                )
            found.append(pl.Series(keys))
        return found.rechunk()


def _slices(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows in parts small enough to be objects for a moment."""
    return (
        rows.slice(first, SLICE_ROWS).combine_chunks()
        for first in range(0, rows.num_rows, SLICE_ROWS)
    )
