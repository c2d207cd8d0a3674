"""A flow: an immutable plan of named steps. Nothing runs while it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from headwater.product.aggregates import Aggregate
from headwater.product.durations import duration_ms
from headwater.product.origin import Origin, caller
from headwater.product.process import ProcessFunction, TimerFunction
from headwater.product.windows import Windows

if TYPE_CHECKING:  # a declaration is stored, not run: the command line starts without polars
    import polars as pl
    from polars._typing import IntoExpr, IntoExprColumn

    FrameFunction = Callable[[pl.DataFrame], pl.DataFrame]

EventFunction = Callable[[Any], Any]
Subjects = Literal["topic", "record", "topic-record"]
"""How the registry's subjects of a topic are named: `<topic>-value`, `<type>`, `<topic>-<type>`."""
SchemaIdPlace = Literal["prefix", "header"]
"""Where a published record names its schema: id before the body (V0), or GUID in a header (V1)."""
Others = Literal["refuse", "skip"]
"""What becomes of records of a type that no contract takes."""
Emission = Literal["on_close", "on_change"]
"""When a window is told: once, when it closes, or with each row that changes it."""
LatePolicy = Literal["drop", "dead-letter"]
"""What becomes of a row all of whose windows have closed."""
JoinKind = Literal["left", "inner"]
"""What becomes of a row that finds nothing in a table: nulls beside it, or dropped."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One input log: topic, contract version, and where a first run begins.

    `start` is as declared: "earliest", "latest" or an ISO 8601 time with a zone (publish time).
    `event` names the contract of one type of event where the topic has several; each is a stream.
    `idle_after` is how long a partition may bring nothing before event time goes on without it.
    """

    topic: str
    contract: int
    start: str
    origin: Origin
    event: str | None = None
    subjects: Subjects = "topic"
    others: Others = "refuse"
    idle_after: str | None = None

    @property
    def contract_name(self) -> str:
        """The name its contract stands under in `schemas/`: the topic's, or the event type's."""
        return self.topic if self.event is None else self.event

    @property
    def idle_after_s(self) -> float | None:
        """The same in seconds; None where partitions are waited for, however long."""
        length_ms = duration_ms(self.idle_after)
        return None if length_ms is None else length_ms / 1000

    @property
    def start_ms(self) -> int | None:
        """The declared start time in milliseconds since the epoch; None for earliest and latest."""
        if self.start in {"earliest", "latest"}:
            return None
        return round(datetime.fromisoformat(self.start).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Table:
    """One compacted topic, of which every worker holds the newest row of each key.

    `source` tells the topic and the contract it is read with, from its beginning on.
    """

    source: Stream

    @property
    def topic(self) -> str:
        """The compacted topic."""
        return self.source.topic


@dataclass(
    frozen=True, slots=True, eq=False
)  # compared by identity: == of expressions is an expression
class Map:
    """Columns in, columns out: `function` takes and returns a frame."""

    name: str
    origin: Origin
    function: FrameFunction


@dataclass(frozen=True, slots=True, eq=False)
class MapEvents:
    """One event at a time: `function` takes a mapping or model and returns one, many or none."""

    name: str
    origin: Origin
    function: EventFunction


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """Keeps the rows for which every predicate is true."""

    name: str
    origin: Origin
    predicates: tuple[IntoExprColumn, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """Keeps and computes exactly these columns."""

    name: str
    origin: Origin
    columns: tuple[IntoExpr, ...]
    named: Mapping[str, IntoExpr]


@dataclass(frozen=True, slots=True, eq=False)
class WithColumns:
    """Adds or replaces these columns."""

    name: str
    origin: Origin
    columns: tuple[IntoExpr, ...]
    named: Mapping[str, IntoExpr]


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """Keeps the row of each key with the greatest `by` so far. It has state."""

    name: str
    origin: Origin
    key: tuple[str, ...]
    by: str


@dataclass(frozen=True, slots=True, eq=False)
class Dedupe:
    """Drops rows of which the key came already `within` so long of event time. It has state."""

    name: str
    origin: Origin
    key: tuple[str, ...]
    within: str


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """One event of a key at a time, with an object of the type `state` that is kept for the key.

    `on_timer` is called when the watermark reaches a time that `function` asked for.
    """

    name: str
    origin: Origin
    function: ProcessFunction
    state: type[Any]
    on_timer: TimerFunction | None


@dataclass(frozen=True, slots=True, eq=False)
class Sql:
    """Keeps rows and computes columns as the statement says."""

    name: str
    origin: Origin
    statement: str


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Adds columns of the table's row whose key equals the column `on`.

    `columns` maps names in the table to names in the result; None for all but the key.
    """

    name: str
    origin: Origin
    table: Table
    on: str
    columns: Mapping[str, str] | None
    how: JoinKind


@dataclass(frozen=True, slots=True, eq=False)
class RunningAggregate:
    """Turns each row into the aggregates of the rows of its group so far. It has state."""

    name: str
    origin: Origin
    key: tuple[str, ...]
    aggregates: Mapping[str, Aggregate]


@dataclass(frozen=True, slots=True, eq=False)
class WindowedAggregate:
    """Turns rows into the aggregates of windows of their groups. It has state.

    `allowed_lateness` is a duration as a text; "0s" is none.
    """

    name: str
    origin: Origin
    key: tuple[str, ...]
    aggregates: Mapping[str, Aggregate]
    windows: Windows
    allowed_lateness: str
    emit: Emission
    late: LatePolicy


RowLocalStep = Map | MapEvents | Filter | Select | WithColumns | Sql
"""Steps that look at one row at a time and at nothing else."""
AggregateStep = RunningAggregate | WindowedAggregate
"""Steps that turn the rows of a group into aggregates."""
StatefulStep = Latest | Dedupe | AggregateStep | Process
"""Steps that have state."""
Step = RowLocalStep | Join | StatefulStep


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Steps over one stream. Every method returns a new flow; a step is named `<kind>-<place>`."""

    stream: Stream
    steps: tuple[Step, ...] = ()

    def map(self, function: FrameFunction) -> Flow:
        """Run `function` on frames: the fast way. It must treat each row on its own.

        It gets the columns and `_row`; it may drop `_row` when it returns as many rows as it got.
        """
        return self._then(Map(self._name("map"), caller(), function))

    def map_events(self, function: EventFunction) -> Flow:
        """Run `function` on one event at a time, for logic that does not vectorise.

        Its parameter is a dict, or a pydantic model when annotated with one.
        It returns (or yields) mappings or models: one, many or none.
        """
        return self._then(MapEvents(self._name("map-events"), caller(), function))

    def filter(self, *predicates: IntoExprColumn) -> Flow:
        """Keep the rows for which every predicate is true; null counts as false."""
        return self._then(Filter(self._name("filter"), caller(), predicates))

    def select(self, *columns: IntoExpr, **named: IntoExpr) -> Flow:
        """Keep and compute exactly these columns, as in `polars.DataFrame.select`."""
        return self._then(Select(self._name("select"), caller(), columns, named))

    def with_columns(self, *columns: IntoExpr, **named: IntoExpr) -> Flow:
        """Add or replace columns, as in `polars.DataFrame.with_columns`."""
        return self._then(WithColumns(self._name("with-columns"), caller(), columns, named))

    def latest(self, key: str | Sequence[str], *, by: str) -> Flow:
        """Keep the row of each key with the greatest `by`; what comes later and is older goes.

        `key` names the columns of the stream's key, which no step before may change; `by` is a
        column of times or whole numbers. Of equal ones the later record counts; a null one never.
        Each row that is the latest of its key when it comes goes on, whatever came with it.
        """
        columns = (key,) if isinstance(key, str) else tuple(key)
        return self._then(Latest(self._name("latest"), caller(), columns, by))

    def dedupe(self, key: str | Sequence[str], *, within: str) -> Flow:
        """Drop each row less than `within` ("1h") from the latest of its key that went on.

        `key` names the columns that tell an event from another; those of the stream's key are among
        them, and no step before may change these. A row with a null in one of them goes on.
        Time is event time, and it does not matter which of two is earlier: the first to come goes
        on. What went on is known until the watermark is twice `within` behind it.
        """
        columns = (key,) if isinstance(key, str) else tuple(key)
        return self._then(Dedupe(self._name("dedupe"), caller(), columns, within))

    def process(
        self,
        function: ProcessFunction,
        *,
        state: type[Any],
        on_timer: TimerFunction | None = None,
    ) -> Flow:
        """Run `function(event, state)` on one event at a time, in the order of each key.

        `state` is a pydantic model or dataclass whose fields have defaults; each key of the stream
        has an object of it, which the function changes in place. Events are taken and returned as
        in `map_events`. With a third parameter a function gets a `ProcessContext`; its `set_timer`
        makes `on_timer(state, at)` be called when the watermark reaches that event time.
        """
        return self._then(Process(self._name("process"), caller(), function, state, on_timer))

    def group_by(self, key: str | Sequence[str]) -> Grouped:
        """Put rows that are equal in these columns together, to aggregate them.

        The columns of the stream's key must be among them; no step before may change those.
        """
        return Grouped(self, (key,) if isinstance(key, str) else tuple(key))

    def sql(self, statement: str) -> Flow:
        """Keep rows and compute columns: `SELECT ... FROM events [WHERE ...]`.

        `events` are the rows that flow here. The statement looks at one row at a time: what needs
        several, the clock or chance is refused by `headwater check`; docs/sql.md lists the rest.
        """
        return self._then(Sql(self._name("sql"), caller(), statement))

    def join(
        self,
        table: Table,
        *,
        on: str,
        columns: Mapping[str, str] | None = None,
        how: JoinKind = "left",
    ) -> Flow:
        """Add columns of the row of a broadcast table whose key equals the column `on`.

        `columns` selects and renames them, as {"year": "built"}; by default all but the key come.
        A row that finds nothing is kept with nulls in them, or dropped with how="inner"; null
        finds nothing. What a row finds depends on when the table's record arrived, as with
        Kafka Streams' GlobalKTable.
        """
        return self._then(Join(self._name("join"), caller(), table, on, columns, how))

    def _name(self, kind: str) -> str:
        return f"{kind}-{len(self.steps) + 1}"

    def _then(self, step: Step) -> Flow:
        return replace(self, steps=(*self.steps, step))


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """The rows of a flow in groups: aggregate them running, or by windows of event time."""

    flow: Flow
    key: tuple[str, ...]

    def agg(self, **aggregates: Aggregate) -> Flow:
        """One row per row: the columns of its group, and the aggregates of the group so far."""
        name = self.flow._name("agg")  # noqa: SLF001 - a step of its flow
        step = RunningAggregate(name, caller(), self.key, aggregates)
        return self.flow._then(step)  # noqa: SLF001 - as above

    def window(
        self,
        windows: Windows,
        *,
        allowed_lateness: str = "0s",
        emit: Emission = "on_close",
        late: LatePolicy = "drop",
    ) -> Windowed:
        """Put the rows of each group into windows of event time: `tumbling("1h")`, or others.

        A window closes when the watermark, the greatest event time the task has seen, is past its
        end by `allowed_lateness` ("5m"). Then it is told, with emit="on_close"; with "on_change"
        each row that changes a window tells how it stands. A row all of whose windows have closed
        is late: dropped and counted, or a dead letter.
        """
        return Windowed(self, windows, allowed_lateness, emit, late)


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """Groups in windows of event time."""

    grouped: Grouped
    windows: Windows
    allowed_lateness: str
    emit: Emission
    late: LatePolicy

    def agg(self, **aggregates: Aggregate) -> Flow:
        """The columns of the group, `window_start`, `window_end` and the aggregates.

        One row per window that closes, in the order of their ends; or per row and window it
        changes. Bounds are UTC, to the millisecond; the start is in the window, the end is not.
        """
        flow, key = self.grouped.flow, self.grouped.key
        step = WindowedAggregate(
            flow._name("window"),  # noqa: SLF001 - a step of its flow
            caller(),
            key,
            aggregates,
            self.windows,
            self.allowed_lateness,
            self.emit,
            self.late,
        )
        return flow._then(step)  # noqa: SLF001 - as above
