"""Proves that a snapshot equals the log between its cuts, or names where it does not.

Three things must agree for every commit and partition: the log, read and decoded again; what the
commit recorded; and the rows of the table, encoded again. Only where they disagree are rows looked
at one by one. What cannot be read is a difference too: nobody else could read it either.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.errors import (
    DamagedError,
    DeclarationError,
    UnknownSchemaError,
    UnverifiableError,
)
from headwater.model import Partition
from headwater.ports import CommitRecord, LogReader, Records, Table, Topics, UnreadableRecord
from headwater.snapshot.cut import is_compacted
from headwater.snapshot.fold_verifier import FoldVerifier
from headwater.snapshot.inventory import Inventory
from headwater.snapshot.rows import NumberedRows, RowCodec
from headwater.snapshot.spans import (
    Booked,
    Span,
    Tally,
    booked,
    booked_whole,
    gaps,
    is_recorded,
    other_record,
    spans,
    tally,
)
from headwater.snapshot.verdict import Difference, Findings, Verdict, kind_of
from headwater.snapshot.writer import READ_RECORDS, Progress

SAMPLE: Final = 100  # of so many records one is read by the row codec too; 1 with `full`


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies the snapshot of one topic. Writes nothing.

    `codecs` gives the codec of the contract that the registry knows under a schema id, and raises
    UnknownSchemaError or DeclarationError when there is no such contract.
    """

    topic: str
    topics: Topics
    reader: LogReader
    open_table: Callable[[], Table]
    codecs: Callable[[int], RowCodec]
    full: bool = False
    clock: Clock = SYSTEM

    def verify(self, progress: Progress = lambda _done, _total: None) -> Verdict:
        """Compare what the table holds with the log. `progress` counts rows, of table and log.

        A table whose newest commits were cut off is an older snapshot, and equal. Raises
        UnavailableError when broker or registry do not answer, RetriableError when the storage
        does not, UnverifiableError when the table uses what we cannot read.
        """
        findings = Findings()
        try:
            table = self.open_table()
            commits, files = table.commits(), table.files()
        except DamagedError as error:
            findings.differs(Difference("damaged", None, None, str(error)))
            return findings.verdict(commits=0, rows=0)
        records = list(_readable(commits, findings))
        if not commits:
            findings.undecided(f"there is no snapshot of {self.topic} in {table.location}")
        for gap in gaps(records):
            findings.differs(gap)
        is_fold = bool(records) and records[-1].mode == "latest"
        ranges = booked_whole(records[-1]) if is_fold else booked(records)
        rows = sum(each.taken.rows for each in ranges)
        done = 0
        codecs = _Codecs(self.codecs, table, findings)
        inventory = Inventory(table, ranges, codecs.find, findings)
        for number in inventory.count(files):
            done += number
            progress(done, 2 * rows)
        if is_fold:
            self._compare_fold(records[-1], ranges, inventory, codecs)
            progress(2 * rows, 2 * rows)
        else:
            self._compare_ranges(ranges, inventory, codecs, lambda n: progress(done + n, 2 * rows))
        return findings.verdict(commits=len(commits), rows=rows)

    def _compare_ranges(
        self,
        ranges: Sequence[Booked],
        inventory: Inventory,
        codecs: "_Codecs",
        told: Callable[[int], None],
    ) -> None:
        """Of mode "append": every range with its stretch of the log."""
        findings, done = codecs.findings, 0
        held = _Held.of(self.topics, self.topic)
        for span in spans(ranges):
            codec = codecs.find(span.schema_id)
            _Comparison(self, span, findings, inventory, codec).run(held.why_not(self.topic, span))
            done += span.rows
            told(done)
        for each in ranges:
            _compare_empty(each, findings)

    def _compare_fold(
        self,
        record: CommitRecord,
        ranges: Sequence[Booked],
        inventory: Inventory,
        codecs: "_Codecs",
    ) -> None:
        """Of mode "latest": the whole table with the log folded up to the newest cut."""
        codec = codecs.find(record.schema_id)
        if codec is None:  # which is told
            for each in ranges:
                _compare_number(each, codecs.findings)
            return
        fold = FoldVerifier(
            topics=self.topics,
            reader=self.reader,
            table=codecs.table,
            record=record,
            codec=codec,
            findings=codecs.findings,
            every=1 if self.full else SAMPLE,
            now_ms=self.clock.wall_ms(),
        )
        for each in ranges:
            fold.compare(each, inventory)


def _readable(
    commits: Iterable[tuple[int, CommitRecord | UnreadableRecord]], findings: Findings
) -> Iterator[CommitRecord]:
    for version, record in commits:
        if isinstance(record, UnreadableRecord):
            detail = f"the record of version {version}: {record.reason}"
            findings.differs(Difference("damaged", None, None, detail))
        else:
            yield record


def _compare_empty(each: Booked, findings: Findings) -> None:
    """A range without offsets has no rows; no span holds it."""
    if each.taken.start >= each.taken.end and not is_recorded(each, Tally()):
        findings.differs(other_record(each, "an empty range"))


def _compare_number(each: Booked, findings: Findings) -> None:
    """Without a codec, rows are counted only."""
    if not each.is_damaged and each.table.rows != each.taken.rows:
        findings.differs(other_record(each, "the table"))


