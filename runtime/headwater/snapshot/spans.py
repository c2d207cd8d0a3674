"""A table's commits as stretches of one partition, short enough to be held in memory."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

from headwater.ports import CommitRecord, CutRange
from headwater.snapshot.multiset import total
from headwater.snapshot.rows import NumberedRows
from headwater.snapshot.verdict import Difference

SPAN_ROWS: Final = 500_000  # rows of one stretch; one commit is never divided


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive ranges of one partition, taken under one schema from one topic."""

    topic_id: str
    schema_id: int
    partition: int
    ranges: Sequence[CutRange]

    @property
    def start(self) -> int:
        """The first offset."""
        return self.ranges[0].start

    @property
    def end(self) -> int:
        """The offset after the last."""
        return self.ranges[-1].end

    @property
    def rows(self) -> int:
        """Rows as recorded."""
        return sum(taken.rows for taken in self.ranges)


def spans(commits: Iterable[CommitRecord]) -> Iterator[Span]:
    """Every range of every commit that is not empty, partition by partition, in log order."""
    chains: dict[tuple[str, int, int], list[CutRange]] = {}
    for record in commits:
        for taken in record.ranges:
            if taken.start < taken.end:
                place = (record.topic_id, record.schema_id, taken.partition)
                chains.setdefault(place, []).append(taken)
    for (topic_id, schema_id, partition), ranges in chains.items():
        for part in _short(ranges):
            yield Span(topic_id, schema_id, partition, part)


def _short(ranges: Sequence[CutRange]) -> Iterator[list[CutRange]]:
    part: list[CutRange] = []
    rows = 0
    for taken in ranges:
        if part and (rows + taken.rows > SPAN_ROWS or taken.start != part[-1].end):
            yield part
            part, rows = [], 0
        part.append(taken)
        rows += taken.rows
    yield part


def gaps(commits: Iterable[CommitRecord]) -> Iterator[Difference]:
    """Where a commit does not begin at the end of the one before."""
    ends: dict[tuple[str, int], int] = {}
    for record in commits:
        for taken in record.ranges:
            place = (record.topic_id, taken.partition)
            before = ends.get(place, taken.start)
            if before != taken.start:
                detail = f"one ends at {before}, the next begins at {taken.start}"
                yield Difference("gap", taken.partition, before, detail)
            ends[place] = taken.end


@dataclass(slots=True)
class Tally:
    """Rows of one range: their number, their multiset hash, and a sum that watches `_timestamp`."""

    rows: int = 0
    hash: int = 0
    stamps: int = 0


def tally(ranges: Sequence[CutRange], chunks: Iterable[NumberedRows]) -> list[Tally]:
    """One tally per range, over rows in offset order."""
    tallies = [Tally() for _ in ranges]
    for chunk in chunks:
        for taken, found in zip(ranges, tallies, strict=True):
            first = bisect_left(chunk.offsets, taken.start)
            last = bisect_left(chunk.offsets, taken.end, first)
            if first < last:
                offsets, stamps = chunk.offsets[first:last], chunk.timestamps_us[first:last]
                found.rows += last - first
                found.hash = total((found.hash, *chunk.digests[first:last]))
                found.stamps += sum(map(mul, offsets, stamps)) + sum(stamps)
    return tallies
