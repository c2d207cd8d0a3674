"""A plan with a store in memory, given one batch after another as the engine does."""

from collections.abc import Mapping, Sequence

import polars as pl

from headwater import Flow
from headwater.adapters.memory import MemoryStores
from headwater.flow import ROW, Batch, Columns, Ground, Plan, Processed
from headwater.model import Quarantine
from headwater.state import KeyedStore, StoreSettings, TimeToLive

TASKS = 3


class World:
    """Batches and commits of one plan; its watermarks are the greatest times so far."""

    def __init__(
        self,
        flow: Flow,
        columns: Columns,
        key: tuple[str, ...] = ("id",),
        *,
        local: MemoryStores | None = None,
        output: Columns | None = None,
    ) -> None:
        plan = Plan(flow, columns, output, ground=Ground(key, event_time="at"))
        (self.stage,) = plan.stateful
        life = self.stage.time_to_live
        lives = None if life is None else TimeToLive(life.column, life.duration)
        self.local = local or MemoryStores()
        settings = StoreSettings("log", time_to_live=lives)
        self.store = KeyedStore(self.stage.rows, self.local, settings)
        for task in range(TASKS):
            self.store.assign(task)
            self.store.restore(task, (), (), offset=0)
            self.store.restored(task)
        self.plan = plan.with_stores({self.stage.step.name: self.store})
        self.columns = columns
        self.marks: dict[int, int] = {}

    def attempt(
        self,
        rows: Sequence[Sequence[object]],
        tasks: Sequence[int],
        refused: Sequence[int] = (),
        reached: Mapping[int, int] | None = None,
    ) -> Processed:
        """One run over rows of these columns; a column `at` is their event time, in ms."""
        frame = pl.DataFrame(list(rows), schema=dict(self.columns), orient="row").with_columns(
            pl.int_range(len(rows), dtype=pl.UInt32).alias(ROW)
        )
        times = [
            None if row in refused or at is None else round(at.timestamp() * 1000)
            for row, at in enumerate(frame["at"])
        ]
        marks = []
        self.next_marks = {**self.marks, **(reached or {})}
        for task, time in zip(tasks, times, strict=True):
            known = [mark for mark in (self.next_marks.get(task), time) if mark is not None]
            if known:
                self.next_marks[task] = max(known)
            marks.append(self.next_marks.get(task))
        self.store.drop()
        moved = {t: m for t, m in self.next_marks.items() if self.marks.get(t) != m}
        batch = Batch(
            pl.Series(tasks, dtype=pl.Int64),
            times=pl.Series(times, dtype=pl.Int64),
            watermarks=pl.Series(marks, dtype=pl.Int64),
            reached=moved,
        )
        return self.plan.process(frame.filter(~pl.col(ROW).is_in(list(refused))), batch)

    def batch(
        self,
        rows: Sequence[Sequence[object]],
        tasks: Sequence[int] | None = None,
        reached: Mapping[int, int] | None = None,
    ) -> tuple[pl.DataFrame, list[Quarantine]]:
        """The frame that comes out and what was refused: run again without that, then kept."""
        refused: list[Quarantine] = []
        held = tasks or [0] * len(rows)
        while True:
            done = self.attempt(rows, held, [each.row for each in refused], reached)
            late = [each for each in done.quarantined if each.row < len(rows)]
            refused += late or done.quarantined
            if not late:
                self.duplicates = sum(done.duplicates.values())
                break
        self.store.keep()
        self.marks = self.next_marks
        return done.frame, refused

    def commit(self) -> None:
        """The transaction is committed, and flushed."""
        self.store.committed({})
        self.store.flush()
