"""Proves that a snapshot equals the log between its cuts, or names where it does not.

Three things must agree for every commit and partition: the log, read and decoded again; what the
commit recorded; and the rows of the table, encoded again. Only where they disagree are rows looked
at one by one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import CommitRecord, CutRange, LogReader, Records, Table, Topics
from headwater.snapshot.cut import is_compacted
from headwater.snapshot.rows import NumberedRows, RowCodec
from headwater.snapshot.spans import Span, Tally, gaps, spans, tally
from headwater.snapshot.verdict import Difference, Findings, Kind, Verdict
from headwater.snapshot.writer import READ_RECORDS, Progress

SAMPLE: Final = 100  # of so many records one is read by the row codec too; 1 with `full`
LAST_OFFSET: Final = (1 << 63) - 1

Codecs = Callable[[int], RowCodec]
"""The codec of the contract that the registry knows under a schema id."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies the snapshot of one topic. Writes nothing."""

    topic: str
    topics: Topics
    reader: LogReader
    table: Table
    codecs: Codecs
    full: bool = False

    def verify(self, progress: Progress = lambda _done, _total: None) -> Verdict:
        """Compare every commit of the table. `progress` counts rows.

        Raises UnavailableError when broker or registry do not answer, RetriableError when the
        storage does not.
        """
        commits = [record for _, record in self.table.commits()]
        findings = Findings()
        if not commits:
            findings.undecided(f"there is no snapshot of {self.topic} in {self.table.location}")
        for gap in gaps(commits):
            findings.differs(gap)
        total = sum(taken.rows for record in commits for taken in record.ranges)
        done = in_ranges = 0
        held = _Held.of(self.topics, self.topic)
        for span in spans(commits):
            in_ranges += _Comparison(self, span, findings).run(held.why_not(self.topic, span))
            done += span.rows
            progress(done, total)
        if self.table.rows() != in_ranges:
            self._name_outside(commits, findings, self.table.rows() - in_ranges)
        return findings.verdict(commits=len(commits), rows=total)

    def _name_outside(
        self, commits: Sequence[CommitRecord], findings: Findings, number: int
    ) -> None:
        """Rows that no commit accounts for."""
        bounds: dict[int, tuple[int, int]] = {}
        for taken in (taken for record in commits for taken in record.ranges):
            start, end = bounds.get(taken.partition, (taken.start, taken.end))
            bounds[taken.partition] = min(start, taken.start), max(end, taken.end)
        named = 0
        for partition, (start, end) in bounds.items():
            for first, last in ((0, start), (end, LAST_OFFSET)):
                for batch in self.table.read(partition, first, last):
                    for offset in batch["_offset"].to_pylist():
                        findings.differs(Difference("extra", partition, offset, "after no commit"))
                        named += 1
        if named != number:
            detail = f"{number - named} rows in no commit's range"
            findings.differs(Difference("extra", None, None, detail))


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
    """Log, table and record of one span."""

    def __init__(self, verifier: Verifier, span: Span, findings: Findings) -> None:
        self._verifier = verifier
        self._span = span
        self._findings = findings
        self._codec = verifier.codecs(span.schema_id)

    def run(self, why_not: str) -> int:
        """Tell the findings; returns how many rows the table holds in these ranges."""
        span = self._span
        in_table = tally(span.ranges, self._table_rows(span.start, span.end))
        in_log: Sequence[Tally | None] = [None] * len(span.ranges)
        try:
            if not why_not:
                in_log = tally(span.ranges, self._checked_log_rows())
        except UnverifiableError as error:
            why_not = str(error)
        if why_not:
            self._findings.undecided(why_not)
        for taken, table, log in zip(span.ranges, in_table, in_log, strict=True):
            self._compare(taken, table, log)
        return sum(found.rows for found in in_table)

    def _compare(self, taken: CutRange, table: Tally, log: Tally | None) -> None:
        if log is not None and log != table:
            self._name_rows(taken)
        elif (table.rows, table.hash) != (taken.rows, int(taken.hash, 16)):
            detail = f"[{taken.start}, {taken.end}) of the table"
            self._findings.differs(Difference("recorded", taken.partition, None, detail))

    def _name_rows(self, taken: CutRange) -> None:
        """Look at both sides of a range row by row."""
        log = _by_offset(self._log_rows(taken.start, taken.end))
        table = _by_offset(self._table_rows(taken.start, taken.end))
        for offset in sorted(log.keys() | table.keys()):
            if log.get(offset) != table.get(offset):
                kind = _kind(len(log.get(offset, ())), len(table.get(offset, ())))
                self._findings.differs(Difference(kind, taken.partition, offset))

    def _checked_log_rows(self) -> Iterator[NumberedRows]:
        """The log's rows; what is wrong with a record of the log is told on the way."""
        every = 1 if self._verifier.full else SAMPLE
        for records in self._log(self._span.start, self._span.end):
            rows = self._codec.from_log(records)
            for offset, bad in rows.refused:
                self._unreadable(offset, str(bad.code))
            sampled, otherwise = self._codec.recheck(records, rows.numbered, every)
            self._findings.sampled += sampled
            for offset in otherwise:
                self._unreadable(offset, "the row codec reads it otherwise")
            yield rows.numbered

    def _unreadable(self, offset: int, detail: str) -> None:
        difference = Difference("unreadable", self._span.partition, offset, detail)
        self._findings.differs(difference)

    def _log_rows(self, start: int, end: int) -> Iterator[NumberedRows]:
        for records in self._log(start, end):
            yield self._codec.from_log(records).numbered

    def _log(self, start: int, end: int) -> Iterator[Records]:
        partition = Partition(self._verifier.topic, self._span.partition)
        return self._verifier.reader.read({partition: (start, end)}, max_records=READ_RECORDS)

    def _table_rows(self, start: int, end: int) -> Iterator[NumberedRows]:
        for batch in self._verifier.table.read(self._span.partition, start, end):
            for first in range(0, batch.num_rows, READ_RECORDS):
                yield self._codec.from_table(batch.slice(first, READ_RECORDS))


def _by_offset(chunks: Iterable[NumberedRows]) -> dict[int, list[tuple[int, int]]]:
    """Digest and publish time of every row, by offset; more than one where a row stands twice."""
    found: dict[int, list[tuple[int, int]]] = {}
    for chunk in chunks:
        for offset, digest, stamp in zip(
            chunk.offsets, chunk.digests, chunk.timestamps_us, strict=True
        ):
            found.setdefault(offset, []).append((digest, stamp))
    return found


def _kind(in_log: int, in_table: int) -> Kind:
    if in_table < in_log:
        return "missing"
    return "extra" if in_table > in_log else "changed"
