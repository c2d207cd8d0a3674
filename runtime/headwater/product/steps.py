"""The steps of a flow, and what they are about: streams and tables. Nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from headwater.clock import moment_ms
from headwater.product.aggregates import Aggregate
from headwater.product.durations import duration_ms
from headwater.product.origin import Origin
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
"""What becomes of a row that came too late to count anywhere."""
JoinKind = Literal["left", "inner"]
"""What becomes of a row that finds nothing on the other side: nulls beside it, or dropped."""


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
        return moment_ms(self.start)


@dataclass(frozen=True, slots=True)
class Table:
    """One topic whose rows are held by key, to join flows with.

    `source` tells the topic and the contract it is read with, from its beginning on. `broadcast`:
    every worker holds all of it; else a task holds the partition of its own number. `versioned`:
    every row is held by event time, not only the newest of each key.
    """

    source: Stream
    broadcast: bool = False
    versioned: bool = False

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
    keep: str | None = None


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


@dataclass(frozen=True, slots=True, eq=False)
class Late:
    """Keeps the rows that come when every window of theirs has closed, and no others.

    The windows are those of a `WindowedAggregate` of the same fields, which lets such rows go.
    """

    name: str
    origin: Origin
    key: tuple[str, ...]
    windows: Windows
    allowed_lateness: str
    late: LatePolicy


@dataclass(frozen=True, slots=True, eq=False)
class JoinAsof:
    """Adds columns of a versioned table's row that was valid at the event time of the record.

    `on` is the column with the key; `within_ms` is how old the row may be then, in milliseconds.
    `columns` as for `Join`.
    """

    name: str
    origin: Origin
    table: Table
    on: str
    within_ms: int
    columns: Mapping[str, str] | None
    how: JoinKind


@dataclass(frozen=True, slots=True, eq=False)
class StreamJoin:
    """Pairs the rows of two streams that have one key and are at most `within` apart. It has state.

    `right` and `right_steps` are the flow that is joined; `columns` maps its names to names in the
    result, None for all but the key. The durations are texts.
    """

    name: str
    origin: Origin
    right: Stream
    right_steps: tuple[Step, ...]
    within: str
    columns: Mapping[str, str] | None
    how: JoinKind
    allowed_lateness: str
    late: LatePolicy


@dataclass(frozen=True, slots=True, eq=False)
class Rekey:
    """Sends each row, through a topic of the product's own, to the task of another key."""

    name: str
    origin: Origin
    columns: tuple[str, ...]


RowLocalStep = Map | MapEvents | Filter | Select | WithColumns | Sql
"""Steps that look at one row at a time and at nothing else."""
TableJoin = Join | JoinAsof
"""Steps that look a row up in a table."""
AggregateStep = RunningAggregate | WindowedAggregate
"""Steps that turn the rows of a group into aggregates."""
OneStreamStep = Latest | Dedupe | AggregateStep | Process
"""Steps with state that look at one stream."""
StatefulStep = OneStreamStep | StreamJoin
"""Steps that have state."""
Step = RowLocalStep | TableJoin | StatefulStep | Rekey | Late
