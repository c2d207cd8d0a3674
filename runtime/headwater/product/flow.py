"""A flow: an immutable plan of named steps. Nothing runs while it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from headwater.product.durations import duration_ms
from headwater.product.origin import Origin, caller

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
class Rekey:
    """Sends each row, through a topic of the product's own, to the task of another key."""

    name: str
    origin: Origin
    columns: tuple[str, ...]


RowLocalStep = Map | MapEvents | Filter | Select | WithColumns | Sql
"""Steps that look at one row at a time and at nothing else."""
TableJoin = Join | JoinAsof
"""Steps that look a row up in a table."""
Step = RowLocalStep | TableJoin | Latest | Rekey


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

    def rekey(self, columns: str | Sequence[str]) -> Flow:
        """Send each row to the task of another key: steps with state behind it are by `columns`.

        The rows go through the topic `<output>.<step>.repartition`, in the same transactions. Rows
        with a null there stay together and are kept.
        """
        named = (columns,) if isinstance(columns, str) else tuple(columns)
        return self._then(Rekey(self._name("rekey"), caller(), named))

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
        """Add columns of the newest row of a table whose key equals the column `on`.

        `on` is the key of the stream, unless the table is a broadcast one. `columns` selects and
        renames them, as {"year": "built"}; by default all but the key come.
        A row that finds nothing is kept with nulls in them, or dropped with how="inner"; null
        finds nothing. What a row finds depends on when the table's record arrived, as with
        Kafka Streams' tables.
        """
        return self._then(Join(self._name("join"), caller(), table, on, columns, how))

    def join_asof(
        self,
        table: Table,
        *,
        by: str,
        within: str,
        columns: Mapping[str, str] | None = None,
        how: JoinKind = "left",
    ) -> Flow:
        """Add columns of the latest row of a versioned table at or before the record's event time.

        `by` is the column that holds the table's key: the key of the stream, unless the table is a
        broadcast one. A row that is older than `within` ("2h") at that time is not found, nor is
        one of a key that had ended. `columns` and `how` are those of `join`.
        """
        within_ms = duration_ms(within) or 0
        step = JoinAsof(self._name("join-asof"), caller(), table, by, within_ms, columns, how)
        return self._then(step)

    def _name(self, kind: str) -> str:
        return f"{kind}-{len(self.steps) + 1}"

    def _then(self, step: Step) -> Flow:
        return replace(self, steps=(*self.steps, step))
