"""A flow compiled for the columns of its input: every mistake now, only bad rows later."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Final, cast

import polars as pl

from headwater.contract import ROW, ROW_TYPE, Contract, is_reserved
from headwater.errors import DeclarationError, Problem
from headwater.flow.annotations import annotations_read, check_function
from headwater.flow.blame import run_without_guilty
from headwater.flow.events import EventStage
from headwater.flow.frames import ExpressionStage, FrameStage
from headwater.flow.join import AsofStage, HeldTable, JoinStage, OnBatch, TableStage
from headwater.flow.keeping import stateful_stage
from headwater.flow.late import LateStage
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
from headwater.flow.stream_join import Sides, StreamJoinStage
from headwater.model import Quarantine
from headwater.product import (
    Filter,
    Flow,
    Join,
    Late,
    Map,
    MapEvents,
    Process,
    Rekey,
    RowLocalStep,
    Sql,
    StatefulStep,
    Step,
    StreamJoin,
    TableJoin,
    WindowedAggregate,
)

Tables = Mapping[str, HeldTable]
"""The tables of a product by topic."""

NO_TABLES: Final[Tables] = {}

AnyStage = Stage | StatefulStage | TableStage | LateStage


@dataclass(frozen=True, slots=True)
class Ground:
    """What a flow stands on beside the columns of its input.

    `key` are the columns of the key that its records come under; `tables` are those it may join:
    behind a join of another nothing is checked. `event_time` is the field of its contract that
    tells when something happened. `inputs` are the contracts of the streams that it may be joined
    with, by name; `sides` is of a plan with such a join.
    """

    key: tuple[str, ...] = ()
    tables: Tables = field(default_factory=dict)
    event_time: str | None = None
    inputs: Mapping[str, Contract] = field(default_factory=dict)
    sides: Sides | None = None


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
        self.stages: list[AnyStage] = []
        self._stores: Stores = {}
        self._output: Final = output
        self.columns: Columns | None = columns
        """The columns that come out; None when an author's `map` needs rows to tell."""
        problems: list[Problem] = []
        tables = ground.tables
        for place, step in enumerate(flow.steps, start=1):
            if isinstance(step, TableJoin) and step.table.topic not in tables:
                self.columns = None  # its contract has a mistake, which is told
                continue
            try:
                target = output if place == len(flow.steps) else None
                stage = self._compiled(step, ground, target, defaults or {})
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

    def _compiled(
        self, step: Step, ground: Ground, output: Columns | None, defaults: Defaults
    ) -> AnyStage:
        before = self.flow.steps[: self.flow.steps.index(step)]
        if isinstance(step, StatefulStep):
            _refuse_behind(step, before, "has state")
            _refuse_behind_late(step, before)
            stage: StatefulStage
            if isinstance(step, StreamJoin):
                stage = StreamJoinStage(step, cast("Sides", ground.sides))  # sections give them
            else:
                stage = stateful_stage(step, self.columns, ground.key, output, defaults)
            if stage.needs_event_time:
                _refuse_timeless(step, ground)
            return stage
        if isinstance(step, Late):
            _refuse_behind(step, before, "looks at records")
            _refuse_behind_late(step, before)
            _refuse_timeless(step, ground)
            return LateStage(step, self.columns, ground.key)
        if isinstance(step, TableJoin):
            joining = _join(step, ground)
            if joining.asks:
                _refuse_behind(step, before, "looks up by record")
            return joining
        return _row_local(step, output, defaults)

    def surrounded(self, around: Around) -> "Plan":
        """The same plan with something around each run of a step that may be an author's code."""
        plan = copy(self)
        plan.stages = [_surrounded(stage, around) for stage in self.stages]
        return plan

    @property
    def stateful(self) -> Sequence[StatefulStage]:
        """The stages that have state, each with a store of its own."""
        return [stage for stage in self.stages if isinstance(stage, StatefulStage)]

    @property
    def asks_of_records(self) -> bool:
        """Whether a stage wants to know more of the records of a batch than is in its frame."""
        return self.needs_watermarks or any(
            isinstance(stage, TableStage) and stage.asks for stage in self.stages
        )

    @property
    def needs_watermarks(self) -> bool:
        """Whether what comes out depends on the records before: on state, or on their times."""
        return any(isinstance(stage, StatefulStage | LateStage) for stage in self.stages)

    def with_stores(self, stores: Stores) -> "Plan":
        """The same plan with the stores of its stateful steps, by their names."""
        plan = copy(self)
        plan._stores = stores  # noqa: SLF001 - its own copy
        return plan

    def taking_all_as_late(self) -> "Plan":
        """The same plan for who does not know the watermarks: each row goes on as a late one."""
        plan = copy(self)
        plan.stages = [stage for stage in self.stages if not isinstance(stage, LateStage)]
        return plan

    def process(self, frame: pl.DataFrame, batch: Batch = NO_BATCH) -> Processed:
        """Run the steps on a frame of the input columns and `_row`.

        A row for which a step raises is quarantined, with everything made of it so far.
        Raises DeclarationError when a step fails whatever the rows are.
        """
        refusals = _Refusals()
        late: dict[str, int] = {}
        duplicates: dict[str, int] = {}
        superseded: dict[str, int] = {}
        unordered: dict[str, int] = {}
        given, made = frame, None
        for stage in self.stages:
            if frame.is_empty() and not isinstance(stage, StatefulStage):
                continue
            done = self._ran(stage, given, frame, batch)
            refusals.add(stage, frame, done, made)
            frame = done.frame
            late |= done.late
            duplicates |= done.duplicates
            superseded |= done.superseded
            unordered |= done.unordered
            if isinstance(stage, StatefulStage) and stage.makes_rows:
                # rows of records and rows of none take turns: numbered anew for what follows
                made = frame[ROW]
                frame = frame.with_columns(pl.int_range(frame.height, dtype=ROW_TYPE).alias(ROW))
        if made is not None:
            frame = frame.with_columns(made.gather(frame[ROW]).alias(ROW))
        if frame.is_empty():
            frame = self._nothing(frame)
        if quarantined := refusals.of_each_row():
            guilty = pl.Series([item.row for item in quarantined], dtype=pl.UInt32)
            frame = frame.filter(~pl.col(ROW).is_in(guilty.implode()))
        dropped = late, duplicates, superseded, unordered
        return Processed(frame, quarantined, *dropped, frozenset(refusals.alone), refusals.by_state)

    def _ran(
        self, stage: AnyStage, given: pl.DataFrame, frame: pl.DataFrame, batch: Batch
    ) -> Processed:
        match stage:
            case StatefulStage():
                return self._stateful(stage, given, frame, batch)
            case LateStage():
                return stage.run(frame, batch)
            case TableStage():
                if stage.is_copartitioned:
                    check_key(stage, given, frame)
                return run_without_guilty(OnBatch(stage, batch), frame)
            case _:
                return run_without_guilty(stage, frame)

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