class _Codecs:
    """The codecs of the schemas in a table's commits; each is asked for once."""

    def __init__(self, make: Callable[[int], RowCodec], table: Table, findings: Findings) -> None:
        self._make = make
        self.table = table
        self.findings = findings
        self._found: dict[int, RowCodec | None] = {}

    def find(self, schema_id: int) -> RowCodec | None:
        """The codec of a schema, or None, and why is told: its rows can only be counted then."""
        if schema_id not in self._found:
            self._found[schema_id] = self._fitting(schema_id)
        return self._found[schema_id]

    def _fitting(self, schema_id: int) -> RowCodec | None:
        try:
            codec = self._make(schema_id).divided(self.table.divided_by)
        except UnknownSchemaError as error:
            self.findings.undecided(str(error))
            return None
        except DeclarationError:
            self.findings.undecided(f"schema {schema_id} of the registry is no contract")
            return None
        if phrase := self.table.differing_columns(codec.columns):
            detail = f"the columns are not those of schema {schema_id}: {phrase}"
            self.findings.differs(Difference("recorded", None, None, detail))
            return None
        return codec


@dataclass(frozen=True, slots=True)
class _Held:
    """What the log still holds; `problem` when that does not matter."""

    topic_id: str = ""
    beginnings: Mapping[Partition, int] | None = None
    ends: Mapping[Partition, int] | None = None
    problem: str = ""

    @classmethod
    def of(cls, topics: Topics, topic: str) -> "_Held":
        if topics.partitions(topic) is None:
            return cls(problem=f"topic {topic} does not exist")
        if is_compacted(topics, topic):
            return cls(problem=f"topic {topic} is compacted")
        return cls(topics.topic_id(topic), topics.beginnings(topic), topics.ends(topic))

    def why_not(self, topic: str, span: Span) -> str:
        """Why a span cannot be compared with the log; empty when it can."""
        if self.problem:
            return self.problem
        if span.topic_id != self.topic_id:
            return f"topic {topic} was deleted and made again"
        partition = Partition(topic, span.partition)
        first = (self.beginnings or {}).get(partition, 0)
        last = (self.ends or {}).get(partition, 0)
        if first <= span.start and span.end <= last:
            return ""
        return f"{partition} holds [{first}, {last}), but the snapshot [{span.start}, {span.end})"


class _Comparison:
    """Log, table and record of one span. Without a codec, rows are counted only."""

    def __init__(
        self,
        verifier: Verifier,
        span: Span,
        findings: Findings,
        inventory: Inventory,
        codec: RowCodec | None,
    ) -> None:
        self._verifier = verifier
        self._span = span
        self._findings = findings
        self._inventory = inventory
        self._codec = codec

    def run(self, why_not: str) -> None:
        """Tell the findings; `why_not` is why the log cannot be asked, empty when it can."""
        if self._codec is None:
            for each in self._span.booked:
                _compare_number(each, self._findings)
            return
        in_log: Sequence[Tally | None] = [None] * len(self._span.booked)
        try:
            if not why_not:
                in_log = tally(self._span.ranges, self._checked_log_rows(self._codec))
        except UnverifiableError as error:
            why_not = str(error)
        if why_not:
            self._findings.undecided(why_not)
        for each, log in zip(self._span.booked, in_log, strict=True):
            self._compare(each, log, self._codec)

    def _compare(self, each: Booked, log: Tally | None, codec: RowCodec) -> None:
        if each.is_damaged:
            if log is not None and not is_recorded(each, log):
                self._findings.differs(other_record(each, "the log"))
        elif log is not None and log != each.table:
            self._name_rows(each, codec)
        elif not is_recorded(each, each.table):
            self._findings.differs(other_record(each, "the table"))

    def _name_rows(self, each: Booked, codec: RowCodec) -> None:
        """Look at both sides of a range row by row."""
        taken = each.taken
        records = self._log(taken.start, taken.end)
        log = _by_offset(codec.from_log(part).numbered for part in records)
        table = _by_offset(self._inventory.rows(each))
        for offset in sorted(log.keys() | table.keys()):
            if sorted(log.get(offset, ())) != sorted(table.get(offset, ())):
                kind = kind_of(len(log.get(offset, ())), len(table.get(offset, ())))
                self._findings.differs(Difference(kind, taken.partition, offset))

    def _checked_log_rows(self, codec: RowCodec) -> Iterator[NumberedRows]:
        """The log's rows; what is wrong with a record of the log is told on the way."""
        every = 1 if self._verifier.full else SAMPLE
        for records in self._log(self._span.start, self._span.end):
            rows = codec.from_log(records)
            for offset, bad in rows.refused:
                self._unreadable(offset, str(bad.code))
            sampled, otherwise = codec.recheck(records, rows.numbered, every)
            self._findings.sampled += sampled
            for offset in otherwise:
                self._unreadable(offset, "the row codec reads it otherwise")
            yield rows.numbered

    def _unreadable(self, offset: int, detail: str) -> None:
        difference = Difference("unreadable", self._span.partition, offset, detail)
        self._findings.differs(difference)

    def _log(self, start: int, end: int) -> Iterator[Records]:
        partition = Partition(self._verifier.topic, self._span.partition)
        return self._verifier.reader.read({partition: (start, end)}, max_records=READ_RECORDS)


def _by_offset(chunks: Iterable[NumberedRows]) -> dict[int, list[tuple[int, int]]]:
    """Digest and publish time of every row, by offset; more than one where a row stands twice."""
    found: dict[int, list[tuple[int, int]]] = {}
    for chunk in chunks:
        for offset, digest, stamp in zip(
            chunk.offsets, chunk.digests, chunk.timestamps_us, strict=True
        ):
            found.setdefault(offset, []).append((digest, stamp))
    return found
