"""Windows by an independent computation, one event at a time, and a product to compare it with."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import polars as pl
from hypothesis import strategies as st

from headwater import DataProduct, Flow, aggregates
from headwater.adapters.memory import MemoryStores
from headwater.flow import ROW, Batch, Columns, Ground, Plan
from headwater.model import Quarantine
from headwater.ports import LocalStores
from headwater.product.flow import Windowed
from headwater.product.steps import Emission
from headwater.product.windows import Windows
from headwater.state import Changes, KeyedStore, StoreSettings

COLUMNS: Final[Columns] = {"id": pl.String(), "kind": pl.Int64(), "x": pl.Float64()}
TASKS: Final = 2


class Event(NamedTuple):
    """A record of a task: its group, a number, and its event time."""

    task: int
    id: str
    kind: int | None
    x: float | None
    time: int | None


Result = tuple[Any, ...]
"""Group, bounds in milliseconds and results, as a row comes out."""


class Running:
    """A plan with a store, given one batch after another; it knows the watermarks."""

    def __init__(self, flow: Flow, stores: LocalStores | None = None) -> None:
        plan = Plan(flow, COLUMNS, ground=Ground(("id",), event_time="at"))
        (stage,) = plan.stateful
        self.local = stores or MemoryStores()
        self.stage = stage
        self.store = KeyedStore(stage.rows, self.local, StoreSettings("log", flush_every_s=0.0))
        self.log: list[tuple[int, bytes, bytes | None]] = []
        for task in range(TASKS):
            self.store.assign(task)
        self.plan = plan.with_stores({stage.step.name: self.store})
        self.reached: dict[int, int] = {}
        self.offset = 0
        self.late = 0

    def run(self, events: Sequence[Event], idle: Mapping[int, int] | None = None) -> pl.DataFrame:
        """What comes out of a batch; `idle` moves watermarks behind it. It is kept."""
        done, reached = self.tried(events, idle)
        self.keep(len(events), reached)
        return done

    def tried(
        self, events: Sequence[Event], idle: Mapping[int, int] | None = None
    ) -> tuple[pl.DataFrame, dict[int, int]]:
        """What comes out of a batch, and the watermarks after it; nothing is kept yet."""
        reached = dict(self.reached)
        marks: list[int | None] = []
        for event in events:
            if event.time is not None:
                reached[event.task] = max(event.time, reached.get(event.task, event.time))
            marks.append(reached.get(event.task))
        for task, time in (idle or {}).items():
            reached[task] = max(time, reached.get(task, time))
        moved = {task: time for task, time in reached.items() if time != self.reached.get(task)}
        batch = Batch(
            pl.Series([event.task for event in events], dtype=pl.Int64),
            pl.Series(range(self.offset, self.offset + len(events)), dtype=pl.Int64),
            pl.Series([event.time for event in events], dtype=pl.Int64),
            pl.Series(marks, dtype=pl.Int64),
            moved,
        )
        rows = [(row, event.id, event.kind, event.x) for row, event in enumerate(events)]
        schema = {ROW: pl.UInt32(), **COLUMNS}
        done = self.plan.process(pl.DataFrame(rows, schema=schema, orient="row"), batch)
        self.quarantined: list[Quarantine] = done.quarantined
        self.counted = sum(done.late.values())
        return done.frame, reached

    def keep(self, records: int, reached: dict[int, int]) -> None:
        """The batch is part of the transaction."""
        self.log += entries(self.store.keep())
        self.offset += records
        self.reached = reached
        self.late += self.counted

    def commit(self) -> None:
        """The transaction is committed and flushed."""
        self.store.committed(dict.fromkeys(range(TASKS), 1))
        self.store.flush()

    def restart(self) -> None:
        """Let go of everything in memory; what is committed is found again."""
        for task in range(TASKS):
            self.store.release(task)
            self.store.assign(task)


def entries(changes: Changes) -> list[tuple[int, bytes, bytes | None]]:
    """What a batch changed, entry by entry."""
    return list(zip(changes.partitions, changes.keys, changes.values, strict=True))


@dataclass
class Oracle:
    """What windows hold and tell, record by record."""

    size: int
    every: int
    lateness: int = 0
    on_change: bool = False
    late: int = 0
    told: list[Result] = field(default_factory=list)
    reached: dict[int, int] = field(default_factory=dict)
    open: dict[tuple[int, str, int | None, int], list[float | None]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def run(self, event: Event) -> None:
        """Take in one record, then close what its watermark closes."""
        time, task = event.time, event.task
        if time is None:
            return
        self.reached[task] = max(time, self.reached.get(task, time))
        mark = self.reached[task]
        starts = [
            start
            for start in range(time - self.size, time + 1)
            if start % self.every == 0 and start <= time < start + self.size
        ]
        open_ = [start for start in starts if start + self.size + self.lateness > mark]
        self.late += not open_
        for start in open_:
            held = self.open[task, event.id, event.kind, start]
            held.append(event.x)
            if self.on_change:
                self.told.append(self.result(event.id, event.kind, start, held))
        self.close(task)

    def close(self, task: int) -> None:
        """Tell what the watermark of a task has passed."""
        over = [
            each
            for each in self.open
            if each[0] == task and each[3] + self.size + self.lateness <= self.reached[task]
        ]
        over.sort(key=lambda each: (each[3], each[2] is not None, each[2] or 0, each[1]))
        for each in over:
            held = self.open.pop(each)
            if not self.on_change:
                self.told.append(self.result(*each[1:], held))

    def result(
        self, id_: str, kind: int | None, start: int, held: Sequence[float | None]
    ) -> Result:
        """Count, sum, minimum."""
        values = [value for value in held if value is not None]
        total = sum(values) if values else None
        low = min(values) if values else None
        return (kind, id_, start, start + self.size, len(held), total, low)


def results(frame: pl.DataFrame) -> list[Result]:
    """The rows that came out, bounds in milliseconds."""
    plain = frame.drop(ROW).with_columns(pl.col("window_start", "window_end").cast(pl.Int64))
    return plain.rows()


EVENTS = st.lists(
    st.builds(
        Event,
        st.integers(0, TASKS - 1),
        st.sampled_from("ab"),
        st.sampled_from([1, None]),
        st.sampled_from([None, 1.0, 2.5, -4.0]),
        st.integers(-12, 40),
    ),
    max_size=40,
)
CUTS = st.lists(st.integers(0, 40), max_size=4)
LATENESS = st.sampled_from(["0s", "1ms", "5ms", "9ms"])


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def windowed(windows: Windows, lateness: str = "0s", emit: Emission = "on_close") -> Flow:
    """Count, sum and minimum by window."""
    grouped = stream().group_by(["kind", "id"])
    return counted(grouped.window(windows, allowed_lateness=lateness, emit=emit))


def counted(made: Windowed) -> Flow:
    """Count, sum and minimum."""
    return made.agg(n=aggregates.count(), total=aggregates.sum("x"), low=aggregates.min("x"))


def cut(events: Sequence[Event], ends: Sequence[int]) -> list[Sequence[Event]]:
    """The events in batches that end there."""
    cuts = sorted({0, len(events), *(end for end in ends if end < len(events))})
    return [events[start:end] for start, end in pairwise(cuts)]


def of_task(events: Sequence[Event], task: int = 0) -> list[Event]:
    """The events of one task, as those of task 0."""
    return [event._replace(task=0) for event in events if event.task == task]
