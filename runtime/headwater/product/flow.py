"""A flow: an immutable plan of named steps. Nothing runs while it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, overload

from headwater.product.aggregates import Aggregate
from headwater.product.durations import duration_ms
from headwater.product.origin import caller
from headwater.product.process import ProcessFunction, TimerFunction
from headwater.product.steps import (
    Dedupe,
    Emission,
    EventFunction,
    Filter,
    Join,
    JoinAsof,
    JoinKind,
    Late,
    LatePolicy,
    Latest,
    Map,
    MapEvents,
    Process,
    Rekey,
    RunningAggregate,
    Select,
    Sql,
    Step,
    Stream,
    StreamJoin,
    Table,
    WindowedAggregate,
    WithColumns,
)
from headwater.product.windows import Windows

if TYPE_CHECKING:  # a declaration is stored, not run: the command line starts without polars
    from polars._typing import IntoExpr, IntoExprColumn

    from headwater.product.steps import FrameFunction


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Steps over one stream. Every method returns a new flow.

    A step is named `<kind>-<number>`, its number among those of its kind: `map-1`, `latest-1`.
    """

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

    def latest(self, key: str | Sequence[str], *, by: str, keep: str | None = None) -> Flow:
        """Keep the row of each key with the greatest `by`; what comes later and is older goes.

        `key` names the columns of the stream's key, which no step before may change; `by` is a
        column of times or whole numbers. Of equal ones the later record counts; a null one
        never, such a row is dropped and counted.
        Each row that is the latest of its key when it comes goes on, whatever came with it.

        `keep`, such as "30d", is a time to live, so that state does not grow for ever: once the
        watermark is that far behind a key's greatest `by`, which is an event time then, the key is
        as one that never came, and is deleted by and by. A row that comes later than that goes on.
        """
        columns = (key,) if isinstance(key, str) else tuple(key)
        return self._then(Latest(self._name("latest"), caller(), columns, by, keep))

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

        Where the stream's key is not among them, the rows first go to the task of their group, as
        with `rekey`.
        """
        return Grouped(self, (key,) if isinstance(key, str) else tuple(key))

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

    @overload
    def join(
        self,
        other: Table,
        *,
        on: str,
        columns: Mapping[str, str] | None = None,
        how: JoinKind = "left",
    ) -> Flow: ...

    @overload
    def join(
        self,
        other: Flow,
        *,
        within: str,
        columns: Mapping[str, str] | None = None,
        how: JoinKind = "left",
        allowed_lateness: str = "0s",
        late: LatePolicy = "drop",
    ) -> Flow: ...

    def join(  # noqa: PLR0913 - two signatures in one; each caller sees its own
        self,
        other: Table | Flow,
        *,
        on: str | None = None,
        within: str | None = None,
        columns: Mapping[str, str] | None = None,
        how: JoinKind = "left",
        allowed_lateness: str = "0s",
        late: LatePolicy = "drop",
    ) -> Flow:
        """Add columns of what a row finds in a table, or in another stream.

        Of a table it is the newest row whose key equals the column `on`: the key of the stream,
        unless the table is a broadcast one. What a row finds depends on when the table's record
        arrived, as with Kafka Streams' tables.

        Of a stream it is each row of the same key with an event time at most `within` ("10m") from
        its own: one row for each pair, when the later of the two arrives. Both flows are joined on
        the keys of their streams. A row is kept until the watermark, the lesser of both inputs', is
        past its time by `within` and `allowed_lateness`; one that comes later is late: dropped and
        counted, or a dead letter.

        `columns` selects and renames what is added, as {"year": "built"}; by default all but the
        key. A row that finds nothing is kept with nulls in them (of a stream, once nothing can come
        any more), or dropped with how="inner"; null finds nothing.
        Raises TypeError for arguments of a table with a stream, and the other way round.
        """
        if isinstance(other, Flow):
            if on is not None:
                message = "a stream is joined within a time, on the key of both: leave out on="
                raise TypeError(message)
            name = self._name("stream-join")
            steps = tuple(replace(each, name=f"{name}-{each.name}") for each in other.steps)
            step: Step = StreamJoin(
                name,
                caller(),
                other.stream,
                steps,
                str(within),
                columns,
                how,
                allowed_lateness,
                late,
            )
        else:
            if within is not None or allowed_lateness != "0s" or late != "drop":
                message = "a table has no time to be within; join a stream, or use join_asof()"
                raise TypeError(message)
            step = Join(self._name("join"), caller(), other, cast("str", on), columns, how)
        return self._then(step)

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
        """Kind and number among its own: steps put before leave stores and topics their names."""
        before = sum(step.name.rpartition("-")[0] == kind for step in self.steps)
        return f"{kind}-{before + 1}"

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
    late_policy: LatePolicy

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
            self.late_policy,
        )
        return flow._then(step)  # noqa: SLF001 - as above

    def late(self) -> Flow:
        """The rows that come when every window of theirs has closed, as they were grouped.

        They are those that `agg` of the same windows drops and counts: each row is in a window or
        here. Publish them to a port of their own; behind them come steps that look at one row at a
        time, and joins.
        """
        flow = self.grouped.flow
        step = Late(
            flow._name("late"),  # noqa: SLF001 - a step of its flow
            caller(),
            self.grouped.key,
            self.windows,
            self.allowed_lateness,
            self.late_policy,
        )
        return flow._then(step)  # noqa: SLF001 - as above
