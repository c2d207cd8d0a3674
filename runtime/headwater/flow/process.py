"""`process`: the author's function, one event of a key at a time, with state and timers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from itertools import islice
from typing import Any, Final

import polars as pl
from pydantic import BaseModel

from headwater.contract import ROW, ROW_TYPE, StateRows
from headwater.errors import DeclarationError
from headwater.flow.annotations import model_returned
from headwater.flow.blame import is_out_of_memory
from headwater.flow.events import Event, ReturnedEvents, TakenEvents
from headwater.flow.process_calls import Calls, Functions, Held, TaskKey, Visit
from headwater.flow.stage import Around, Columns, Defaults, Processed, refused
from headwater.flow.state_objects import StateMisfitError, StateObjects
from headwater.flow.stateful import Batch, KeyedRows, NoRows, StatefulStage, check_columns
from headwater.flow.values import to_values
from headwater.product import Process, Step

TIMERS: Final = "_timers"
"""The times a key waits for (microseconds since 1970-01-01 UTC); null where there is no row."""
MICROSECONDS: Final = 1_000  # in a millisecond, which watermarks are in
NEVER: Final = -(2**63)  # microseconds: a watermark before every time


def _nothing(_: Step) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class _Given:
    """What a run is given: the records with their keys and events, and the timers that are due.

    `due` are the keys that may have timers which are due; `ends` the watermarks of the tasks behind
    the batch, in microseconds.
    """

    visits: Sequence[Visit]
    keys: Sequence[bytes]
    events: Sequence[Event]
    due: Sequence[TaskKey]
    ends: Mapping[int, int]
    no_row: int

    def places(self) -> list[TaskKey]:
        """The keys that are asked for, each once."""
        records = ((visit.task, key) for visit, key in zip(self.visits, self.keys, strict=True))
        return list(dict.fromkeys([*records, *self.due]))


class ProcessStage(StatefulStage):
    """Runs a function on each event with the state of its key, and another when a timer is due.

    Records and timers take turns as the log says: what a record's watermark reaches is due behind
    that record and before the next of its task, in the order of (time, key). So what comes out is
    the same however records fall into batches; of a timer it has the `_row` of no record.
    Raises DeclarationError when the step cannot run on these columns.
    """

    def __init__(
        self,
        step: Process,
        given: Columns,
        stream_key: tuple[str, ...],
        output: Columns | None,
        defaults: Defaults,
    ) -> None:
        self.step: Process = step
        self.given = given
        self.stream_key = stream_key
        self.needs_event_time = self.makes_rows = step.on_timer is not None
        check_columns(step, stream_key, given, stream_key)
        self._objects: Final = StateObjects(step)
        self._taken: Final = TakenEvents(step.function)
        try:
            self.keys = StateRows({name: given[name] for name in sorted(stream_key)})
            columns = {**self._objects.columns, TIMERS: pl.List(pl.Int64())}
            self.rows = StateRows(columns, keys=self.keys.columns, meaning={"step": "process"})
        except DeclarationError as error:
            raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error
        self._functions: Final = Functions(
            step,
            self._objects,
            ReturnedEvents(step, _model(step), output, defaults),
            self._taken.validate,
            _wants_context(step, step.function, "(event, state)"),
            step.on_timer is not None and _wants_context(step, step.on_timer, "(state, at)"),
        )
        self._around: Around = _nothing

    def columns(self, given: Columns) -> Columns:
        """The columns that come out. Raises DeclarationError when the model asks for others."""
        self._taken.refuse_missing(self.step, given)
        return self._functions.returned.columns

    def surrounded(self, around: Around) -> "ProcessStage":
        """The same stage with something around each run of the author's functions."""
        stage = copy(self)
        stage._around = around  # noqa: SLF001 - its own copy
        return stage

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The rows that the functions return; records they raise for are refused.

        A timer that raises refuses the row of no record, and ends the run.
        """
        names, values = self._taken.values(frame)
        ends = _ends(batch)
        given = _Given(
            _visits(batch, frame[ROW]),
            self.keys.encode(frame),
            [dict(zip(names, each, strict=True)) for each in values],
            self._due(store, ends),
            ends,
            batch.no_row,
        )
        try:
            calls = self._called(given, store)
        except StateMisfitError:
            names, values = self._taken.values(frame)  # anew: a function may change what it gets
            events = [dict(zip(names, each, strict=True)) for each in values]
            calls = self._called(replace(given, events=events), store, is_careful=True)
        returned = self._functions.returned.frame(calls.rows, calls.out)
        return Processed(returned, calls.quarantined, is_broken_off=calls.is_broken)

    def stand_ins(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What the function makes of rows whose key has no state yet."""
        rows = frame.with_columns(pl.int_range(frame.height, dtype=ROW_TYPE).alias(ROW))
        batch = Batch(pl.repeat(0, frame.height, dtype=pl.Int64, eager=True))
        return self.run(rows, batch, NoRows(self.rows)).frame

    def _called(self, given: _Given, store: KeyedRows, *, is_careful: bool = False) -> Calls:
        """All calls of a batch; what they leave is stored. Raises StateMisfitError."""
        held = self._loaded(store, given.places())
        calls = Calls(self._functions, held, given.ends, given.no_row, is_careful)
        for task, key in given.due:
            for at in held[task, key].timers:
                calls.wait(task, (at, key))
        try:
            with self._around(self.step):
                for visit, key, event in zip(given.visits, given.keys, given.events, strict=True):
                    calls.visit(visit, key, event)
                calls.finish()
        except BaseException as error:
            if not is_out_of_memory(error):
                raise
            calls.refuse(error)
            calls.is_broken = True
        self._save(store, calls)
        return calls

    def _due(self, store: KeyedRows, ends: Mapping[int, int]) -> list[TaskKey]:
        """The keys that may have timers which are due behind the batch."""
        if self.step.on_timer is None:
            return []
        return [
            (task, key)
            for task, end in ends.items()
            for key in store.due(task, end // MICROSECONDS, _due_times)["key"].to_list()
        ]

    def _loaded(self, store: KeyedRows, places: Sequence[TaskKey]) -> dict[TaskKey, Held]:
        """What is kept of these keys."""
        tasks, keys = _series(places)
        found = store.read(tasks, keys)
        is_held = found[TIMERS].is_not_null()
        stored = iter(self._objects.loaded(found.filter(is_held)))
        timers = _sets(found[TIMERS])
        parts = self.keys.decode(keys.to_list())
        rows = zip(*(to_values(part) for part in parts), strict=True)
        return {
            place: Held(
                next(stored) if known else self._objects.new(),
                times,
                min(times, default=None),
                dict(zip(parts.columns, row, strict=True)),
            )
            for place, known, times, row in zip(
                places, is_held.to_list(), timers, rows, strict=True
            )
        }

    def _save(self, store: KeyedRows, calls: Calls) -> None:
        """Store what the calls left, and when the keys are due next."""
        changed = [(place, held) for place, held in calls.held.items() if held.is_changed]
        kept = [(place, held) for place, held in changed if not held.is_forgotten]
        if kept:
            times = _lists([held.timers for _, held in kept])
            frame = self._objects.frame([held.state for _, held in kept]).with_columns(times)
            store.write(*_series([place for place, _ in kept]), frame)
        gone = [place for place, held in changed if held.is_forgotten]
        if gone:
            store.delete(*_series(gone))
        later = [(place, held) for place, held in kept if held.next_timer != held.due]
        if later:
            firsts = pl.Series([held.next_timer for _, held in later], dtype=pl.Int64)
            store.schedule(*_series([place for place, _ in later]), _milliseconds(firsts))


def _sets(lists: pl.Series) -> list[set[int]]:
    """The inverse; null is empty."""
    sets: list[set[int]] = [set() for _ in range(len(lists))]
    held = (lists.list.len() > 0).fill_null(value=False)
    known = lists.filter(held)
    times = iter(known.explode().to_list())  # a Series per value would cost ten times as much
    for row, many in zip(held.arg_true().to_list(), known.list.len().to_list(), strict=True):
        sets[row] = set(islice(times, many))
    return sets


def _lists(times: Sequence[set[int]]) -> pl.Series:
    """Sets as lists in order; a Python list per value would cost three times as much."""
    rows = pl.int_range(len(times), eager=True).alias(ROW).to_frame()
    known = {
        ROW: [row for row, each in enumerate(times) for _ in each],
        TIMERS: [time for each in times for time in sorted(each)],
    }
    schema = {ROW: pl.Int64(), TIMERS: pl.Int64()}
    lists = pl.DataFrame(known, schema=schema).group_by(ROW, maintain_order=True).agg(TIMERS)
    return rows.join(lists, on=ROW, how="left", maintain_order="left")[TIMERS].fill_null([])


def _due_times(_: pl.Series, rows: pl.DataFrame) -> pl.Series:
    return _milliseconds(rows[TIMERS].list.min())


def _milliseconds(times: pl.Series) -> pl.Series:
    """The first watermarks, which are in milliseconds, that have reached these microseconds."""
    return -(-times // MICROSECONDS)


def _series(places: Sequence[TaskKey]) -> tuple[pl.Series, pl.Series]:
    tasks = pl.Series([task for task, _ in places], dtype=pl.Int64)
    return tasks, pl.Series([key for _, key in places], dtype=pl.Binary)


def _watermarks(batch: Batch) -> pl.DataFrame:
    """Task and watermark of each record, in microseconds."""
    known = batch.watermarks * MICROSECONDS if len(batch.watermarks) else None
    return pl.DataFrame({"task": batch.tasks}).with_columns(mark=pl.lit(known, dtype=pl.Int64))


def _visits(batch: Batch, rows: pl.Series) -> list[Visit]:
    """The records; in front of each the watermark is that of the one before it in the batch."""
    marks = _watermarks(batch).with_columns(pl.col("mark").shift().over("task").fill_null(NEVER))
    marks = marks[rows]
    return list(map(Visit, rows.to_list(), marks["task"].to_list(), marks["mark"].to_list()))


def _ends(batch: Batch) -> dict[int, int]:
    """The watermark of each task behind the batch, in microseconds; the tasks ascend."""
    last = _watermarks(batch).group_by("task").agg(pl.col("mark").max().fill_null(NEVER))
    moved = {task: mark * MICROSECONDS for task, mark in batch.reached.items()}
    return dict(sorted({**dict(last.iter_rows()), **moved}.items()))


def _model(step: Process) -> type[BaseModel] | None:
    """The model of the events that come out, of a record or of a timer."""
    functions = [each for each in (step.function, step.on_timer) if each is not None]
    models = {model for each in functions if (model := model_returned(each)) is not None}
    if len(models) > 1:
        names = " and ".join(sorted(model.__name__ for model in models))
        raise refused(step, "INVALID_STEP", f"returns {names}; let both functions return one model")
    return models.pop() if models else None


def _wants_context(step: Process, function: Callable[..., Any], wanted: str) -> bool:
    """Whether a function takes the context behind the two that it must take."""
    parameters = signature(function).parameters.values()
    positional = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    needed = sum(p.kind in positional and p.default is Parameter.empty for p in parameters)
    if needed not in {2, 3}:
        name = getattr(function, "__name__", type(function).__name__)
        text = f"{name} takes {needed} arguments; let it take {wanted}, and a third for the context"
        raise refused(step, "INVALID_STEP", text)
    return needed > 2  # noqa: PLR2004 - the third
