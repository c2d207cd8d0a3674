"""Brings the state of assigned tasks up to the end of their changelogs, in slices between polls.

A rebalance revokes all partitions and assigns most of them again: their tasks stay open meanwhile,
and only those that moved are closed here (by the loop, before anything that may wait) and opened
there.

In this order: the committed positions of the inputs are read, stably; only then the high watermark
of the changelog. So whatever a predecessor committed is below it, and nothing can follow.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from headwater.clock import Clock
from headwater.engine.checkpoints import Checkpoints
from headwater.engine.failpoints import reach
from headwater.engine.stores import StepStore, Stores
from headwater.engine.tables import FollowedTables
from headwater.errors import FencedError, OutageError, StartRefusedError, StateInUseError
from headwater.model import Partition, RestoreStanding
from headwater.ports import LogReader, Mark, Monitor, Topics

SLICE_S: Final = 0.5  # between two polls: often enough to answer a rebalance at once
WAIT_S: Final = 0.1  # for another process, or for the broker
SLICE_ROWS: Final = 20_000  # some 30 ms of writing
HAND_OVER_S: Final = 30.0  # a process that drains lets go within its last commit and flush
UNDECIDED_S: Final = 60.0  # the broker ends a predecessor's transaction after 10 s
RETENTION_MS: Final = 24 * 60 * 60 * 1000  # of deletions: Kafka's delete.retention.ms by default

Ranges = Mapping[Partition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class StateSources:
    """What state is brought up to date from.

    `tables` are those whose partitions go with the tasks; None where there are none.
    """

    topics: Topics
    reader: LogReader
    checkpoints: Checkpoints | None = None
    tables: FollowedTables | None = None


@dataclass(slots=True)
class _Progress:
    """How far the state of one step is."""

    held: StepStore
    began_s: float
    loaded: int = 0
    read: int = 0
    left: int = 0
    seconds: float = 0.0
    is_done: bool = False

    def standing(self) -> RestoreStanding:
        return RestoreStanding(
            self.held.output,
            self.held.step,
            self.loaded,
            self.read,
            self.left,
            self.seconds,
            self.is_done,
        )


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a changelog holds, and how old a mark may be to be used with it."""

    first: int
    end: int
    oldest_ms: int

    def covers(self, mark: Mark) -> bool:
        return mark.written_ms >= self.oldest_ms and self.first <= mark.changelog_offset <= self.end


