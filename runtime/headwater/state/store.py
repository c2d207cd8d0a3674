"""A keyed store of one step: rows by task and key, exactly as far as its changelog is committed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from headwater.clock import SYSTEM, Clock
from headwater.contract import StateRows
from headwater.errors import DeclarationError, Problem, RebuildError
from headwater.ports import CheckpointStorage, LocalStores, Mark, StoreSize
from headwater.ports.state import Values
from headwater.state.by_task import ByTask
from headwater.state.checkpoint import Checkpoint, CheckpointWriter
from headwater.state.due import DueIndex
from headwater.state.layers import TaskState
from headwater.state.opening import opened
from headwater.state.rows import expired, rows_of
from headwater.state.settings import Changes, StoreSettings, TimeToLive

DIRTY_SHARE: Final = 4  # a quarter of the cache at most waits for a flush, the rest is for reading
DIRTY_BYTES: Final = 16 << 20  # and no more than that: a flush of it takes a tenth of a second
SCANNED_ROWS: Final = 20_000  # decoded at once when an index is made: some 20 ms

DueTimes = Callable[[pl.Series, pl.DataFrame], pl.Series]
"""When rows are due, by keys and columns: Int64 milliseconds of event time; null is never."""


class KeyedStore:
    """The rows of one step. A key belongs to a task, the index of a partition.

    Life of a task: `assign`, perhaps `load`, `restore` up to the end of its changelog, `restored`,
    then data, then `release`.
    A batch: `read`, `write`, `delete`, with `savepoint` and `rollback` between its pieces, then
    `keep` or `drop`. A transaction: any number of batches, then `committed` or `aborted`. Between
    transactions: `flush` when `flush_is_due`.

    Series of one call are of equal length: `partitions` (integers), `keys` (Binary, none null).
    Whatever reads or writes local stores raises RebuildError, with the task, when one is damaged
    (`reset` it and restore), and RetriableError when the disk refuses (the same call may be
    repeated).
    """

    def __init__(
        self,
        rows: StateRows,
        stores: LocalStores,
        settings: StoreSettings,
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        self._rows = rows
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._tasks: dict[int, TaskState] = {}
        self._offsets: dict[int, int] = {}
        self._restoring_since_ms: dict[int, int] = {}
        self._checkpoints: dict[int, CheckpointWriter] = {}
        self._suspended: set[int] = set()
        self._dirty_since_s: float | None = None
        self._dirty_limit: Final = min(settings.cache_bytes // DIRTY_SHARE, DIRTY_BYTES)
        self._check(settings.time_to_live)

    # -- the life of a task ----------------------------------------------------------------------

    @property
    def changelog_id(self) -> str:
        """The broker's id of the changelog topic that the marks mean."""
        return self._settings.changelog_id

    @property
    def tasks(self) -> frozenset[int]:
        """The tasks assigned."""
        return frozenset(self._tasks)

    def assign(self, task: int) -> Mark | None:
        """Open a task. The mark is up to where its changelog is in it; None: from the beginning.

        A task that is open stays so: what is committed of it is flushed. What is stored is thrown
        away when it is damaged, or nothing vouches for it.
        Raises StateInUseError while another process holds the task, StartRefusedError as `restore`
        does, and what the class says.
        """
        if task in self._tasks:
            return self._resumed(task)
        found = opened(self._stores, task, self._rows, self._settings.changelog_id)
        if found is None:
            self.reset(task)
            return None
        local, mark = found
        self._hold(task, TaskState(local, is_empty=False), mark.written_ms)
        self._offsets[task] = mark.changelog_offset
        return mark

    def reset(self, task: int) -> None:
        """Throw away what is stored of a task, open or not, and begin with nothing."""
        self._abandon_checkpoint(task)
        if (state := self._tasks.pop(task, None)) is not None:
            state.local.close()
        self._offsets.pop(task, None)
        self._suspended.discard(task)
        self._stores.discard(task)
        self._hold(task, TaskState(self._stores.open(task), is_empty=True), self._clock.wall_ms())

    def restore(self, task: int, keys: Sequence[bytes], values: Values, *, offset: int) -> None:
        """Take over records of the changelog, in order; `offset` is the next one.

        Raises StartRefusedError for values of a later release (STATE_FORMAT) or of another
        declaration (STATE_COLUMNS).
        """
        self._rows.refuse_foreign(values)
        self._tasks[task].restore(keys, values, self._marked(task, offset))
        self._offsets[task] = offset  # not before: a disk that refuses leaves a gap else

    def restored(self, task: int) -> None:
        """The changelog of a task was read to its end.

        Until then its marks keep the time of what was found at the beginning: a deletion that is
        still to be read may be older than the mark, and gone when the mark is used.
        """
        self._restoring_since_ms.pop(task, None)
        self._suspended.discard(task)

    def load(self, task: int, checkpoint: Checkpoint) -> Iterator[int]:
        """Fill an empty task from a checkpoint, from whose mark the changelog goes on then.

        Yields the number of entries of each slice. Raises as `restore` does.
        """
        for values in checkpoint.load(self._tasks[task]):
            self._rows.refuse_foreign(values)
            yield len(values)
        self._offsets[task] = checkpoint.mark.changelog_offset
        self._restoring_since_ms[task] = checkpoint.mark.written_ms

    def checkpoint(
        self, task: int, storage: CheckpointStorage, prefix: str
    ) -> CheckpointWriter | None:
        """A writer of what is flushed of a task, to be advanced while it is open.

        `prefix` names the store. None: nothing was flushed yet. It is abandoned when the task goes.
        """
        local = self._tasks[task].local
        if (mark := local.mark()) is None:
            return None
        writer = CheckpointWriter(storage, prefix, task, local, mark)
        self._checkpoints[task] = writer
        return writer

    def suspend(self, task: int) -> None:
        """Forget what is not committed of a task, and keep it open: it may come back.

        Its changelog may go on without us. Until it was `restored` its marks keep the time of now,
        and a transaction whose end is learnt only then does not move them: it was forgotten here.
        """
        self._tasks[task].abort()
        self._restoring_since_ms.setdefault(task, self._clock.wall_ms())
        self._suspended.add(task)

    def release(self, task: int) -> None:
        """Flush what is committed of a task, forget the rest, and let go of it, come what may."""
        state = self._tasks[task]
        self._abandon_checkpoint(task)
        try:
            state.flush(self._mark(task))
        finally:
            del self._tasks[task]
            self._offsets.pop(task, None)
            self._restoring_since_ms.pop(task, None)
            self._suspended.discard(task)
            state.local.close()
            self._share()

    # -- a batch ---------------------------------------------------------------------------------

    def read(
        self, partitions: pl.Series, keys: pl.Series, *, now: pl.Series | None = None
    ) -> pl.DataFrame:
        """One row per key, in order, all null where there is none.

        `now` is the event time at each key, of the type of the store's time column: what has
        outlived its time to live then reads as absent. Without it such a row may be there or be
        purged already, and whoever reads makes the same of both.
        """
        order = ByTask(partitions)
        values: list[bytes | None] = []
        for task, _, part in order.parts(keys):
            values += self._tasks[task].get(part)
        frame = order.undone(self._decoded(order.of(partitions), values))
        life = self._settings.time_to_live
        if life is None or now is None:
            return frame
        return frame.select(pl.when(~expired(frame, life, now)).then(pl.all()))

    def write(self, partitions: pl.Series, keys: pl.Series, frame: pl.DataFrame) -> None:
        """Set the rows of keys; of a key that comes twice the last counts."""
        order = ByTask(partitions)
        values = self._rows.encode(order.of(frame))
        for task, places, part in order.parts(keys):
            self._tasks[task].put(part, values[places])

    def delete(self, partitions: pl.Series, keys: pl.Series) -> None:
        """Delete the rows of keys."""
        for task, _, part in ByTask(partitions).parts(keys):
            self._tasks[task].put(part, [None] * len(part))

    def schedule(self, partitions: pl.Series, keys: pl.Series, times: pl.Series) -> None:
        """Let keys be due at times, Int64 in milliseconds of event time; null is never.

        Called for rows that were written: an index that is made anew asks the rows for it.
        """
        for task in partitions.unique():
            due = self._tasks[task].due
            if due is not None:
                mine = partitions == task
                due.add(times.filter(mine), keys.filter(mine))

    def due(self, task: int, until: int, times: DueTimes) -> pl.DataFrame:
        """The keys of a task that are due up to and at a time: `time` and `key`, in this order.

        They are not due again, unless the batch is dropped or the transaction aborted. Some may
        have no row, or one that is due later by now. `times` is asked about all rows of a task
        once after it was assigned.
        """
        state = self._tasks[task]
        if state.due is None:
            state.due = DueIndex()
            for keys, values in state.scan(SCANNED_ROWS):
                if keys:
                    rows = self._decoded(pl.Series([task]), values)
                    held = pl.Series(keys, dtype=pl.Binary)
                    state.due.add(times(held, rows), held)
        return state.due.take(until)

    def purge(self, task: int, now: datetime, *, limit: int) -> int:
        """Delete rows of a task that have outlived their time to live; how many.

        Looks at `limit` rows, the next ones each time, so that the whole store is seen in turn.
        Nobody can tell, as long as no later read is at an earlier event time: they read as absent
        already.
        """
        life, state = self._settings.time_to_live, self._tasks[task]
        if life is None:
            return 0
        keys, values = state.next_slice(limit)
        frame = self._decoded(pl.Series([task]), values)
        over = expired(frame, life, pl.Series([now]).cast(self._rows.columns[life.column]))
        gone = [keys[place] for place in over.arg_true()]
        state.put(gone, [None] * len(gone))
        return len(gone)

    def savepoint(self) -> None:
        """What the batch does from here on can be rolled back to here."""
        for state in self._tasks.values():
            state.savepoint()

    def rollback(self) -> None:
        """The batch stands as it did at its last savepoint, or began."""
        for state in self._tasks.values():
            state.rollback()

    def keep(self) -> Changes:
        """The batch is part of the transaction; what it changed, by task."""
        changes = Changes([], [], [])
        for task, state in self._tasks.items():
            keys, values = state.keep()
            changes.partitions.extend([task] * len(keys))
            changes.keys.extend(keys)
            changes.values.extend(values)
        return changes

    def drop(self) -> None:
        """The batch never was."""
        for state in self._tasks.values():
            state.drop()

    # -- a transaction ---------------------------------------------------------------------------

    def committed(self, offsets: Mapping[int, int]) -> None:
        """The transaction is committed; `offsets` are the next ones of the changelog, by task.

        A task whose offset is not known keeps the one it had: a lower bound is right.
        """
        for state in self._tasks.values():
            state.commit()
        if self._dirty_since_s is None and any(state.is_dirty for state in self._tasks.values()):
            self._dirty_since_s = self._clock.monotonic()
        held = self._tasks.keys() - self._suspended
        self._offsets.update((task, end) for task, end in offsets.items() if task in held)

    def aborted(self) -> None:
        """The transaction never was, nor the batch."""
        for state in self._tasks.values():
            state.abort()

    def flush_is_due(self) -> bool:
        """Whether enough is dirty, or has been for long enough."""
        if self._dirty_since_s is None:
            return False
        dirty = sum(state.dirty_bytes for state in self._tasks.values())
        waited_s = self._clock.monotonic() - self._dirty_since_s
        return dirty >= self._dirty_limit or waited_s >= self._settings.flush_every_s

    def flush(self) -> None:
        """Write what is committed to the local stores, each with its mark."""
        for task, state in self._tasks.items():
            if state.is_dirty:
                state.flush(self._mark(task))
        self._dirty_since_s = None

    # -- seen from outside -----------------------------------------------------------------------

    def sizes(self) -> dict[int, StoreSize]:
        """How much the local store of each task holds."""
        return {task: state.local.size() for task, state in self._tasks.items()}

    def marks(self) -> dict[int, Mark | None]:
        """Up to where the changelog is in the local store of each task."""
        return {task: state.local.mark() for task, state in self._tasks.items()}

    def memory_bytes(self) -> int:
        """About how much memory the entries of all tasks take."""
        return sum(state.dirty_bytes + state.cache.bytes for state in self._tasks.values())

    # -- inside ----------------------------------------------------------------------------------

    def _resumed(self, task: int) -> Mark | None:
        """The mark of an open task, flushed; a restore that had hardly begun leaves none."""
        mark = self._mark(task)
        if mark is None:
            self.reset(task)
        elif self._tasks[task].is_dirty:
            self._tasks[task].flush(mark)
        return mark

    def _check(self, life: TimeToLive | None) -> None:
        if life is not None and not isinstance(self._rows.columns.get(life.column), pl.Datetime):
            message = f"the time to live asks for a column of event times: {life.column}"
            raise DeclarationError([Problem("STATE_COLUMN", message)])

    def _hold(self, task: int, state: TaskState, since_ms: int) -> None:
        self._tasks[task] = state
        self._restoring_since_ms[task] = since_ms
        self._share()

    def _abandon_checkpoint(self, task: int) -> None:
        if (writer := self._checkpoints.pop(task, None)) is not None and writer.is_open:
            writer.abandon()

    def _share(self) -> None:
        """Divide the cache between the tasks: keys are spread over partitions evenly enough."""
        room = self._settings.cache_bytes - self._dirty_limit
        for state in self._tasks.values():
            state.cache.limit(room // len(self._tasks))

    def _mark(self, task: int) -> Mark | None:
        offset = self._offsets.get(task)
        return None if offset is None else self._marked(task, offset)

    def _marked(self, task: int, offset: int) -> Mark:
        written_ms = self._restoring_since_ms.get(task, self._clock.wall_ms())
        return Mark(self._settings.changelog_id, offset, written_ms)

    def _decoded(self, partitions: pl.Series, values: Values) -> pl.DataFrame:
        """One row per value; of damage, the task it is in is found."""
        try:
            return rows_of(self._rows, values)
        except RebuildError:
            for task in partitions.unique():
                mine = [v for v, p in zip(values, partitions, strict=True) if p == task]
                try:
                    rows_of(self._rows, mine)
                except RebuildError as error:
                    raise RebuildError(str(error), task=task) from error
            raise
