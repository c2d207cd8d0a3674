"""A flow compiled for the columns of its input: every mistake now, only bad rows later."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Final

import polars as pl

from headwater.contract import ROW, is_reserved
from headwater.errors import DeclarationError, Problem
from headwater.flow.blame import run_without_guilty
from headwater.flow.events import EventStage
from headwater.flow.frames import ExpressionStage, FrameStage
from headwater.flow.join import HeldTable, JoinStage
from headwater.flow.keeping import stateful_stage
from headwater.flow.nullable import nullable_columns
from headwater.flow.sql import SqlStage
from headwater.flow.stage import (
    Around,
    Columns,
    Defaults,
    Processed,
    Stage,
    Surrounded,
    empty,
    refused,
)
from headwater.flow.stateful import NO_BATCH, Batch, StatefulStage, Stores, check_key
from headwater.model import Quarantine
from headwater.product import (
    Filter,
    Flow,
    Join,
    Map,
    MapEvents,
    Rekey,
    RowLocalStep,
    Sql,
    StatefulStep,
    Step,
    WindowedAggregate,
)

Tables = Mapping[str, HeldTable]
"""The broadcast tables of a product by topic."""

NO_TABLES: Final[Tables] = {}


@dataclass(frozen=True, slots=True)
class Ground:
    """What a flow stands on beside the columns of its input.

    `key` are the columns of the key that its records come under; `tables` are those it may join:
    behind a join of another nothing is checked.
    """

    key: tuple[str, ...] = ()
    tables: Tables = field(default_factory=dict)


NO_GROUND: Final = Ground()


class Plan:
    """The stages of a flow, run in order on each batch.

    `columns` are those of the input contract; `output` those of the output contract, which type
    what a last `map_events` returns, and `defaults` its defaults, for the fields left out of that.
    Raises DeclarationError with every mistake that shows without data.
    """

    def __init__(
        self,
        flow: Flow,
        columns: Columns,
        output: Columns | None = None,
        defaults: Defaults | None = None,
        ground: Ground = NO_GROUND,
    ) -> None:
        self.flow: Final = flow
        self.stages: list[Stage | StatefulStage] = []
        self._stores: Stores = {}
        self._output: Final = output
        self.columns: Columns | None = columns
        """The columns that come out; None when an author's `map` needs rows to tell."""
        problems: list[Problem] = []
        tables = ground.tables
        for place, step in enumerate(flow.steps, start=1):
            if isinstance(step, Join) and step.table.topic not in tables:
                self.columns = None  # its contract has a mistake, which is told
                continue
            try:
                is_last = place == len(flow.steps)
                stage: Stage | StatefulStage
                if isinstance(step, StatefulStep):
                    stage = _with_state(step, flow, self.columns, ground.key)
                elif isinstance(step, Join):
                    stage = JoinStage(step, tables[step.table.topic])
                else:
                    stage = _row_local(step, output if is_last else None, defaults or {})
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

    def surrounded(self, around: Around) -> "Plan":
        """The same plan with something around each run of a step that may be an author's code."""
        plan = copy(self)
        plan.stages = [
            stage if isinstance(stage, StatefulStage) else Surrounded(stage, around)
            for stage in self.stages
        ]
        return plan

    @property
    def stateful(self) -> Sequence[StatefulStage]:
        """The stages that have state, each with a store of its own."""
        return [stage for stage in self.stages if isinstance(stage, StatefulStage)]

    @property
    def has_stores(self) -> bool:
        """Whether every stateful stage has its store."""
        return all(stage.step.name in self._stores for stage in self.stateful)

    def with_stores(self, stores: Stores) -> "Plan":
        """The same plan with the stores of its stateful steps, by their names."""
        plan = copy(self)
        plan._stores = stores  # noqa: SLF001 - its own copy
        return plan

    def process(self, frame: pl.DataFrame, batch: Batch = NO_BATCH) -> Processed:
        """Run the steps on a frame of the input columns and `_row`.

        A row for which a step raises is quarantined, with everything made of it so far.
        Raises DeclarationError when a step fails whatever the rows are.
        """
        quarantined: list[Quarantine] = []
        late: dict[str, int] = {}
        given = frame
        for stage in self.stages:
            if isinstance(stage, StatefulStage):
                done = self._stateful(stage, given, frame, batch)
            elif frame.is_empty():
                continue
            else:
                done = run_without_guilty(stage, frame)
            frame = done.frame
            quarantined.extend(done.quarantined)
            late |= done.late
        if frame.is_empty():
            frame = self._nothing(frame)
        if quarantined:
            quarantined = list({item.row: item for item in reversed(quarantined)}.values())
            quarantined.sort(key=lambda item: item.row)
            guilty = pl.Series([item.row for item in quarantined], dtype=pl.UInt32)
            frame = frame.filter(~pl.col(ROW).is_in(guilty.implode()))
        return Processed(frame, quarantined, late)

    def _stateful(
        self, stage: StatefulStage, given: pl.DataFrame, frame: pl.DataFrame, batch: Batch
    ) -> Processed:
        """Without rows too: the watermark may have moved."""
        if frame.is_empty():
            frame = empty(stage.given)
        else:
            check_key(stage, given, frame)
        return stage.run(frame, batch, self._stores[stage.step.name])

    def _nothing(self, frame: pl.DataFrame) -> pl.DataFrame:
        """No rows, with the columns that rows would have had."""
        columns = self.columns if self.columns is not None else self._output
        return frame.clear() if columns is None else empty(columns)


def _with_state(
    step: StatefulStep, flow: Flow, columns: Columns | None, stream_key: tuple[str, ...]
) -> StatefulStage:
    """The stage of a step with state.

    What a window tells is led back to no record: nobody knows which task a later state were of.
    """
    for before in flow.steps[: flow.steps.index(step)]:
        if isinstance(before, WindowedAggregate):
            text = (
                f"has state behind {before.name}, whose rows come when its windows close; publish "
                "those, and go on in a product that reads them"
            )
            raise refused(step, "BEHIND_WINDOW", text)
    return stateful_stage(step, columns, stream_key)


def _row_local(step: RowLocalStep | Rekey, output: Columns | None, defaults: Defaults) -> Stage:
    if isinstance(step, Sql):
        return SqlStage(step)
    if isinstance(step, Rekey):
        raise refused(step, "INVALID_STEP", "lies between two plans, never in one")
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