class _Refusals:
    """The rows that the stages of a plan refuse, and on what that depends."""

    def __init__(self) -> None:
        self._found: list[Quarantine] = []
        self._depends = False
        self.alone: set[int] = set()
        self.by_state: frozenset[int] = frozenset()

    def add(
        self, stage: AnyStage, given: pl.DataFrame, done: Processed, made: pl.Series | None
    ) -> None:
        """What a stage made of a frame; `made` are the rows of the batch where it has its own."""
        if done.quarantined and not self._depends:
            if isinstance(stage, StatefulStage):
                self.by_state = frozenset() if done.is_broken_off else _whole(done, given)
            elif not isinstance(stage, LateStage):
                self.alone.update(each.row for each in done.quarantined)
        self._depends = self._depends or isinstance(stage, StatefulStage | LateStage)
        self._found.extend(done.quarantined if made is None else _led_back(done, made))

    def of_each_row(self) -> list[Quarantine]:
        """One reason for each row, the first, by row."""
        found = {item.row: item for item in reversed(self._found)}
        return [found[row] for row in sorted(found)]


def _whole(done: Processed, given: pl.DataFrame) -> frozenset[int]:
    """Those refused that were one row: of several made of a record others may have gone on."""
    rows = [each.row for each in done.quarantined]
    counted = given.group_by(ROW).len().filter(pl.col(ROW).is_in(rows), pl.col("len") == 1)
    return frozenset(counted[ROW])


