"""Brings the state of assigned tasks up to the end of their changelogs, in slices between polls.

In this order: the committed positions of the inputs are read, stably; only then the high watermark
of the changelog. So whatever a predecessor committed is below it, and nothing can follow.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Final, cast

from headwater.clock import Clock
from headwater.engine.stores import StepStore, Stores
from headwater.engine.tables import FollowedTables
from headwater.errors import FencedError, OutageError, StartRefusedError, StateInUseError
from headwater.model import Partition
from headwater.ports import LogReader, Mark, Topics

SLICE_S: Final = 0.5  # between two polls: often enough to answer a rebalance at once
WAIT_S: Final = 0.1  # for another process, or for the broker
SLICE_ROWS: Final = 20_000  # some 30 ms of writing
HAND_OVER_S: Final = 30.0  # a process that drains lets go within its last commit and flush
UNDECIDED_S: Final = 60.0  # the broker ends a predecessor's transaction after 10 s
RETENTION_MS: Final = 24 * 60 * 60 * 1000  # of deletions: Kafka's delete.retention.ms by default

Ranges = Mapping[Partition, tuple[int, int]]


class Restoring:
    """Opens the stores of assigned tasks and reads the tails of their changelogs.

    And the partitions of tables that go with them; `tables` is None where there are none.
    """

    def __init__(
        self,
        stores: Stores,
        topics: Topics,
        reader: LogReader,
        clock: Clock,
        tables: FollowedTables | None = None,
    ) -> None:
        self.stores: Final = stores
        self._tables = tables
        self._topics = topics
        self._reader = reader
        self._clock = clock
        self._held: Sequence[Partition] = ()
        self._work: Iterator[bool] | None = None
        self.is_needed = False
        """Whether tasks are not yet up to date: no record of theirs may be processed."""
        self._left = 0  # of the changelog being read, at most
        self.wait_s = 0.0
        """How long to poll before the next slice: while only time helps."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """These are all the partitions held now, and their committed positions are known."""
        self._held = partitions
        if self._tables is not None:
            self._tables.assigned(partitions)
        self._begin()

    def let_go(self, partitions: Sequence[Partition]) -> None:
        """These partitions go; what is committed of them is flushed."""
        self._held = [each for each in self._held if each not in partitions]
        self._begin()
        self.stores.release(partitions)

    def rebuild(self, task: int | None) -> None:
        """Throw away what is stored of a task, or of all, and restore it; nothing is staged now."""
        for each in self.stores.held:
            for mine in each.store.tasks:
                if task in {mine, None}:
                    each.store.reset(mine)
        self._begin()

    def advance(self) -> int | None:
        """Restore for a slice of time; how many records are left, None when nothing is needed.

        Raises StartRefusedError (PARTITIONS_CHANGED) when a changelog has no partition for a task,
        FencedError (STATE_IN_USE) when another process keeps a task open, and what stores, topics
        and reader raise: then the next call begins anew, with what is stored already.
        """
        if not self.is_needed:
            return None
        deadline_s = self._clock.monotonic() + SLICE_S
        self._work = self._work or self._restored()
        try:
            for is_going_on in self._work:
                self.wait_s = 0.0 if is_going_on else WAIT_S
                if not is_going_on or self._clock.monotonic() > deadline_s:
                    return self._left
        except BaseException:
            self._work = None
            raise
        self._work, self.is_needed, self._left, self.wait_s = None, False, 0, 0.0
        return None

    def _begin(self) -> None:
        self._work, self._left = None, 0
        has_tables = self._tables is not None and self._tables.is_partitioned
        self.is_needed = has_tables or any(self._tasks(each) for each in self.stores.held)

    def _tasks(self, held: StepStore) -> list[int]:
        return [each.index for each in self._held if each.topic == held.source]

    # -- one run; each yield is a place to poll, False where only time helps ----------------------

    def _restored(self) -> Iterator[bool]:
        self.stores.release(self.stores.partitions())
        for held in self.stores.held:
            if tasks := self._tasks(held):
                ranges = yield from self._opened(held, tasks)
                self._left = sum(end - start for start, end in ranges.values())
                yield from self._decided(held.changelog, ranges)
                yield from self._read(held, ranges)
        if self._tables is not None:
            for has_come in self._tables.catch_up():
                self._left = self._tables.left
                yield has_come

    def _opened(self, held: StepStore, tasks: Sequence[int]) -> Generator[bool, None, Ranges]:
        """Open the tasks; what each lacks of its changelog."""
        ends = self._topics.high_watermarks(held.changelog)
        firsts = self._topics.beginnings(held.changelog)
        settings = self._topics.config(held.changelog)
        oldest_ms = self._clock.wall_ms() - int(settings.get("delete.retention.ms", RETENTION_MS))
        ranges = {}
        for task in tasks:
            partition = Partition(held.changelog, task)
            if partition not in ends:
                raise _no_partition(held, task)
            first, end = firsts[partition], ends[partition]
            mark = yield from self._assigned(held, task)
            if mark is not None and (
                mark.written_ms < oldest_ms or not first <= mark.changelog_offset <= end
            ):
                held.store.reset(task)
                mark = None
            ranges[partition] = (first if mark is None else mark.changelog_offset, end)
            yield True
        return ranges

    def _assigned(self, held: StepStore, task: int) -> Generator[bool, None, Mark | None]:
        """Open a task, when whoever had it has let go."""
        deadline_s = self._clock.monotonic() + HAND_OVER_S
        while True:
            try:
                return held.store.assign(task)
            except StateInUseError as error:
                if self._clock.monotonic() > deadline_s:
                    raise FencedError(str(error), code=error.code) from error
            yield False

    def _decided(self, changelog: str, ranges: Ranges) -> Iterator[bool]:
        """Wait until transactions below the ends are decided: their last markers may be on the way.

        Raises OutageError when one hangs.
        """
        deadline_s = self._clock.monotonic() + UNDECIDED_S
        while True:
            stable = self._topics.ends(changelog)
            if all(stable[partition] >= end for partition, (_, end) in ranges.items()):
                return
            if self._clock.monotonic() > deadline_s:
                raise OutageError(
                    f"A transaction on {changelog} is open for {UNDECIDED_S:g} s and more; find "
                    "its producer with kafka-transactions.sh, and stop or abort it."
                )
            yield False

    def _read(self, held: StepStore, ranges: Ranges) -> Iterator[bool]:
        for records in self._reader.read(ranges, max_records=SLICE_ROWS):
            ((partition, offset),) = records.ends().items()
            keys = cast("Sequence[bytes]", records.keys())  # we write none without
            held.store.restore(partition.index, keys, records.values, offset=offset)
            self._left -= len(records)
            yield True
        for partition, (_, end) in ranges.items():
            held.store.restore(partition.index, (), (), offset=end)
            held.store.restored(partition.index)


def _no_partition(held: StepStore, task: int) -> StartRefusedError:
    return StartRefusedError(
        f"{held.changelog} has no partition {task}, which {held.source} has: its partitions were "
        "added to; keys would move away from their state: publish to a new major",
        code="PARTITIONS_CHANGED",
    )
