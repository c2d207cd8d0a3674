"""Two streams joined by an independent computation, one event at a time, and the plans for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from headwater.adapters.memory import MemoryStores
from headwater.contract import parse_contract
from headwater.engine.watermarks import Standing, Watermarks, least
from headwater.flow import ROW, Batch, Columns, Ground, Section, sections_of
from headwater.product import Flow, Origin, Stream
from headwater.state import KeyedStore, StoreSettings

TASKS: Final = 2
NOWHERE: Final = Origin("product.py", 1)
COLUMNS: Final[Columns] = {"id": pl.String(), "x": pl.Int64()}
FIELDS: Final = [
    {"name": "id", "type": "string", "doc": "."},
    {"name": "y", "type": "long", "doc": "."},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "."},
]
SCHEMA: Final = {"type": "record", "name": "B", "doc": ".", "fields": FIELDS}
RIGHT: Final = parse_contract(
    json.dumps({**SCHEMA, "key": "id", "eventTime": "at"}),
    topic="shop.b",
    version=1,
    path=Path("v1.avsc"),
)


def flows() -> tuple[Flow, Flow]:
    """The left and the right stream."""
    return Flow(Stream("shop.a", 1, "earliest", NOWHERE)), Flow(
        Stream("shop.b", 1, "earliest", NOWHERE)
    )


def sections(flow: Flow) -> list[Section]:
    """Those of a flow that begins with the left stream."""
    ground = Ground(("id",), event_time="at", inputs={"shop.b": RIGHT})
    return sections_of(flow, "shop.out", COLUMNS, ground=ground)


class Event(NamedTuple):
    """A record of one side of a task: its key, a number, and its event time."""

    is_left: bool
    task: int
    id: str | None
    value: int
    time: int | None


Result = tuple[str | None, int, int | None]
"""Key and numbers of both sides, as a row comes out."""


class Running:
    """Both sides with their store and watermarks, given one batch after another."""

    def __init__(self, flow: Flow, stores: MemoryStores | None = None) -> None:
        left, right = sections(flow)
        (stage,) = left.plan.stateful
        self.local = stores or MemoryStores()
        self.store = KeyedStore(stage.rows, self.local, StoreSettings("log", flush_every_s=0.0))
        for task in range(TASKS):
            self.store.assign(task)
        held = {stage.step.name: self.store}
        self.plans = {True: left.plan.with_stores(held), False: right.plan.with_stores(held)}
        self.marks = {True: Watermarks(), False: Watermarks()}
        self.offsets = {True: 0, False: 0}
        self.late = 0
        self.quarantined: list[tuple[int, str]] = []

    def run(self, events: Sequence[Event], *, is_kept: bool = True) -> list[tuple[int, Result]]:
        """What comes out of a batch of one side, by task; it is kept, or as if it never was."""
        side = events[0].is_left
        first = self.offsets[side]
        offsets = pl.Series(range(first, first + len(events)), dtype=pl.Int64)
        tasks = pl.Series([each.task for each in events], dtype=pl.Int64)
        times = pl.Series([each.time for each in events], dtype=pl.Int64)
        marks, reached = self.marks[side].observe(tasks, times)
        rows = [(row, each.id, each.value) for row, each in enumerate(events)]
        value = "x" if side else "y"
        schema = {ROW: pl.UInt32(), "id": pl.String(), value: pl.Int64()}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        if not side:
            frame = frame.with_columns(at=times.cast(pl.Datetime("ms", "UTC")))
        return self._process(side, frame, Batch(tasks, offsets, times, marks, reached), is_kept)

    def move(self, is_left: bool, standings: Mapping[int, int]) -> list[tuple[int, Result]]:
        """What comes out when the watermarks of a side move without records."""
        moved = {task: Standing(mark) for task, mark in standings.items()}
        reached = self.marks[is_left].move(moved)
        none = pl.Series(dtype=pl.Int64)
        columns = COLUMNS if is_left else RIGHT.columns
        frame = pl.DataFrame(schema={ROW: pl.UInt32(), **columns})
        return self._process(is_left, frame, Batch(none, none, none, none, reached), True)

    def _process(
        self, side: bool, frame: pl.DataFrame, batch: Batch, is_kept: bool
    ) -> list[tuple[int, Result]]:
        done = self.plans[side].process(frame, least(batch, self.marks[not side]))
        if not is_kept:
            self.store.drop()
            self.marks[side].drop()
            return []
        self.store.keep()
        self.marks[side].keep()
        self.offsets[side] += len(batch.tasks)
        self.late += sum(done.late.values())
        self.quarantined += [(each.row, each.code) for each in done.quarantined]
        return [(int((row[0] or "0")[0]), row) for row in done.frame.drop(ROW).rows()]

    def commit(self) -> None:
        """The transaction is committed and flushed."""
        self.store.committed(dict.fromkeys(range(TASKS), 1))
        self.store.flush()
        for marks in self.marks.values():
            marks.committed()

    def restart(self) -> None:
        """Let go of everything in memory; what is committed is found again."""
        for task in range(TASKS):
            self.store.release(task)
            self.store.assign(task)


def cut(events: Sequence[Event], ends: frozenset[int]) -> list[list[Event]]:
    """Batches: a new one at each change of side, and behind these places."""
    pieces: list[list[Event]] = []
    for _, run in groupby(enumerate(events), lambda each: each[1].is_left):
        pieces.append([])
        for place, event in run:
            pieces[-1].append(event)
            if place in ends:
                pieces.append([])
    return [piece for piece in pieces if piece]


@dataclass
class Held:
    """A row that may still find a partner."""

    event: Event
    place: int
    is_paired: bool = False


@dataclass
class Oracle:
    """What a join tells, record by record; `told` by task."""

    within: int
    lateness: int = 0
    how: str = "left"
    late: int = 0
    told: dict[int, list[Result]] = field(
        default_factory=lambda: {task: [] for task in range(TASKS)}
    )
    marks: dict[tuple[bool, int], int] = field(default_factory=dict)
    held: dict[int, list[Held]] = field(default_factory=lambda: {task: [] for task in range(TASKS)})
    places: int = 0

    def run(self, event: Event) -> None:
        """Take in one record, then end what its watermark ends."""
        self.places += 1
        if event.time is None:
            return
        mine = event.is_left, event.task
        self.marks[mine] = max(event.time, self.marks.get(mine, event.time))
        mark = self.mark(event.task)
        if mark is not None and event.time + self.within + self.lateness < mark:
            self.late += 1
        elif event.id is not None:
            self._pair(event, mark)
        elif event.is_left and self.how == "left":
            self.told[event.task].append((None, event.value, None))
        self.end(event.task)

    def mark(self, task: int) -> int | None:
        """The lesser of both sides'."""
        both = [self.marks.get((side, task)) for side in (True, False)]
        known = [each for each in both if each is not None]
        return min(known) if len(known) == 2 else None

    def _pair(self, event: Event, mark: int | None) -> None:
        new = Held(event, self.places)
        found = [
            each
            for each in self.held[event.task]
            if each.event.is_left != event.is_left
            and each.event.id == event.id
            and abs(_time(each) - (event.time or 0)) <= self.within
            and not self._is_over(each, mark)
        ]
        for each in sorted(found, key=lambda each: (_time(each), each.place)):
            left, right = (new, each) if event.is_left else (each, new)
            left.is_paired = True
            self.told[event.task].append((event.id, left.event.value, right.event.value))
        self.held[event.task].append(new)

    def _is_over(self, held: Held, mark: int | None) -> bool:
        return mark is not None and _time(held) + self.within + self.lateness < mark

    def end(self, task: int) -> None:
        """Tell and forget what the watermark of a task has passed."""
        mark = self.mark(task)
        over = [each for each in self.held[task] if self._is_over(each, mark)]
        self.held[task] = [each for each in self.held[task] if not self._is_over(each, mark)]
        for each in sorted(over, key=lambda each: (_time(each), each.place)):
            if each.event.is_left and not each.is_paired and self.how == "left":
                self.told[task].append((each.event.id, each.event.value, None))


def _time(held: Held) -> int:
    return held.event.time or 0


def by_task(told: Sequence[tuple[int, Result]]) -> dict[int, list[Result]]:
    """What came out, task by task."""
    return {task: [row for mine, row in told if mine == task] for task in range(TASKS)}
