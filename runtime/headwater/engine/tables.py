"""The tables of a process: read to their ends before an event looks them up, then followed.

A broadcast table is read before the worker is a member of its group, as Kafka Streams does with a
GlobalKTable. Of a co-partitioned one the partitions are held whose tasks are: they are read when
they are assigned, with the inputs paused, and dropped when an assignment comes without them. The
topic is its own changelog; nothing is kept on disk.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.clock import Clock
from headwater.engine.limit import BadRecordWindow
from headwater.engine.table_task import TableTask
from headwater.engine.waiting import Waiter, Waiting
from headwater.errors import OutageError, RetriableError, UnavailableError
from headwater.model import Partition, Positions, TableStanding
from headwater.ports import Monitor, Records, TopicFollower, Topics

READ_AT_ONCE: Final = 20_000  # records: bounds what is in hand; a turn takes no more of a table
POLL_S: Final = 0.1  # seconds; how soon a stop is heard while nothing comes
SILENT_S: Final = (
    300.0  # nothing comes of what is there: so long an outage is waited for by default
)


@dataclass(frozen=True, slots=True)
class FollowedTable:
    """A table, and what becomes of its records; it has a window of bad records of its own.

    `inputs` are the topics whose tasks hold their partitions of it; None for a broadcast table.
    """

    task: TableTask
    window: BadRecordWindow
    inputs: frozenset[str] | None = None


class FollowedTables:
    """The tables of a product, by topic."""

    def __init__(
        self,
        follower: TopicFollower,
        tables: Mapping[str, FollowedTable],
        topics: Topics,
        monitor: Monitor,
        clock: Clock,
    ) -> None:
        self._follower = follower
        self._tables = tables
        self._topics = topics
        self._monitor = monitor
        self._clock = clock
        self._ends: dict[Partition, int] = {}
        self._held: frozenset[Partition] = frozenset()  # of co-partitioned tables
        self._wanted: frozenset[Partition] = frozenset()
        self._pending: deque[Records] = deque()

    # -- broadcast tables ------------------------------------------------------------------------

    def load(self, waiter: Waiter, *, limit_s: float) -> None:
        """Read every broadcast table to its read_committed end of now, or until a stop.

        Raises UnavailableError when nothing comes for `limit_s`, and what `follow` raises.
        """
        starts: dict[Partition, int] = {}
        for topic, table in self._tables.items():
            if table.inputs is None:
                starts.update(self._topics.beginnings(topic))
                self._ends.update(self._topics.ends(topic))
        self._follower.assign(starts)
        waiting = Waiting(self._follower, self._monitor, self._clock, limit_s=limit_s)
        heard_s = self._clock.monotonic()
        while self._tell() and not waiter.is_stopping:
            try:
                has_come = self._follow(POLL_S)
            except RetriableError as error:
                waiting.out(lambda: self._follow(0.0), error, waiter)
                has_come = True
            if has_come:
                heard_s = self._clock.monotonic()
            elif self._clock.monotonic() - heard_s > limit_s:
                raise UnavailableError(self._silence(limit_s))

    def follow(self) -> None:
        """Take in what has come meanwhile; waits for nothing.

        Raises RetriableError when a schema cannot be had now (call again, nothing is lost),
        TooManyBadRecordsError, RuleBrokenError, HaltedError and what the follower raises.
        """
        if self._follow(0.0):
            self._tell()

    def close(self) -> None:
        """Let go of the client."""
        self._follower.close()

    # -- co-partitioned tables -------------------------------------------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """These are all the partitions of inputs held now; `catch_up` is to follow."""
        self._wanted = frozenset(
            Partition(topic, each.index)
            for topic, table in self._tables.items()
            for each in partitions
            if table.inputs is not None and each.topic in table.inputs
        )

    @property
    def is_partitioned(self) -> bool:
        """Whether partitions of tables are to be held for those of the inputs, or let go."""
        return bool(self._wanted | self._held)

    @property
    def left(self) -> int:
        """How many offsets there are up to the ends as they were asked for, at most."""
        return self._left().total()

    def catch_up(self) -> Iterator[bool]:
        """Hold what was assigned, to the read_committed ends of now; each yield is a place to poll.

        It yields whether anything came. Raises OutageError when nothing does for long, and what
        `follow` raises; then it can be called anew.
        """
        self._hold()
        heard_s = self._clock.monotonic()
        while self._tell():
            has_come = self._follow(0.0)
            if has_come:
                heard_s = self._clock.monotonic()
            elif self._clock.monotonic() - heard_s > SILENT_S:
                raise OutageError(self._silence(SILENT_S))
            yield has_come

    def _hold(self) -> None:
        """Exactly what is wanted: the rows of the others go, and new ones are read from the start.

        A table behind has rows as of its position, and is read on from there.
        """
        gone, new = self._held - self._wanted, self._wanted - self._held
        topics = {each.topic for each in self._wanted}
        firsts = {p: at for topic in topics for p, at in self._topics.beginnings(topic).items()}
        ends = {p: at for topic in topics for p, at in self._topics.ends(topic).items()}
        if gone or new:
            kept = {p: at for p, at in self._follower.positions().items() if p not in gone}
            self._follower.assign({**kept, **{each: firsts[each] for each in new}})
            self._drop(gone)
        self._held = self._wanted
        self._ends.update((each, ends[each]) for each in self._wanted)

    def _drop(self, gone: frozenset[Partition]) -> None:
        for topic in {each.topic for each in gone}:
            tasks = [each.index for each in gone if each.topic == topic]
            self._tables[topic].task.rows.drop(tasks)
        left = [records for records in self._pending if not gone.intersection(records.ends())]
        self._pending = deque(left)
        for each in gone:
            self._ends.pop(each, None)

    # -- records ---------------------------------------------------------------------------------

    def _follow(self, timeout_s: float) -> bool:
        """Whether anything came."""
        if not self._pending:
            self._pending.extend(self._follower.poll(READ_AT_ONCE, timeout_s))
        has_come = bool(self._pending)
        while self._pending:
            self._take(self._pending[0])
            self._pending.popleft()
        return has_come

    def _take(self, records: Records) -> None:
        table = self._tables[records.topic]
        taken = table.task.take(records)
        refused = [each for part in taken for each in part.refused]
        violations = [each for part in taken for each in part.violations]
        if violations:
            self._monitor.rules_broken(violations)
        if refused:
            self._monitor.tables_refused(refused)
        codes = Counter(each.code for each in refused)
        table.window.observe(read=len(records), codes=codes, dead_letters=records.topic)
        table.window.settle()

    def _tell(self) -> int:
        """How many offsets are left."""
        left = self._left()
        held = {topic: self._tables[topic].task.rows for topic in left}
        self._monitor.tables(
            [TableStanding(t, each.keys, each.rows, left[t]) for t, each in held.items()]
        )
        return left.total()

    def _left(self) -> Counter[str]:
        at: Positions = self._follower.positions()
        left: Counter[str] = Counter()
        for partition, end in self._ends.items():
            left[partition.topic] += max(0, end - at[partition])
        return left

    def _silence(self, seconds: float) -> str:
        return (
            f"no record of {', '.join(self._tables)} came for {seconds:g} s, and there are more to"
            " read; start the broker or look at it"
        )
