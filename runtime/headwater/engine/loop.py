"""The loop: poll, process, stage, commit when due. Owns the only thread of the data path.

Read `turn` top to bottom for the way of the data, and `recovery.py` for what happens when it fails.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from headwater.engine.attempts import Attempts
from headwater.engine.co_partitioning import require_whole_tasks, whole_tasks
from headwater.engine.guard import Guard
from headwater.engine.halting import Halted, halted_error
from headwater.engine.limit import BadRecordWindow
from headwater.engine.outside import LoopSettings, Outside
from headwater.engine.recovery import Recovery
from headwater.engine.start import StartPositions
from headwater.engine.take import Take
from headwater.engine.tally import Tally
from headwater.engine.task import Task
from headwater.engine.transaction import Terms, Transaction
from headwater.engine.upkeep import Upkeep
from headwater.engine.waiting import Waiting
from headwater.engine.watermarks import EventTimes
from headwater.engine.work import Work
from headwater.errors import (
    AbortableError,
    FencedError,
    HeadwaterError,
    OutageError,
    RebuildError,
    RecycleError,
    ResultRefusedError,
    RetriableError,
    RuleBrokenError,
    TooManyBadRecordsError,
    UnavailableError,
)
from headwater.model import Halt, Partition, Positions, Quarantine
from headwater.ports import Ending, GroupToken, Records

DRAIN_FAILURES: Final = (AbortableError, RecycleError, RetriableError)


class Loop:
    """Runs tasks over a source until told to stop, or until given positions are reached."""

    def __init__(
        self,
        outside: Outside,
        tasks: Mapping[str, Task],
        start: StartPositions,
        *,
        window: BadRecordWindow,
        settings: LoopSettings,
    ) -> None:
        self._source = outside.source
        self._restoring = outside.restoring
        self._stores = outside.restoring.stores
        self._log = outside.log
        self._tail = outside.tail
        self._tables = outside.tables
        self._monitor = outside.monitor
        self._clock = outside.clock
        self._tasks = tasks
        self._co_partitioned = [tasks.keys() & set(group) for group in outside.co_partitioned]
        self._start = start
        self._window = window
        self._settings = settings
        marks = {topic: task.watermarks for topic, task in tasks.items() if task.watermarks}
        self._times = EventTimes(marks, outside.clock)
        self._attempts = Attempts(reach=settings.policy.max_records + settings.poll_size)
        self._transaction = Transaction(
            outside.log,
            outside.source,
            outside.clock,
            terms=Terms(self._note, settings.transaction_timeout_s),
            on_end=self._transaction_ended,
        )
        self._waiting = Waiting(
            outside.source, outside.monitor, outside.clock, limit_s=settings.outage_limit_s
        )
        self._upkeep = Upkeep(outside, self._transaction, self._waiting)
        self._recovery = Recovery(self._transaction, self._waiting, outside.monitor, outside.clock)
        self._guard = Guard(outside.sandbox, outside.source, outside.monitor)
        self._halted = Halted(outside.source, outside.monitor, outside.clock)
        self._tally = Tally(window, outside.monitor)
        self._take = Take(
            poll_size=settings.poll_size,
            batch_bytes=settings.batch_bytes,
            step_timeout_s=settings.step_timeout_s,
        )
        self._group = GroupToken(None)  # of the last poll; none yet, and nothing to commit
        self.assignments = 0  # rises with every change
        self._is_assigned = False
        self._is_initialised = False
        self._is_restored = False
        self.is_stopping = False

    def stop(self) -> None:
        """Ask for a drain: safe from a signal handler."""
        self.is_stopping = True

    def run(
        self,
        targets: Positions | None = None,
        *,
        on_progress: Callable[[Positions], None] | None = None,
    ) -> None:
        """Process until `stop`, or until every held partition reached its target; then drain.

        Raises FencedError, TooManyBadRecordsError, StartRefusedError, HaltedError,
        UnavailableError or FatalError; whatever was not committed then is aborted, by us or by the
        broker.
        """
        try:
            self._begin()
            while not self.is_stopping and not self._has_reached(targets):
                self._turn_or_recover()
                if on_progress is not None:
                    on_progress(self._transaction.committed())
            self._drain()
            if not self.is_stopping:
                self._halted.refuse_end(targets or {})
        except UnavailableError:
            if self._transaction.is_empty:  # else it is the broker that is away
                self._drain()
            if not self.is_stopping:
                raise
        except (ResultRefusedError, RuleBrokenError, TooManyBadRecordsError):
            self._abandon()
            raise
        finally:
            self._close()

    def turn(self) -> None:
        """The way of the data, once round."""
        wait_s = self._settings.policy.wait_s(self._elapsed_s(), is_idle=self._transaction.is_empty)
        if self._upkeep.restore(self):
            return
        batches = self._source.poll(self._take.records, wait_s)
        if batches and self._restoring.is_needed:
            raise AbortableError("records came with an assignment whose state is to be restored")
        self._group = self._source.group_token()  # of these records; later it may be another's
        self._log.poll()
        self._follow_tables()
        for records in batches:
            self._note_attempts(records)
            work = self._process(records)
            if self._is_due():  # the batch took longer than the interval
                self._transaction.commit()
            self._stage(work)
        self._move_idle()
        self._halted.look()
        if self._is_due():
            self._transaction.commit()
        elif not batches:
            self._pass_control_records()
        self._upkeep.turn(self)

    # -- begin and end -------------------------------------------------------------------------

    def _begin(self) -> None:
        """Join the group once the tables are read: who has read them goes on meanwhile."""
        self._start.commit_before_joining(self._source, self._clock)
        if self._tables is not None:
            limit_s = self._settings.outage_limit_s
            self._tables.load(self, limit_s=limit_s)
        if not self.is_stopping:
            self._source.subscribe(list(self._tasks), self)

    def _close(self) -> None:
        self._guard.close()
        self._restoring.close()
        if self._tables is not None:
            self._tables.close()
        self._log.close()  # aborts what is open
        self._stores.release(self._stores.partitions())  # others wait for it
        self._source.close()  # the last: a client amid a rebalance may take its time

    # -- steps ---------------------------------------------------------------------------------

    def _follow_tables(self) -> None:
        """Take in what came; waits while the registry is away, the group membership kept."""
        if self._tables is None:
            return
        tables = self._tables
        try:
            tables.follow()
        except RetriableError as error:
            self._transaction.commit()  # an open transaction would time out meanwhile
            self._waiting.out(tables.follow, error, self)

    def _note_attempts(self, records: Records) -> None:
        """Before the first work on a partition: should it end this process, the next one knows.

        State of a task that has offsets on a part of it would be taken for that of before.
        """
        committed = self._transaction.committed()
        due = self._attempts.due(records.ends(), committed)
        if due:
            whole = {p: committed[p] for p in whole_tasks(self._co_partitioned, due)}
            self._transaction.commit_positions({**whole, **due}, self._group)
            self._attempts.begun(due)

    def _note(self, partition: Partition, next_offset: int) -> str:
        attempts, times = self._attempts.note(partition, next_offset), self._times.note(partition)
        return self._start.note({**attempts, **times})

    def _process(self, records: Records) -> Work:
        """Decode, run and encode; waits while the registry is away, the group membership kept."""
        began = self._clock.monotonic()
        try:
            work = self._work(records)
        except RetriableError as error:
            self._transaction.commit()  # an open transaction would time out meanwhile
            work = self._waiting.out(lambda: self._work(records), error, self)
        self._monitor.processed(records.topic, self._clock.monotonic() - began)
        return work

    def _work(self, records: Records) -> Work:
        guilty: Sequence[Quarantine] = ()
        if self._attempts.is_guarded(records.ends(), self._transaction.committed()):
            self._transaction.commit()  # a search may outlast an open transaction
            guilty = self._guard.guilty(records, self)
        began = self._clock.monotonic()
        work = self._tasks[records.topic].process(records, guilty)
        self._take.worked(work, self._clock.monotonic() - began)
        return work

    def _move_idle(self) -> None:
        """Partitions that bring nothing for long hold no window open."""
        for topic, standings in self._times.idle(self._source.caught_up()).items():
            held = [Partition(topic, task) for task in standings]
            self._stage(self._tasks[topic].move(standings, self._transaction.reached(held)))

    def _stage(self, work: Work) -> None:
        if work.ends:
            self._transaction.refuse_if_lost()  # before anything is kept for it
            self._tally.add(work)
            self._times.heard(work.ends if work.read else ())
            self._times.keep()
            changed = replace(work, changes={**work.changes, **self._stores.keep()})
            self._transaction.stage(changed, self._group)
        if work.halts:
            self._halt(work.halts)

    def _halt(self, halts: Sequence[Halt]) -> None:
        """What was read before is staged, and committed in any case."""
        if self._settings.on_incompatible == "stop":
            self._spare_starts(self._source.assignment())
            self._transaction.commit()
            raise halted_error(halts)
        self._halted.add(halts)

    def _pass_control_records(self) -> None:
        """When idle, commit the position behind control records once, so that the lag is zero."""
        committed = self._transaction.committed()
        passed = {
            p: end for p, end in self._source.caught_up().items() if end > committed.get(p, end)
        }
        if passed and self._transaction.is_empty:
            self._transaction.commit_positions(passed, self._group)

    def _is_due(self) -> bool:
        transaction = self._transaction
        if transaction.is_empty:
            return False
        if self._attempts.is_guarding(transaction.committed(), self._halted):
            return True
        return self._settings.policy.is_due(
            elapsed_s=self._elapsed_s(), records=transaction.records, size=transaction.size
        )

    def _elapsed_s(self) -> float:
        return self._clock.monotonic() - self._transaction.last_commit_s

    def _has_reached(self, targets: Positions | None) -> bool:
        if targets is None or not self._is_assigned or not self._transaction.is_empty:
            return False
        passed = {**self._transaction.committed()}
        for partition, end in self._source.caught_up().items():
            passed[partition] = max(end, passed.get(partition, 0))
        held = self._source.assignment()
        if any(passed[p] < targets.get(p, 0) and p not in self._halted for p in held):
            return False
        if not any(task.is_internal for task in self._tasks.values()):
            return True
        expected = {p: end for p, end in targets.items() if p not in self._halted}
        return self._start.is_all_read(expected, self._source)

    # -- failures ------------------------------------------------------------------------------

    def _turn_or_recover(self) -> None:
        try:
            self.turn()
            self._recovery.succeeded()
        except OutageError:
            raise
        except RebuildError as error:
            self._recover(error)
            self._restoring.rebuild(error.task)
        except (AbortableError, RecycleError, RetriableError, FencedError) as error:
            self._recover(error)
        self._monitor.alive()
        self._monitor.stands_at(self._transaction.committed(), self._source.publish_times_ms())

    def _recover(self, error: HeadwaterError) -> None:
        self._recovery.run(error, self)
        self._stores.aborted()
        self._times.aborted()
        self._halted.clear()  # every partition was sought back
        self._tally.discard()  # what was not committed comes again

    def _drain(self) -> None:
        """Commit what is staged, once; what cannot be committed comes again after a start."""
        try:
            self._spare_starts(self._source.assignment())
            self._transaction.commit()
        except DRAIN_FAILURES:
            self._tally.discard()

    def _abandon(self) -> None:
        """Abort what is staged, then drain."""
        try:
            self._transaction.abort()
        except DRAIN_FAILURES:
            return  # whoever takes the id next aborts it
        self._drain()

    def _spare_starts(self, partitions: Iterable[Partition]) -> None:
        """To be committed at an end that is none of a record's: it is no start in vain.

        Under the membership of now: since the last poll that went well it may be another.
        """
        unmoved = self._attempts.spared(partitions, self._transaction.committed())
        if unmoved:
            self._transaction.stage_positions(unmoved, self._source.group_token())

    # -- called inside poll --------------------------------------------------------------------

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        """Partitions are ours now: check where to begin.

        The producer takes its id over after the group took the member in: whoever had both before
        learns from the group that it was replaced, and does not take the id back.
        """
        require_whole_tasks(self._co_partitioned, partitions)
        self._stores.release(self._stores.partitions().difference(partitions))  # others wait for it
        if not self._is_initialised:
            self._log.initialise()
            self._is_initialised = True
        positions = self._start.check(partitions, self._source, self._attempts, self._times)
        read = {p: at for p, at in positions.items() if not self._tasks[p.topic].is_internal}
        if not self._is_restored and read:
            self._tail.restore(self._window, read)
            self._monitor.limits_used(self._window.used())
            self._is_restored = True
        self._transaction.assigned(positions)
        self._restoring.assigned(partitions)
        if self._attempts.is_guarding(positions, self._halted):
            self._take.begin_small()
        self.assignments += 1
        self._is_assigned = True
        self._monitor.assigned(len(partitions))
        return positions

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Partitions go: end the transaction while they are ours."""
        self._let_go(partitions)
        self._spare_starts(partitions)
        self._transaction.revoked(partitions)
        self._restoring.suspend(partitions)

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Partitions are gone already."""
        self._let_go(partitions)
        self._transaction.lost(partitions)
        self._restoring.let_go(partitions)

    def _let_go(self, partitions: Sequence[Partition]) -> None:
        self.assignments += 1
        self._is_assigned = False
        self._monitor.unassigned()
        self._halted.let_go(partitions)
        self._times.let_go(partitions)

    def _transaction_ended(self, ending: Ending, seconds: float) -> None:
        if ending == "committed":
            self._stores.committed(self._log.published())
            self._times.committed()
            self._tally.settle()
        else:
            self._stores.aborted()
            self._times.aborted()
            self._tally.discard()
        self._monitor.ended(ending, seconds)
