"""Mode "append": every range that a commit took beside its stretch of the log."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import LogReader, Records, Topics
from headwater.snapshot.codecs import Codecs
from headwater.snapshot.cut import is_compacted
from headwater.snapshot.inventory import Held, Inventory
from headwater.snapshot.rows import NumberedRows, RowCodec
from headwater.snapshot.spans import (
    Booked,
    Span,
    Tally,
    is_recorded,
    other_record,
    spans,
    tally,
)
from headwater.snapshot.verdict import Difference, Findings, kind_of
from headwater.snapshot.writer import READ_RECORDS

_EMPTY: Final = Tally()


@dataclass(slots=True)
class InLog:
    """What the log holds of a range; without tally `why_not` is why it cannot be asked.

    `unreadable` are its records that are no rows; `sampled` were read by the row codec too.
    """

    tally: Tally | None = None
    why_not: str = ""
    unreadable: list[Difference] = field(default_factory=list)
    sampled: int = 0


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a topic. Every so many records (`every`) one is read by the row codec too."""

    topic: str
    topics: Topics
    reader: LogReader
    every: int

    def tallies(
        self, ranges: Sequence[Booked], codecs: Codecs, told: Callable[[int], None]
    ) -> list[InLog]:
        """What it holds of each range, which is read once; `told` how many rows were read.

        Raises UnavailableError.
        """
        found = [InLog() for _ in ranges]
        held = _LogHolds.of(self.topics, self.topic)
        asked = []
        for place, each in enumerate(ranges):
            found[place].why_not = held.why_not(self.topic, each)
            if not found[place].why_not:
                asked.append((place, each))
        decoded: set[int] = set()
        for span in spans(asked):
            codec = codecs.find(span.schema_id)
            if codec is not None:
                in_log = [found[place] for place in span.places]
                if span.schema_id in decoded or not self._read_as_written(span, in_log, codec):
                    decoded.add(span.schema_id)  # the rest of them is likely to be like these
                    self._read_span(span, in_log, codec)
            told(span.rows)
        return found

    def rows(self, each: Booked, codec: RowCodec) -> Iterator[NumberedRows]:
        """The rows of a range."""
        taken = each.taken
        for records in self._read(taken.partition, taken.start, taken.end):
            yield codec.from_log(records).numbered

    def _read_as_written(self, span: Span, found: Sequence[InLog], codec: RowCodec) -> bool:
        """Whether the very bytes of the log are what the commits recorded, as nearly all are.

        Then they are not decoded: where the table's rows encode to the same hash, they encode to
        these bytes, so each is a row and the same one.
        """
        chunks, ends = [], [each.end for each in span.ranges]
        counts = [0] * len(ends)
        try:
            for records in self._read(span.partition, span.start, span.end):
                rows = codec.as_written(records)
                if rows is None:
                    return False
                sampled, otherwise = codec.recheck(records, rows, self.every)
                if otherwise:
                    return False
                _count(sampled, ends, counts)
                chunks.append(rows)
        except UnverifiableError:  # which is found again
            return False
        tallies = tally(span.ranges, chunks)
        if not all(map(is_recorded, span.booked, tallies)):
            return False
        for each, counted, count in zip(found, tallies, counts, strict=True):
            each.tally, each.sampled = counted, count
        return True

    def _read_span(self, span: Span, found: Sequence[InLog], codec: RowCodec) -> None:
        try:
            tallies = tally(span.ranges, self._checked(span, found, codec))
        except UnverifiableError as error:  # it went while it was read
            for each in found:
                each.why_not = str(error)
        else:
            for each, counted in zip(found, tallies, strict=True):
                each.tally = counted

    def _checked(
        self, span: Span, found: Sequence[InLog], codec: RowCodec
    ) -> Iterator[NumberedRows]:
        """The log's rows; what is wrong with a record of the log is told on the way."""
        ends = [each.end for each in span.ranges]
        counts = [0] * len(ends)
        for records in self._read(span.partition, span.start, span.end):
            rows = codec.from_log(records)
            sampled, otherwise = codec.recheck(records, rows.numbered, self.every)
            _count(sampled, ends, counts)
            bad = [(offset, str(refused.code)) for offset, refused in rows.refused]
            bad += [(offset, "the row codec reads it otherwise") for offset in otherwise]
            for offset, detail in bad:
                difference = Difference("unreadable", span.partition, offset, detail)
                found[bisect_right(ends, offset)].unreadable.append(difference)
            yield rows.numbered
        for each, count in zip(found, counts, strict=True):
            each.sampled = count

    def _read(self, partition: int, start: int, end: int) -> Iterator[Records]:
        place = Partition(self.topic, partition)
        return self.reader.read({place: (start, end)}, max_records=READ_RECORDS)


