"""Takes a snapshot: reads what the log has published since the last one and commits it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from headwater.clock import SYSTEM, Clock
from headwater.errors import FatalError
from headwater.model import Partition, Position, Quarantine
from headwater.ports import (
    Change,
    CommitRecord,
    CutRange,
    LogReader,
    NewFile,
    Table,
    Topics,
)
from headwater.snapshot.cut import Cut, commit_id, cut, require_same
from headwater.snapshot.evolving import Evolving
from headwater.snapshot.file_names import part_name
from headwater.snapshot.freezing import Freezing
from headwater.snapshot.multiset import to_text, total
from headwater.snapshot.rows import LogRows, NumberedRows, RowCodec

READ_RECORDS: Final = 20_000  # per read: large enough for columns, small beside a commit
COMMIT_ROWS: Final = 250_000  # a longer range becomes several commits, each a cut of its own
COMMIT_BYTES: Final = 128 * 1024 * 1024  # of columns: bounds the memory of a commit of wide rows

Progress = Callable[[int, int], None]
"""Told the offsets passed and their total."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run added. `version` is None when nothing was new, so nothing was committed."""

    location: str
    version: int | None
    commits: int
    rows: int
    rows_total: int
    cut: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Snapshotter:
    """Appends `topic` of `product` to `table`. Holds no position: the table does."""

    product: str
    topic: str
    topics: Topics
    reader: LogReader
    table: Table
    codec: RowCodec
    clock: Clock = SYSTEM

    def take(self, progress: Progress = lambda _done, _total: None) -> Taken:
        """Commit everything published up to the read_committed end of now.

        Each commit is a cut by itself, so an interruption leaves a whole snapshot that the next run
        continues. A table of an older version of the contract gets its columns with the first rows.
        Raises StartRefusedError (SNAPSHOT_COLUMNS when the table cannot take the contract's
        columns, even with nothing new; else see `cut`), OvertakenError when another process was
        first, FatalError (UNREADABLE_RECORD) for a record that is no row of the contract,
        RetriableError when the storage or the broker refuses.
        """
        found = cut(self.topics, self.table, self.topic)
        evolving = Evolving.of(
            self.table, self.codec
        )  # behind the cut, which is refused if it aged
        versions, rows = [], 0
        freezing = Freezing(self.table, self.codec.contract, evolving.layout)
        for part in self._parts(found, progress):
            versions.append(self._commit(found, part, freezing, evolving))
            rows += part.rows
        return Taken(
            location=self.table.location,
            version=versions[-1] if versions else None,
            commits=len(versions),
            rows=rows,
            rows_total=self.table.rows(),
            cut=self.table.offsets(found.topic_id),
        )

    def _parts(self, found: Cut, progress: Progress) -> Iterator["_Part"]:
        done = 0
        part = _Part(found.starts)
        for records in self.reader.read(found.ranges, max_records=READ_RECORDS):
            rows = self._readable(self.codec.from_log(records))
            ((partition, end),) = records.ends().items()
            part.add(Position(partition, end), rows.numbered, self.codec.to_table(rows))
            progress(done + part.passed(), found.offsets)
            if part.is_full():
                yield part
                done += part.passed()
                part = _Part(part.ends)
        part.ends = dict(found.ends)
        if part.rows:
            yield part
        progress(found.offsets, found.offsets)

    def _readable(self, rows: LogRows) -> LogRows:
        if rows.refused:
            raise unreadable(self.topic, rows, self.codec, rows.refused[0])
        return rows

    def _commit(self, found: Cut, part: "_Part", freezing: Freezing, evolving: Evolving) -> int:
        require_same(self.topics, found)
        ranges = part.ranges()
        record = CommitRecord(
            commit_id=commit_id(self.product, found.topic_id, ranges),
            product=self.product,
            topic=self.topic,
            topic_id=found.topic_id,
            schema_id=self.codec.schema_id,
            ranges=ranges,
            committed_at_ms=self.clock.wall_ms(),
            stored_names=evolving.layout.stored_names,
        )
        change = freezing.frozen(Change(part.files(), record))
        version = self.table.commit(evolving.change(change))
        self.table.offsets(found.topic_id)  # this handle has now seen its own commit
        return version


def unreadable(
    topic: str, rows: LogRows, codec: RowCodec, found: tuple[int, Quarantine]
) -> FatalError:
    """The error for a record that is no row; nothing is skipped."""
    offset, bad = found
    return FatalError(
        f"{topic}[{rows.numbered.partition}]@{offset} is no row of the contract"
        f" v{codec.contract.version} ({bad.code}: {bad.message}); nothing after the last commit was"
        f" taken. Find who wrote it to the product's log.",
        code="UNREADABLE_RECORD",
    )


class _Part:
    """Rows of the next commit, and where it begins and ends on every partition."""

    def __init__(self, starts: Mapping[Partition, int]) -> None:
        self.starts = dict(starts)
        self.ends = dict(starts)
        self.rows = 0
        self._bytes = 0
        self._tables: dict[Partition, list[pa.Table]] = {partition: [] for partition in starts}
        self._hashes: dict[Partition, int] = dict.fromkeys(starts, 0)
        self._counts: dict[Partition, int] = dict.fromkeys(starts, 0)

    def add(self, until: Position, numbered: NumberedRows, table: pa.Table) -> None:
        """Take the rows before a position; they follow those taken before on that partition."""
        partition = until.partition
        self.ends[partition] = until.next_offset
        self._tables[partition].append(table)
        self._hashes[partition] = total((self._hashes[partition], *numbered.digests))
        self._counts[partition] += len(numbered)
        self.rows += len(numbered)
        self._bytes += table.nbytes

    def is_full(self) -> bool:
        """Whether these are enough rows for one commit."""
        return self.rows >= COMMIT_ROWS or self._bytes >= COMMIT_BYTES

    def passed(self) -> int:
        """Offsets between begin and end, over all partitions."""
        return sum(self.ends.values()) - sum(self.starts.values())

    def files(self) -> list[NewFile]:
        """The rows, a file for each partition that has some."""
        return [
            NewFile(
                part_name(p.index, self.starts[p], self.ends[p]),
                pa.concat_tables(self._tables[p]),
            )
            for p in sorted(self._tables)
            if self._counts[p]
        ]

    def ranges(self) -> tuple[CutRange, ...]:
        """What is taken of every partition, those without new rows included: a whole cut."""
        return tuple(
            CutRange(
                partition=p.index,
                start=self.starts[p],
                end=self.ends[p],
                rows=self._counts[p],
                hash=to_text(self._hashes[p]),
            )
            for p in sorted(self.starts)
        )
