"""A flow compiled for the columns of its input: every mistake now, only bad rows later."""

from collections.abc import Callable, Mapping
from copy import copy
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Final

import polars as pl

from headwater.contract import ROW, is_reserved
from headwater.errors import DeclarationError, Problem
from headwater.flow.blame import run_without_guilty
from headwater.flow.events import EventStage
from headwater.flow.frames import ExpressionStage, FrameStage
from headwater.flow.join import HeldTable, JoinStage
from headwater.flow.nullable import nullable_columns
from headwater.flow.stage import Columns, Defaults, Processed, Stage, empty, refused
from headwater.model import Quarantine
from headwater.product import Filter, Flow, Join, Map, MapEvents, Select, Step, WithColumns

Tables = Mapping[str, HeldTable]
"""The broadcast tables of a product by topic."""

RowStep = Map | MapEvents | Filter | Select | WithColumns

NO_TABLES: Final[Tables] = {}


class Plan:
    """The stages of a flow, run in order on each batch.

    `columns` are those of the input contract; `output` those of the output contract, which type
    what a last `map_events` returns, and `defaults` its defaults, for the fields left out of that.
    `tables` are those that the flow may join; behind a join of another nothing is checked.
    Raises DeclarationError with every mistake that shows without data.
    """

    def __init__(
        self,
        flow: Flow,
        columns: Columns,
        output: Columns | None = None,
        defaults: Defaults | None = None,
        *,
        tables: Tables = NO_TABLES,
    ) -> None:
        self.flow: Final = flow
        self.stages: list[Stage] = []
        self._output: Final = output
        self.columns: Columns | None = columns
        """The columns that come out; None when an author's `map` needs rows to tell."""
        problems: list[Problem] = []
        for place, step in enumerate(flow.steps, start=1):
            if isinstance(step, Join) and step.table.topic not in tables:
                self.columns = None  # its contract has a mistake, which is told
                continue
            try:
                is_last = place == len(flow.steps)
                stage = (
                    JoinStage(step, tables[step.table.topic])
                    if isinstance(step, Join)
                    else _compile(step, output if is_last else None, defaults or {})
                )
                self.stages.append(stage)
                if self.columns is not None:
                    self.columns = _unreserved(step, stage.columns(self.columns))
            except DeclarationError as error:
                problems.extend(error.problems)
                # Only a filter leaves the columns known, so that later steps can still be checked.
                self.columns = self.columns if isinstance(step, Filter) else None
        if problems:
            raise DeclarationError(problems)
        self.nullable: Final = nullable_columns(self.stages)
        """The columns that come out null where a left join finds nothing, with its name."""

    def wrapped(self, wrap: Callable[[Stage], Stage]) -> "Plan":
        """The same plan with something around each stage."""
        plan = copy(self)
        plan.stages = [wrap(stage) for stage in self.stages]
        return plan

    def process(self, frame: pl.DataFrame) -> Processed:
        """Run the steps on a frame of the input columns and `_row`.

        A row for which a step raises is quarantined, with everything made of it so far.
        Raises DeclarationError when a step fails whatever the rows are.
        """
        quarantined: list[Quarantine] = []
        for stage in self.stages:
            if frame.is_empty():
                break
            done = run_without_guilty(stage, frame)
            frame = done.frame
            quarantined.extend(done.quarantined)
        if frame.is_empty():
            frame = self._nothing(frame)
        if quarantined:
            quarantined = list({item.row: item for item in reversed(quarantined)}.values())
            quarantined.sort(key=lambda item: item.row)
            guilty = pl.Series([item.row for item in quarantined], dtype=pl.UInt32)
            frame = frame.filter(~pl.col(ROW).is_in(guilty.implode()))
        return Processed(frame, quarantined)

    def _nothing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """No rows, with the columns that rows would have had."""
        columns = self.columns if self.columns is not None else self._output
        return frame.clear() if columns is None else empty(columns)


def _compile(step: RowStep, output: Columns | None, defaults: Defaults) -> Stage:
    if not isinstance(step, (Map, MapEvents)):
        return ExpressionStage(step)
    if not _is_function(step.function):
        raise refused(step, "INVALID_STEP", "takes a function; give it one that can be called")
    if _is_async(step.function):
        text = "takes a plain function, not one of `async def`; nothing would await it"
        raise refused(step, "INVALID_STEP", text)
    if isinstance(step, Map):
        return FrameStage(step)
    try:
        return EventStage(step, output, defaults if output is not None else {})
    except (NameError, TypeError, ValueError) as error:
        # Annotations that cannot be resolved, or a callable without a signature.
        raise refused(step, "INVALID_STEP", f"{type(error).__name__}: {error}") from error


def _unreserved(step: Step, columns: Columns | None) -> Columns | None:
    """The columns that come out of a step. Raises DeclarationError when one is Headwater's own."""
    for name in columns or ():
        if is_reserved(name):
            text = f"the name {name} is Headwater's own column; choose another"
            raise refused(step, "RESERVED_NAME", text)
    return columns


def _is_function(value: object) -> bool:
    return callable(value)


def _is_async(function: object) -> bool:
    """Whether calling it gives a coroutine or an asynchronous generator."""
    called = (function, getattr(function, "__call__", None))  # noqa: B004 its code, not whether
    return any(iscoroutinefunction(each) or isasyncgenfunction(each) for each in called)
