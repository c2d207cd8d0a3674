"""Takes a snapshot: reads what the log has published since the last one and commits it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import SYSTEM, Clock
from headwater.errors import FatalError
from headwater.model import Code, Partition, Position, Quarantine
from headwater.ports import (
    Change,
    CommitRecord,
    CutRange,
    DaysClosed,
    LogReader,
    NewFile,
    Table,
    Topics,
)
from headwater.snapshot.cut import Cut, commit_id, cut, last_record, require_same
from headwater.snapshot.days import closed_days, corrected
from headwater.snapshot.division import DATE, require_few, runs, text_of, together
from headwater.snapshot.evolving import Evolving
from headwater.snapshot.file_names import part_name
from headwater.snapshot.freezing import Freezing
from headwater.snapshot.multiset import to_text, total, total_of
from headwater.snapshot.pipeline import one_behind
from headwater.snapshot.rows import LogRows, NumberedRows, RowCodec

READ_RECORDS: Final = 20_000  # per read: large enough for columns, small beside a commit
COMMIT_ROWS: Final = 200_000  # a longer range becomes several commits, each a cut of its own
COMMIT_BYTES: Final = 64 * 1024 * 1024  # of columns; two are in memory, one written and one read

OTHER_KEY: Final = Quarantine(0, Code.BAD_KEY, "the key is not that of a row")

DAILY: Final = "daily"  # the mode of tables that are taken when a day is over

Progress = Callable[[int, int], None]
"""Told the offsets passed and their total."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run added. `version` is None when nothing was new, so nothing was committed.

    `days` are those that a run of mode "daily" closed and corrected, over all its commits.
    """

    location: str
    version: int | None
    commits: int
    rows: int
    rows_total: int
    cut: Mapping[int, int]
    days: DaysClosed | None = None


@dataclass(frozen=True, slots=True)
class Snapshotter:
    """Appends `topic` of `product` to `table`. Holds no position: the table does.

    The table is divided as the codec says. With `closing`, which gives the days that are over by
    now, it is one of mode "daily": divided by DATE, and taken when there is a day to close.
    """

    product: str
    topic: str
    topics: Topics
    reader: LogReader
    table: Table
    codec: RowCodec
    closing: Callable[[], DaysClosed | None] | None = None
    clock: Clock = SYSTEM

    def take(self, progress: Progress = lambda _done, _total: None) -> Taken:
        """Commit everything published up to the read_committed end of now.

        Each commit is a cut by itself, so an interruption leaves a whole snapshot that the next run
        continues; it is made while the rows of the next one are read. A table of an older version
        of the contract gets its columns with the first rows.
        Raises StartRefusedError (SNAPSHOT_COLUMNS when the table cannot take the contract's
        columns, even with nothing new; SNAPSHOT_DIVISION when the table is divided by another
        column, or cannot be divided so; else see `cut`), OvertakenError when another process was
        first, FatalError (UNREADABLE_RECORD) for a record that is no row of the contract,
        RetriableError when the storage or the broker refuses.
        """
        if self.closing is None:
            found = cut(self.topics, self.table, self.topic)
            return self._taken(found, self._parts(found, progress))
        news = self.closing()  # asked before the log's end: all that was made before is in the cut
        found = cut(self.topics, self.table, self.topic, DAILY)
        before = self._closed_before()  # behind the cut: what is closed since, the table sees
        if news is None or (before is not None and (news.before or "") <= before):
            return self._taken(found, ())
        return self._taken(found, self._days(found, before, news, progress))

    def _taken(self, found: Cut, parts: Iterable["_Part"]) -> Taken:
        # behind the cut, which is refused if the table aged; before the first record is read
        evolving = Evolving.of(self.table, self.codec)
        freezing = Freezing(self.table, self.codec.contract, evolving.layout)
        commits = one_behind(partial(self._commit, found, freezing, evolving), parts)
        return Taken(
            location=self.table.location,
            version=commits[-1].version if commits else None,
            commits=len(commits),
            rows=sum(each.rows for each in commits),
            rows_total=self.table.rows(),
            cut=self.table.offsets(found.topic_id),
            days=None if self.closing is None else _joined(each.days for each in commits),
        )

    def _closed_before(self) -> str | None:
        """Before which day all are closed; the history is asked after an interrupted run only."""
        last = last_record(self.table)
        if last is not None and last.days is not None and last.days.before is not None:
            return last.days.before
        found = None if last is None else closed_days(r for _, r in self.table.commits()).before
        return None if found is None else found.isoformat()

    def _days(
        self, found: Cut, before: str | None, news: DaysClosed, progress: Progress
    ) -> Iterator["_Part"]:
        """The parts with what they say of days; the last closes those that are news.

        Before `before` all days are closed already.
        """
        for part in self._parts(found, progress, is_closing=True):
            days = corrected(part.days_of_rows(), before)
            part.days = replace(news if part.ends == found.ends else DaysClosed(), corrected=days)
            yield part
            del part  # as `one_behind` does

    def _parts(
        self, found: Cut, progress: Progress, *, is_closing: bool = False
    ) -> Iterator["_Part"]:
        done, part = 0, _Part(found.starts)
        # the table is asked now: behind the first part, a commit of it may be under way
        is_told = is_closing and self.table.version() is not None
        for records in self.reader.read(found.ranges, max_records=READ_RECORDS):
            rows = self._readable(self.codec.from_log(records))
            ((partition, end),) = records.ends().items()
            part.add(Position(partition, end), rows.numbered, self.codec.to_table(rows))
            progress(done + part.passed(), found.offsets)
            if part.is_full() and part.ends != found.ends:
                yield part
                done += part.passed()
                part, is_told = _Part(part.ends), is_closing
        part.ends = dict(found.ends)
        if part.rows or is_told:
            yield part
        progress(found.offsets, found.offsets)

    def _readable(self, rows: LogRows) -> LogRows:
        if rows.refused:
            raise unreadable(self.topic, rows, self.codec, rows.refused[0])
        if (other := rows.under_another_key()) is not None:  # no table could prove it
            raise unreadable(self.topic, rows, self.codec, (other, OTHER_KEY))
        return rows

    def _commit(
        self, found: Cut, freezing: Freezing, evolving: Evolving, part: "_Part"
    ) -> "_Committed":
        require_same(self.topics, found)
        ranges = part.ranges()
        record = CommitRecord(
            commit_id=commit_id(self.product, found.topic_id, ranges, part.days),
            product=self.product,
            topic=self.topic,
            topic_id=found.topic_id,
            schema_id=self.codec.schema_id,
            ranges=ranges,
            committed_at_ms=self.clock.wall_ms(),
            mode="append" if self.closing is None else DAILY,
            stored_names=evolving.layout.stored_names,
            days=part.days,
        )
        files = part.files(self.codec.divided_by, self.table.location)
        change = freezing.frozen(Change(files, record))
        version = self.table.commit(evolving.change(change))
        self.table.offsets(found.topic_id)  # this handle has now seen its own commit
        return _Committed(version, part.rows, part.days)


@dataclass(frozen=True, slots=True)
class _Committed:
    """What one commit added."""

    version: int
    rows: int
    days: DaysClosed | None


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


def _joined(commits: Iterable[DaysClosed | None]) -> DaysClosed:
    """What the commits of a run say of days."""
    whole = DaysClosed()
    for each in filter(None, commits):
        counts = Counter(whole.corrected)
        counts.update(each.corrected)
        whole = DaysClosed(each.before or whole.before, each.is_assumed, counts)
    return whole


class _Part:
    """Rows of the next commit, and where it begins and ends on every partition."""

    def __init__(self, starts: Mapping[Partition, int]) -> None:
        self.starts = dict(starts)
        self.ends = dict(starts)
        self.rows = 0
        self.days: DaysClosed | None = None
        self._bytes = 0
        self._tables: dict[Partition, list[pa.Table]] = {partition: [] for partition in starts}
        self._hashes: dict[Partition, int] = dict.fromkeys(starts, 0)
        self._counts: dict[Partition, int] = dict.fromkeys(starts, 0)

    def add(self, until: Position, numbered: NumberedRows, table: pa.Table) -> None:
        """Take the rows before a position; they follow those taken before on that partition."""
        partition = until.partition
        self.ends[partition] = until.next_offset
        self._tables[partition].append(table)
        self._hashes[partition] = total((self._hashes[partition], total_of(numbered.digests)))
        self._counts[partition] += len(numbered)
        self.rows += len(numbered)
        self._bytes += table.nbytes

    def is_full(self) -> bool:
        """Whether these are enough rows for one commit."""
        return self.rows >= COMMIT_ROWS or self._bytes >= COMMIT_BYTES

    def passed(self) -> int:
        """Offsets between begin and end, over all partitions."""
        return sum(self.ends.values()) - sum(self.starts.values())

    def files(self, divided_by: str | None, location: str) -> list[NewFile]:
        """The rows, a file for each partition that has some, and value of the dividing column.

        Raises StartRefusedError (SNAPSHOT_DIVISION).
        """
        found = [
            NewFile(part_name(p.index, self.starts[p], self.ends[p]), rows, value)
            for p in sorted(self._tables)
            if self._counts[p]
            for value, rows in runs(
                together(pa.concat_tables(self._tables[p]), divided_by), divided_by, location
            )
        ]
        require_few({each.value for each in found}, divided_by, location)
        return found

    def days_of_rows(self) -> Mapping[str | None, int]:
        """How many rows there are of each day; of a table that is divided by it."""
        found: dict[str | None, int] = {}
        for table in chain.from_iterable(self._tables.values()):
            for each in pc.value_counts(table[DATE]).to_pylist():
                day = text_of(each["values"])
                found[day] = found.get(day, 0) + each["counts"]
        return found

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