def _led_back(done: Processed, rows: pl.Series) -> list[Quarantine]:
    return [replace(each, row=rows[each.row]) for each in done.quarantined]


def _surrounded(stage: AnyStage, around: Around) -> AnyStage:
    match stage:
        case StatefulStage():
            return stage.surrounded(around)
        case TableStage() | LateStage():
            return stage
        case _:
            return Surrounded(stage, around)


def _refuse_behind(step: Step, before: Sequence[Step], does: str) -> None:
    """Rows of no record come of no task: nobody knows in which a later state of them would be."""
    for each in before:
        if isinstance(each, WindowedAggregate):
            text = (
                f"{does} behind {each.name}, whose rows come when its windows close; publish "
                "those, and go on in a product that reads them"
            )
            raise refused(step, "BEHIND_WINDOW", text)
        if isinstance(each, StreamJoin):
            text = (
                f"{does} behind {each.name}, whose rows are of two records, or come when nothing"
                " was found; publish those, and go on in a product that reads them"
            )
            raise refused(step, "BEHIND_JOIN", text)
        if isinstance(each, Process) and each.on_timer is not None:
            text = (
                f"{does} behind {each.name}, of which rows come when timers are due; publish "
                "those, and go on in a product that reads them"
            )
            raise refused(step, "BEHIND_TIMERS", text)


def _refuse_behind_late(step: Step, before: Sequence[Step]) -> None:
    """One step by event time in a flow, and what is late goes on row by row."""
    for each in before:
        if isinstance(each, Late):
            text = (
                f"comes behind {each.name}, which has late rows; publish those, and go on in a "
                "product that reads them"
            )
            raise refused(step, "BEHIND_WINDOW", text)


def _refuse_timeless(step: Step, ground: Ground) -> None:
    if ground.event_time is None:
        text = 'works on event time; name it in the contract of the stream, "eventTime"'
        raise refused(step, "NO_EVENT_TIME", text)


def _join(step: TableJoin, ground: Ground) -> TableStage:
    table = ground.tables[step.table.topic]
    if isinstance(step, Join):
        return JoinStage(step, table, ground.key)
    if ground.event_time is None:
        text = 'works on event time; name the field in the contract of the stream, "eventTime"'
        raise refused(step, "NO_EVENT_TIME", text)
    return AsofStage(step, table, ground.key)


def _row_local(step: RowLocalStep | Rekey, output: Columns | None, defaults: Defaults) -> Stage:
    if isinstance(step, Sql):
        return SqlStage(step)
    if isinstance(step, Rekey):
        raise refused(step, "INVALID_STEP", "lies between two plans, never in one")
    if not isinstance(step, (Map, MapEvents)):
        return ExpressionStage(step)
    check_function(step, step.function)
    if isinstance(step, Map):
        return FrameStage(step)
    with annotations_read(step):
        return EventStage(step, output, defaults if output is not None else {})


def _unreserved(step: Step, columns: Columns | None) -> Columns | None:
    """The columns that come out of a step. Raises DeclarationError when one is Headwater's own."""
    for name in columns or ():
        if is_reserved(name):
            text = f"the name {name} is Headwater's own column; choose another"
            raise refused(step, "RESERVED_NAME", text)
    return columns
