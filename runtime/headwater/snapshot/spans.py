"""A table's commits as stretches of one partition, short enough to be held in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from headwater.ports import CommitRecord, CutRange
from headwater.snapshot.days import closed_before
from headwater.snapshot.multiset import to_text, total, total_of
from headwater.snapshot.rows import NumberedRows
from headwater.snapshot.verdict import Difference

_STAMPS: Final = ((pl.col("offset").cast(pl.Int128) + 1) * pl.col("stamp")).sum()

SPAN_ROWS: Final = 500_000  # rows of one stretch; one commit is never divided


@dataclass(slots=True)
class Tally:
    """Rows of one range: their number, their multiset hash, and a sum that watches `_timestamp`."""

    rows: int = 0
    hash: int = 0
    stamps: int = 0

    def add(self, rows: NumberedRows, first: int, last: int) -> None:
        """Count the rows at `[first, last)`."""
        columns = rows.columns.slice(first, last - first)
        self.rows += last - first
        self.hash = total((self.hash, total_of(columns["digest"])))
        self.stamps += int(columns.select(_STAMPS).item())

    def merge(self, other: "Tally") -> None:
        """Count the rows of another tally."""
        self.rows += other.rows
        self.hash = total((self.hash, other.hash))
        self.stamps += other.stamps


@dataclass(frozen=True, slots=True)
class Booked:
    """A range of one commit, of one incarnation of the topic, under one schema.

    Rows of days before `closed_before` came late; None where that is not said of a table.
    """

    topic_id: str
    schema_id: int
    taken: CutRange
    closed_before: str | None = None


def booked(commits: Iterable[CommitRecord]) -> list[Booked]:
    """Every range of every commit, oldest first."""
    records = list(commits)
    return [
        Booked(record.topic_id, record.schema_id, taken, before)
        for record, before in zip(records, closed_before(records), strict=True)
        for taken in record.ranges
    ]


def booked_whole(record: CommitRecord) -> list[Booked]:
    """Every partition up to a cut, of a commit whose rows are those of the whole table."""
    return [
        Booked(record.topic_id, record.schema_id, replace(taken, start=0))
        for taken in record.ranges
    ]


def stretches(commits: Iterable[CommitRecord], schema_id: int) -> list[Booked]:
    """What lies between the cuts, oldest first, of commits whose rows are of the whole table."""
    ends: dict[tuple[str, int], int] = {}
    found = []
    for record in commits:
        for taken in record.ranges:
            place = (record.topic_id, taken.partition)
            between = replace(taken, start=ends.get(place, 0))
            found.append(Booked(record.topic_id, schema_id, between))
            ends[place] = taken.end
    return found


def is_recorded(each: Booked, found: Tally) -> bool:
    """Whether rows are as many and as the commit recorded."""
    # As text: whatever stands there in place of a hash is not the hash.
    return (found.rows, to_text(found.hash)) == (each.taken.rows, each.taken.hash)


def other_record(each: Booked, where: str) -> Difference:
    """What `where` holds of a range is not what its commit says."""
    taken = each.taken
    return Difference("recorded", taken.partition, None, f"[{taken.start}, {taken.end}) of {where}")


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive ranges of one partition, taken under one schema from one topic."""

    topic_id: str
    schema_id: int
    partition: int
    booked: Sequence[Booked]
    places: Sequence[int]

    @property
    def ranges(self) -> Sequence[CutRange]:
        """What the commits say."""
        return [each.taken for each in self.booked]

    @property
    def start(self) -> int:
        """The first offset."""
        return self.booked[0].taken.start

    @property
    def end(self) -> int:
        """The offset after the last."""
        return self.booked[-1].taken.end

    @property
    def rows(self) -> int:
        """Rows as recorded."""
        return sum(each.taken.rows for each in self.booked)


def spans(ranges: Iterable[tuple[int, Booked]]) -> Iterator[Span]:
    """Every range that is not empty, with its place, partition by partition, in log order."""
    chains: dict[tuple[str, int, int], list[tuple[int, Booked]]] = {}
    for place, each in ranges:
        if each.taken.start < each.taken.end:
            name = (each.topic_id, each.schema_id, each.taken.partition)
            chains.setdefault(name, []).append((place, each))
    for (topic_id, schema_id, partition), chain in chains.items():
        for part in _short(chain):
            places, short = zip(*part, strict=True)
            yield Span(topic_id, schema_id, partition, short, places)


def _short(chain: Sequence[tuple[int, Booked]]) -> Iterator[list[tuple[int, Booked]]]:
    part: list[tuple[int, Booked]] = []
    rows = 0
    for place, each in chain:
        taken = each.taken
        if part and (rows + taken.rows > SPAN_ROWS or taken.start != part[-1][1].taken.end):
            yield part
            part, rows = [], 0
        part.append((place, each))
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


def tally(ranges: Sequence[CutRange], chunks: Iterable[NumberedRows]) -> list[Tally]:
    """One tally per range, over rows in offset order."""
    tallies = [Tally() for _ in ranges]
    bounds = [[each.start for each in ranges], [each.end for each in ranges]]
    for chunk in chunks:
        firsts, lasts = np.searchsorted(chunk.offsets.to_numpy(), bounds).tolist()
        for found, first, last in zip(tallies, firsts, lasts, strict=True):
            if first < last:
                found.add(chunk, first, last)
    return tallies
