"""Proves a table of mode "latest": it holds what the log folded by key up to the cut makes.

Of a key whose record at the cut may have left the log since, as compaction takes what a newer one
replaced, nothing can be decided where they disagree; that is counted and told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import Clock
from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import CommitRecord, LogReader, Records, Table, Topics
from headwater.snapshot.cut import age_ms, deletions_kept_ms, is_compacted
from headwater.snapshot.fold import newest
from headwater.snapshot.inventory import Held, Inventory
from headwater.snapshot.rows import NUMBERED, NumberedRows, RowCodec
from headwater.snapshot.spans import Booked, Tally, booked_whole, is_recorded, other_record
from headwater.snapshot.verdict import Difference, Findings, kind_of
from headwater.snapshot.writer import READ_RECORDS

FOLD_ROWS: Final = 500_000  # read of the log before what was replaced is dropped again
_KEYED: Final = {"key": pl.Binary, "offset": pl.Int64}
_RECORD: Final = {"key": pl.Binary(), **NUMBERED}  # without digest: a tombstone

Keys = Mapping[int, bytes | None]
"""The keys of rows, by offset."""


@dataclass(frozen=True, slots=True)
class FoldCut:
    """A cut, what a version holds of each partition, and what is found of it."""

    record: CommitRecord
    held: Mapping[int, Held]
    findings: Findings


@dataclass(frozen=True, slots=True)
class _Place:
    """One partition at one cut."""

    cut: FoldCut
    each: Booked
    held: Held

    @property
    def partition(self) -> Partition:
        return Partition(self.cut.record.topic, self.each.taken.partition)


@dataclass(frozen=True, slots=True)
class FoldVerifier:
    """Compares cuts of a table with the log; about 100 bytes a key of one partition.

    All are under one schema. Every so many records (`every`) one is read by the row codec too.
    """

    topics: Topics
    reader: LogReader
    table: Table
    codec: RowCodec
    inventory: Inventory
    every: int
    clock: Clock

    def compare(self, cuts: Sequence[FoldCut]) -> None:
        """Tell how each cut differs, oldest first; the log is read once."""
        by_partition: dict[int, list[_Place]] = {}
        for cut in cuts:
            for each in booked_whole(cut.record):
                place = _Place(cut, each, cut.held.get(each.taken.partition, Held()))
                by_partition.setdefault(each.taken.partition, []).append(place)
        for places in by_partition.values():
            self._follow(places)

    def _follow(self, places: Sequence[_Place]) -> None:
        """One partition from cut to cut."""
        fold = pl.DataFrame(schema=_RECORD)
        reached = self._beginning(places[0].partition)
        for number, place in enumerate(places):
            if place.held.is_damaged:  # which is told; its rows are not to be had
                continue
            why_not, end = self._why_not(place), place.each.taken.end
            if not why_not and reached < end:
                told = [later.cut.findings for later in places[number:]]
                try:
                    fold = self._folded(fold, place.partition, (reached, end), told)
                except UnverifiableError as error:
                    why_not = str(error)
                else:
                    reached = end
            if why_not:
                rows = place.each.taken.rows
                text = f"{rows:,} rows of {place.partition} are not checkable: {why_not}"
                place.cut.findings.undecided(text, rows)
            self._compare(place, None if why_not else fold)

    def _compare(self, place: _Place, log: pl.DataFrame | None) -> None:
        """Tell how one partition of a cut differs; `log` is None where it cannot be asked."""
        if log is not None:
            rows = _numbered(log, place.partition.index)
            found = Tally()
            found.add(rows, 0, len(rows))
            if found != place.held.tally and self._name_rows(place, log):
                return
        if not is_recorded(place.each, place.held.tally):
            place.cut.findings.differs(other_record(place.each, "the table"))

    # -- the log -----------------------------------------------------------------------------------

    def _why_not(self, place: _Place) -> str:
        """Why the log cannot be asked; empty when it can."""
        topic, taken = place.partition.topic, place.each.taken
        if self.topics.partitions(topic) is None:
            return f"topic {topic} does not exist"
        if self.topics.topic_id(topic) != place.each.topic_id:
            return f"topic {topic} was deleted and made again"
        end = self.topics.ends(topic).get(place.partition, 0)
        if end < taken.end:
            return f"{place.partition} ends at {end}, but the snapshot at {taken.end}"
        return ""

    def _folded(
        self,
        before: pl.DataFrame,
        partition: Partition,
        between: tuple[int, int],
        told: Sequence[Findings],
    ) -> pl.DataFrame:
        """The newest record of each key, those `between` two offsets taken in."""
        folded, parts = before, [before.clear()]
        held = 0
        for records in self._read(partition, *between):
            parts.append(self._records(records, told))
            held += len(records)
            if held > max(FOLD_ROWS, folded.height):  # each row is looked at twice at most
                folded, parts, held = _newest([folded, *parts]), [], 0
        return _newest([folded, *parts])

    def _records(self, records: Records, told: Sequence[Findings]) -> pl.DataFrame:
        """Records as they are compared; what is wrong with one is told."""
        rows = self.codec.from_log(records)
        offsets, keys, partition = records.offsets(), records.keys(), rows.numbered.partition
        values = dict(zip(offsets, records.values, strict=True)) if rows.refused else {}
        wrong = [
            (offset, str(bad.code)) for offset, bad in rows.refused if values[offset] is not None
        ]
        sampled, otherwise = self.codec.recheck(records, rows.numbered, self.every)
        wrong += [(offset, "the row codec reads it otherwise") for offset in otherwise]
        for findings in told:
            findings.sampled += len(sampled)
            for offset, detail in wrong:
                findings.differs(Difference("unreadable", partition, offset, detail))
        every = pl.DataFrame({"key": keys, "offset": offsets}, schema=_KEYED)
        return every.join(rows.numbered.columns, on="offset", how="left")

    def _read(self, partition: Partition, start: int, end: int) -> Iterator[Records]:
        return self.reader.read({partition: (start, end)}, max_records=READ_RECORDS)

    def _beginning(self, partition: Partition) -> int:
        return self.topics.beginnings(partition.topic).get(partition, 0)

    # -- row by row --------------------------------------------------------------------------------

    def _name_rows(self, place: _Place, log: pl.DataFrame) -> bool:
        """Name the rows on which log and table differ; whether there are any that do for certain.

        Rows of which nothing can be decided are counted and told.
        """
        rows = log.filter(pl.col("digest").is_not_null()).select(list(NUMBERED))
        table = [part.columns for part in self.inventory.rows(place.each, place.held.files)]
        signs = [rows.with_columns(n=1), *(part.with_columns(n=-1) for part in table)]
        other = pl.concat(signs).group_by(list(NUMBERED)).agg(pl.col("n").sum())
        other = other.filter(pl.col("n") != 0)
        in_log = _counts(other.filter(pl.col("n") > 0))
        in_table = _counts(other.filter(pl.col("n") < 0))
        offsets = in_log.keys() | in_table.keys()
        doubted = self._doubted(place, log, offsets)
        findings = place.cut.findings
        for offset in sorted(offsets - doubted):
            kind = kind_of(in_log.get(offset, 0), in_table.get(offset, 0))
            findings.differs(Difference(kind, place.partition.index, offset))
        if doubted:
            text = (
                f"{len(doubted):,} rows of {place.partition}: their records at the cut may have"
                f" left the log since"
            )
            findings.undecided(text, len(doubted))
        return offsets != doubted

    def _doubted(self, place: _Place, log: pl.DataFrame, offsets: set[int]) -> set[int]:
        """The rows, by offset, whose key's record at the cut may have left the log since."""
        partition, record = place.partition, place.cut.record
        start = self._beginning(partition)
        found = {offset for offset in offsets if offset < start}
        if not is_compacted(self.topics, partition.topic):
            return found
        keys = self._keys(place, log, offsets)
        gone = self._newer_keys(partition, place.each.taken.end, frozenset(keys.values()))
        kept = self.topics.config(partition.topic).get("delete.retention.ms")
        # asked behind the log: reading it takes its time, in which a tombstone may go
        if age_ms(record.committed_at_ms, self.clock.wall_ms()) >= deletions_kept_ms(kept):
            # Deleted since, and the tombstone is gone too: the log knows nothing of such a key.
            gone |= set(keys.values()) - set(log["key"])
        return found | {offset for offset, key in keys.items() if key in gone}

    def _keys(self, place: _Place, log: pl.DataFrame, offsets: set[int]) -> Keys:
        in_log = log.filter(pl.col("offset").is_in(list(offsets)))
        found: dict[int, bytes | None] = dict(zip(in_log["offset"], in_log["key"], strict=True))
        wanted = (pc.field("_partition") == place.partition.index) & pc.field("_offset").isin(
            list(offsets)
        )
        for name in place.held.files:
            for batch in self.table.scan(name):
                rows = pa.Table.from_batches([batch]).filter(wanted)
                if rows.num_rows:
                    keys = self.codec.keys(rows).to_pylist()
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
    return NumberedRows(
        partition, log.filter(pl.col("digest").is_not_null()).select(list(NUMBERED))
    )


def _counts(rows: pl.DataFrame) -> dict[int, int]:
    """How many rows stand at an offset."""
    found = rows.group_by("offset").agg(pl.col("n").abs().sum())
    return dict(zip(found["offset"], found["n"], strict=True))
