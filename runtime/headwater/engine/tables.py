"""Broadcast tables: read to their ends before the first event, then followed between batches.

Kafka Streams does so with a GlobalKTable. A worker that reads them is no member of its group yet.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from headwater.clock import Clock
from headwater.engine.limit import BadRecordWindow
from headwater.engine.table_task import TableTask
from headwater.engine.waiting import Waiter, Waiting
from headwater.errors import RetriableError, UnavailableError
from headwater.model import Partition, Positions, TableStanding
from headwater.ports import Monitor, Records, TopicFollower, Topics

READ_AT_ONCE: Final = 20_000  # records: bounds what is in hand; a turn takes no more of a table
POLL_S: Final = 0.1  # seconds; how soon a stop is heard while nothing comes


class BroadcastTables:
    """The tables of a product: `tasks` by topic, each with its own window of bad records."""

    def __init__(
        self,
        follower: TopicFollower,
        tasks: Mapping[str, TableTask],
        topics: Topics,
        *,
        windows: Mapping[str, BadRecordWindow],
    ) -> None:
        self._follower = follower
        self._tasks = tasks
        self._topics = topics
        self._windows = windows
        self._ends: Positions = {}
        self._pending: deque[Records] = deque()

    def load(self, waiter: Waiter, monitor: Monitor, clock: Clock, *, limit_s: float) -> None:
        """Read every table to its read_committed end of now, or until a stop is asked for.

        Raises UnavailableError when nothing comes for `limit_s`, and what `follow` raises.
        """
        starts: dict[Partition, int] = {}
        ends: dict[Partition, int] = {}
        for topic in self._tasks:
            starts.update(self._topics.beginnings(topic))
            ends.update(self._topics.ends(topic))
        self._follower.assign(starts)
        self._ends = ends
        waiting = Waiting(self._follower, monitor, clock, limit_s=limit_s)
        heard_s = clock.monotonic()
        while self._tell(monitor) and not waiter.is_stopping:
            try:
                has_come = self._follow(monitor, POLL_S)
            except RetriableError as error:
                waiting.out(lambda: self._follow(monitor, 0.0), error, waiter)
                has_come = True
            if has_come:
                heard_s = clock.monotonic()
            elif clock.monotonic() - heard_s > limit_s:
                raise UnavailableError(
                    f"no record of {', '.join(self._tasks)} came for {limit_s:g} s, and there are "
                    "more to read; start the broker or look at it"
                )

    def follow(self, monitor: Monitor) -> None:
        """Take in what has come meanwhile; waits for nothing.

        Raises RetriableError when a schema cannot be had now (call again, nothing is lost),
        TooManyBadRecordsError, RuleBrokenError, HaltedError and what the follower raises.
        """
        if self._follow(monitor, 0.0):
            self._tell(monitor)

    def close(self) -> None:
        """Let go of the client."""
        self._follower.close()

    def _follow(self, monitor: Monitor, timeout_s: float) -> bool:
        """Whether anything came."""
        if not self._pending:
            self._pending.extend(self._follower.poll(READ_AT_ONCE, timeout_s))
        has_come = bool(self._pending)
        while self._pending:
            self._take(self._pending[0], monitor)
            self._pending.popleft()
        return has_come

    def _take(self, records: Records, monitor: Monitor) -> None:
        taken = self._tasks[records.topic].take(records)
        refused = [each for part in taken for each in part.refused]
        violations = [each for part in taken for each in part.violations]
        if violations:
            monitor.rules_broken(violations)
        if refused:
            monitor.tables_refused(refused)
        window = self._windows[records.topic]
        codes = Counter(each.code for each in refused)
        window.observe(read=len(records), codes=codes, dead_letters=records.topic)
        window.settle()

    def _tell(self, monitor: Monitor) -> int:
        """How many offsets are left up to the ends as of the start."""
        left: Counter[str] = Counter()
        at = self._follower.positions()
        for partition, end in self._ends.items():
            left[partition.topic] += max(0, end - at[partition])
        monitor.tables(
            [TableStanding(t, task.rows.keys, left[t]) for t, task in self._tasks.items()]
        )
        return left.total()