@dataclass(frozen=True, slots=True)
class _LogHolds:
    """What the log still holds; `problem` when that does not matter."""

    topic_id: str = ""
    beginnings: Mapping[Partition, int] = field(default_factory=dict)
    ends: Mapping[Partition, int] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def of(cls, topics: Topics, topic: str) -> "_LogHolds":
        if topics.partitions(topic) is None:
            return cls(problem=f"topic {topic} does not exist")
        if is_compacted(topics, topic):
            return cls(problem=f"topic {topic} is compacted")
        return cls(topics.topic_id(topic), topics.beginnings(topic), topics.ends(topic))

    def why_not(self, topic: str, each: Booked) -> str:
        """Why a range cannot be compared with the log; empty when it can."""
        if self.problem:
            return self.problem
        if each.topic_id != self.topic_id:
            return f"topic {topic} was deleted and made again"
        partition = Partition(topic, each.taken.partition)
        first, last = self.beginnings.get(partition, 0), self.ends.get(partition, 0)
        if first <= each.taken.start and each.taken.end <= last:
            return ""
        return f"the log of {partition} holds [{first}, {last})"


@dataclass(frozen=True, slots=True)
class RangeVerifier:
    """Compares what versions of a table hold of ranges with the log and with the record."""

    log: Log
    ranges: Sequence[Booked]
    in_log: Sequence[InLog]
    inventory: Inventory
    codecs: Codecs
    _named: dict[tuple[int, tuple[str, ...]], list[Difference]] = field(default_factory=dict)

    def compare(self, held: Sequence[Held], findings: Findings) -> None:
        """Tell how the first ranges of a version differ, of which it holds this."""
        ranges = self.ranges[: len(held)]
        for schema_id in dict.fromkeys(each.schema_id for each in ranges):
            self.codecs.tell(schema_id, findings)
        unasked: dict[str, list[Booked]] = {}
        for place, each in enumerate(ranges):
            asked = self.in_log[place]
            findings.sampled += asked.sampled
            for difference in (*asked.unreadable, *self._differences(place, held[place])):
                findings.differs(difference)
            if asked.why_not and each.taken.start < each.taken.end:
                unasked.setdefault(asked.why_not, []).append(each)
        for why_not, lost in unasked.items():
            rows = sum(each.taken.rows for each in lost)
            text = f"{rows:,} rows are not checkable any more: {why_not}, they are of "
            findings.undecided(text + _places(lost), rows)

    def _differences(self, place: int, held: Held) -> list[Difference]:
        each, log = self.ranges[place], self.in_log[place].tally
        if each.taken.start >= each.taken.end:
            return [] if is_recorded(each, _EMPTY) else [other_record(each, "an empty range")]
        if self.codecs.find(each.schema_id) is None:  # rows are counted only
            is_right = held.is_damaged or held.tally.rows == each.taken.rows
        elif held.is_damaged:
            is_right = log is None or is_recorded(each, log)
            return [] if is_right else [other_record(each, "the log")]
        elif log is not None and log != held.tally:
            return self._rows(place, held) or [other_record(each, "the table")]
        else:
            is_right = is_recorded(each, held.tally)
        return [] if is_right else [other_record(each, "the table")]

    def _rows(self, place: int, held: Held) -> list[Difference]:
        """Both sides of a range row by row; once for the same files."""
        name = (place, tuple(sorted(held.files)))
        if name not in self._named:
            self._named[name] = list(self._row_by_row(self.ranges[place], held))
        return self._named[name]

    def _row_by_row(self, each: Booked, held: Held) -> Iterator[Difference]:
        codec = self.codecs.find(each.schema_id)
        log = {} if codec is None else _by_offset(self.log.rows(each, codec))
        table = _by_offset(self.inventory.rows(each, held.files))
        for offset in sorted(log.keys() | table.keys()):
            if sorted(log.get(offset, ())) != sorted(table.get(offset, ())):
                kind = kind_of(len(log.get(offset, ())), len(table.get(offset, ())))
                yield Difference(kind, each.taken.partition, offset)


def _count(offsets: Sequence[int], ends: Sequence[int], counts: list[int]) -> None:
    """Count ascending offsets, each in the stretch that ends behind it."""
    before = 0
    for place, end in enumerate(ends):
        before, first = bisect_left(offsets, end, before), before
        counts[place] += before - first


def _places(ranges: Iterable[Booked]) -> str:
    """Offsets by partition, from the first of them to the last."""
    found: dict[int, tuple[int, int]] = {}
    for each in ranges:
        taken = each.taken
        first, last = found.get(taken.partition, (taken.start, taken.end))
        found[taken.partition] = (min(first, taken.start), max(last, taken.end))
    return ", ".join(f"[{p}] [{first}, {last})" for p, (first, last) in sorted(found.items()))


def _by_offset(chunks: Iterable[NumberedRows]) -> dict[int, list[tuple[int, int]]]:
    """Digest and publish time of every row, by offset; more than one where a row stands twice."""
    found: dict[int, list[tuple[int, int]]] = {}
    for chunk in chunks:
        for offset, stamp, digest in chunk.columns.iter_rows():
            found.setdefault(offset, []).append((digest, stamp))
    return found