class Restoring:
    """Opens the stores of assigned tasks and reads the tails of their changelogs.

    A task whose local store will not do is filled from the newest checkpoint that will. The
    partitions of tables that go with the tasks are read behind them.
    """

    def __init__(self, stores: Stores, sources: StateSources, clock: Clock) -> None:
        self.stores: Final = stores
        self.checkpoints: Final = sources.checkpoints
        self._tables: Final = sources.tables
        self._topics: Final = sources.topics
        self._reader: Final = sources.reader
        self._clock = clock
        self._held: Sequence[Partition] = ()
        self._damaged: set[tuple[str, int]] = set()  # changelogs and tasks to be thrown away
        self._work: Iterator[bool] | None = None
        self.is_needed = False
        """Whether tasks are not yet up to date: no record of theirs may be processed."""
        self._progress: Sequence[_Progress] = ()
        self.wait_s = 0.0
        """How long to poll before the next slice: while only time helps."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """These are all the partitions held now, and their committed positions are known."""
        self._held = partitions
        if self._tables is not None:
            self._tables.assigned(partitions)
        self._begin()

    def suspend(self, partitions: Sequence[Partition]) -> None:
        """These partitions are revoked; those that come back with the next assignment stay open."""
        self._held = [each for each in self._held if each not in partitions]
        self._work, self.is_needed = None, False
        self.stores.suspend(partitions)

    def let_go(self, partitions: Sequence[Partition]) -> None:
        """These partitions go; what is committed of them is flushed."""
        self._held = [each for each in self._held if each not in partitions]
        self._begin()
        self.stores.release(partitions)

    def close(self) -> None:
        """Give up what is under way, as long as what it reads from is open."""
        self._work = None

    def rebuild(self, task: int | None) -> None:
        """Have what is stored of a task, or of all, thrown away and restored; nothing is staged.

        `advance` does it, where a disk that refuses is waited for.
        """
        for each in self.stores.held:
            meant = [held for held in self._tasks(each) if task in {held, None}]
            self._damaged.update((each.changelog, held) for held in meant)
        self._begin()

    def advance(self, monitor: Monitor) -> bool:
        """Restore for a slice of time, and tell how far it is; whether all is done.

        Raises StartRefusedError (PARTITIONS_CHANGED) when a changelog has no partition for a task,
        FencedError (STATE_IN_USE) when another process keeps a task open, and what stores, topics
        and reader raise: then the next call begins anew, with what is stored already.
        """
        if not self.is_needed:
            return True
        deadline_s = self._clock.monotonic() + SLICE_S
        self._work = self._work or self._restored(monitor)
        try:
            for is_going_on in self._work:
                self.wait_s = 0.0 if is_going_on else WAIT_S
                if not is_going_on or self._clock.monotonic() > deadline_s:
                    self._tell(monitor)
                    return False
        except BaseException:
            self._work = None
            raise
        self._work, self.is_needed, self.wait_s = None, False, 0.0
        self._tell(monitor)
        return True

    def _tell(self, monitor: Monitor) -> None:
        monitor.restoring([each.standing() for each in self._progress])

    def _begin(self) -> None:
        self._work = None
        has_tables = self._tables is not None and self._tables.is_partitioned
        self.is_needed = has_tables or any(self._tasks(each) for each in self.stores.held)

    def _tasks(self, held: StepStore) -> list[int]:
        return [each.index for each in self._held if each.topic == held.source]

    # -- one run; each yield is a place to poll, False where only time helps ----------------------

    def _restored(self, monitor: Monitor) -> Iterator[bool]:
        now_s = self._clock.monotonic()
        self._progress = [_Progress(each, now_s) for each in self.stores.held if self._tasks(each)]
        self._tell(monitor)
        ranges = {}
        for each in self._progress:
            ranges[each.held.changelog] = yield from self._opened(each, monitor)
        for each in self._progress:
            yield from self._decided(each.held.changelog, ranges[each.held.changelog])
            yield from self._read(each, ranges[each.held.changelog])
        if self._tables is not None:
            yield from self._tables.catch_up()

    def _opened(self, progress: _Progress, monitor: Monitor) -> Generator[bool, None, Ranges]:
        """Open the tasks; what each lacks of its changelog."""
        held = progress.held
        ends = self._topics.high_watermarks(held.changelog)
        firsts = self._topics.beginnings(held.changelog)
        settings = self._topics.config(held.changelog)
        oldest_ms = self._clock.wall_ms() - int(settings.get("delete.retention.ms", RETENTION_MS))
        ranges = {}
        for task in self._tasks(held):
            partition = Partition(held.changelog, task)
            if partition not in ends:
                raise _no_partition(held, task)
            reach = _Reach(firsts[partition], ends[partition], oldest_ms)
            mark = yield from self._assigned(held, task)
            if mark is not None and not reach.covers(mark):
                held.store.reset(task)
                mark = None
            if mark is None:
                mark = yield from self._loaded(progress, task, reach, monitor)
            start = reach.first if mark is None else mark.changelog_offset
            ranges[partition] = (start, reach.end)
            progress.left += reach.end - start
            yield True
        return ranges

    def _loaded(
        self, progress: _Progress, task: int, reach: _Reach, monitor: Monitor
    ) -> Generator[bool, None, Mark | None]:
        """Fill an empty task from a checkpoint; None: there is none."""
        if self.checkpoints is None:
            return None
        search = self.checkpoints.newest(progress.held, task, reach.covers, monitor)
        found = yield from search
        if found is None:
            return None
        for entries in progress.held.store.load(task, found):
            progress.loaded += entries
            yield True
        return found.mark

    def _assigned(self, held: StepStore, task: int) -> Generator[bool, None, Mark | None]:
        """Open a task, when whoever had it has let go; with nothing in it where it is damaged."""
        deadline_s = self._clock.monotonic() + HAND_OVER_S
        while True:
            try:
                if (held.changelog, task) not in self._damaged:
                    return held.store.assign(task)
                held.store.reset(task)
                self._damaged.discard((held.changelog, task))
                return None
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

    def _read(self, progress: _Progress, ranges: Ranges) -> Iterator[bool]:
        store = progress.held.store
        for records in self._reader.read(ranges, max_records=SLICE_ROWS):
            ((partition, offset),) = records.ends().items()
            keys = cast("Sequence[bytes]", records.keys())  # we write none without
            store.restore(partition.index, keys, records.values, offset=offset)
            reach("during_restore")
            progress.read += len(records)
            progress.left -= len(records)
            yield True
        for partition, (_, end) in ranges.items():
            store.restore(partition.index, (), (), offset=end)
            store.restored(partition.index)
        progress.left, progress.is_done = 0, True
        progress.seconds = self._clock.monotonic() - progress.began_s


def _no_partition(held: StepStore, task: int) -> StartRefusedError:
    return StartRefusedError(
        f"{held.changelog} has no partition {task}, which {held.source} has: its partitions were "
        "added to; keys would move away from their state: publish to a new major",
        code="PARTITIONS_CHANGED",
    )
