"""Proves a table of mode "latest": it holds what the log folded by key up to the cut makes.

Of a key whose record at the cut may have left the log since, as compaction takes what a newer one
replaced, nothing can be decided where they disagree; that is counted and told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import CommitRecord, LogReader, Records, Table, Topics
from headwater.snapshot.cut import deletions_kept_ms, is_compacted
from headwater.snapshot.fold import newest
from headwater.snapshot.inventory import Inventory
from headwater.snapshot.rows import NumberedRows, RowCodec
from headwater.snapshot.spans import Booked, Tally, is_recorded, other_record
from headwater.snapshot.verdict import Difference, Findings, kind_of
from headwater.snapshot.writer import READ_RECORDS

FOLD_ROWS: Final = 500_000  # read of the log before what was replaced is dropped again
DIGEST_BYTES: Final = 16
_ROW: Final = {"offset": pl.Int64, "stamp": pl.Int64, "digest": pl.Binary}
_KEYED: Final = {"key": pl.Binary, "offset": pl.Int64}
_RECORD: Final = {"key": pl.Binary, **_ROW}  # without digest: a tombstone

Keys = Mapping[int, bytes | None]
"""The keys of rows, by offset."""


@dataclass(frozen=True, slots=True)
class FoldVerifier:
    """Compares the newest cut of a table with the log; about 100 bytes a key of one partition.

    Every so many records (`every`) one is read by the row codec too.
    """

    topics: Topics
    reader: LogReader
    table: Table
    record: CommitRecord
    codec: RowCodec
    findings: Findings
    every: int
    now_ms: int

    def compare(self, each: Booked, inventory: Inventory) -> None:
        """Tell the findings how one partition of the table, whose rows are counted, differs."""
        if each.is_damaged:  # which is told; its rows are not to be had
            return
        log = self._log(each)
        if log is not None:
            rows = _numbered(log, each.taken.partition)
            found = Tally()
            found.add(rows, 0, len(rows))
            if found != each.table and self._name_rows(each, log, inventory):
                return
        if not is_recorded(each, each.table):
            self.findings.differs(other_record(each, "the table"))

    # -- the log -----------------------------------------------------------------------------------

    def _log(self, each: Booked) -> pl.DataFrame | None:
        """The newest record of each key below the cut; None, and why is told, where none can be."""
        why_not = self._why_not(each)
        if not why_not:
            try:
                return self._folded(self._partition(each), each.taken.end)
            except UnverifiableError as error:
                why_not = str(error)
        self.findings.undecided(why_not)
        return None

    def _why_not(self, each: Booked) -> str:
        topic, partition = self.record.topic, self._partition(each)
        if self.topics.partitions(topic) is None:
            return f"topic {topic} does not exist"
        if self.topics.topic_id(topic) != each.topic_id:
            return f"topic {topic} was deleted and made again"
        end = self.topics.ends(topic).get(partition, 0)
        if end < each.taken.end:
            return f"{partition} ends at {end}, but the snapshot at {each.taken.end}"
        return ""

    def _folded(self, partition: Partition, end: int) -> pl.DataFrame:
        folded = pl.DataFrame(schema=_RECORD)
        parts: list[pl.DataFrame] = []
        held = 0
        start = self._beginning(partition)
        for records in self._read(partition, start, end):
            parts.append(self._records(records))
            held += len(records)
            if held > max(FOLD_ROWS, folded.height):  # each row is looked at twice at most
                folded, parts, held = _newest([folded, *parts]), [], 0
        return _newest([folded, *parts])

    def _records(self, records: Records) -> pl.DataFrame:
        """Records as they are compared; what is wrong with one is told."""
        rows = self.codec.from_log(records)
        offsets, keys, partition = records.offsets(), records.keys(), rows.numbered.partition
        values = dict(zip(offsets, records.values, strict=True)) if rows.refused else {}
        for offset, bad in rows.refused:
            if values[offset] is not None:
                self._unreadable(partition, offset, str(bad.code))
        sampled, otherwise = self.codec.recheck(records, rows.numbered, self.every)
        self.findings.sampled += sampled
        for offset in otherwise:
            self._unreadable(partition, offset, "the row codec reads it otherwise")
        every = pl.DataFrame({"key": keys, "offset": offsets}, schema=_KEYED)
        return every.join(_frame(rows.numbered), on="offset", how="left")

    def _unreadable(self, partition: int, offset: int, detail: str) -> None:
        self.findings.differs(Difference("unreadable", partition, offset, detail))

    def _read(self, partition: Partition, start: int, end: int) -> Iterator[Records]:
        return self.reader.read({partition: (start, end)}, max_records=READ_RECORDS)

    def _beginning(self, partition: Partition) -> int:
        return self.topics.beginnings(partition.topic).get(partition, 0)

    def _partition(self, each: Booked) -> Partition:
        return Partition(self.record.topic, each.taken.partition)

    # -- row by row --------------------------------------------------------------------------------

    def _name_rows(self, each: Booked, log: pl.DataFrame, inventory: Inventory) -> bool:
        """Name the rows on which log and table differ; whether there are any that do for certain.

        Rows of which nothing can be decided are counted and told.
        """
        rows = log.filter(pl.col("digest").is_not_null()).select(list(_ROW))
        table = [_frame(part) for part in inventory.rows(each)]
        signs = [rows.with_columns(n=1), *(part.with_columns(n=-1) for part in table)]
        other = pl.concat(signs).group_by(list(_ROW)).agg(pl.col("n").sum())
        other = other.filter(pl.col("n") != 0)
        in_log = _counts(other.filter(pl.col("n") > 0))
        in_table = _counts(other.filter(pl.col("n") < 0))
        offsets = in_log.keys() | in_table.keys()
        doubted = self._doubted(each, log, offsets)
        for offset in sorted(offsets - doubted):
            kind = kind_of(in_log.get(offset, 0), in_table.get(offset, 0))
            self.findings.differs(Difference(kind, each.taken.partition, offset))
        if doubted:
            self.findings.undecided(
                f"{len(doubted):,} rows of {self._partition(each)}: their records at the cut may"
                f" have left the log since"
            )
        return offsets != doubted

    def _doubted(self, each: Booked, log: pl.DataFrame, offsets: set[int]) -> set[int]:
        """The rows, by offset, whose key's record at the cut may have left the log since."""
        partition = self._partition(each)
        start = self._beginning(partition)
        found = {offset for offset in offsets if offset < start}
        if not is_compacted(self.topics, partition.topic):
            return found
        keys = self._keys(each, log, offsets)
        gone = self._newer_keys(partition, each.taken.end, frozenset(keys.values()))
        kept = self.topics.config(partition.topic).get("delete.retention.ms")
        if self.now_ms - self.record.committed_at_ms >= deletions_kept_ms(kept):
            # Deleted since, and the tombstone is gone too: the log knows nothing of such a key.
            gone |= set(keys.values()) - set(log["key"])
        return found | {offset for offset, key in keys.items() if key in gone}

    def _keys(self, each: Booked, log: pl.DataFrame, offsets: set[int]) -> Keys:
        in_log = log.filter(pl.col("offset").is_in(list(offsets)))
        found: dict[int, bytes | None] = dict(zip(in_log["offset"], in_log["key"], strict=True))
        wanted = (pc.field("_partition") == each.taken.partition) & pc.field("_offset").isin(
            list(offsets)
        )
        for file in self.table.files():
            for batch in self.table.scan(file.name):
                rows = pa.Table.from_batches([batch]).filter(wanted)
                if rows.num_rows:
                    keys = self.codec.keys(rows)
                    found.update(zip(rows["_offset"].to_pylist(), keys, strict=True))
        return found

    def _newer_keys(
        self, partition: Partition, cut: int, keys: frozenset[bytes | None]
    ) -> set[bytes | None]:
        """Those of the keys with a record behind the cut."""
        end = self.topics.ends(partition.topic)[partition]
        start = max(cut, self._beginning(partition))
        return {
            key
            for part in self._read(partition, start, end)
            for key in keys.intersection(part.keys())
        }


def _newest(parts: list[pl.DataFrame]) -> pl.DataFrame:
    records = pl.concat(parts)
    return records.filter(pl.Series(newest(records["key"], records["offset"])))


def _numbered(log: pl.DataFrame, partition: int) -> NumberedRows:
    rows = log.filter(pl.col("digest").is_not_null())
    numbers = [int.from_bytes(each, "big") for each in rows["digest"]]
    return NumberedRows(partition, rows["offset"].to_list(), rows["stamp"].to_list(), numbers)


def _frame(rows: NumberedRows) -> pl.DataFrame:
    digests = list(map(int.to_bytes, rows.digests, repeat(DIGEST_BYTES)))
    columns = {"offset": rows.offsets, "stamp": rows.timestamps_us, "digest": digests}
    return pl.DataFrame(columns, schema=_ROW)


def _counts(rows: pl.DataFrame) -> dict[int, int]:
    """How many rows stand at an offset."""
    found = rows.group_by("offset").agg(pl.col("n").abs().sum())
    return dict(zip(found["offset"], found["n"], strict=True))
