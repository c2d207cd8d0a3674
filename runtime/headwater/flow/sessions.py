"""Windows of activity: the store holds the open sessions of each group, as a list."""

from typing import Final

import polars as pl

from headwater.contract import ROW, StateRows
from headwater.flow.aggregators import EVENT_TIME
from headwater.flow.grouping import DUE_KEY, TASK, GroupStates
from headwater.flow.stage import Columns
from headwater.flow.stateful import KeyedRows
from headwater.flow.windowed import Limits, WindowStage, check_running
from headwater.flow.windows import (
    WINDOW_END,
    WINDOW_START,
    merge_sessions,
    open_sessions,
)
from headwater.product import WindowedAggregate
from headwater.product.windows import SessionWindows

_SESSIONS: Final = "_sessions"
_AT: Final = "_at"  # the place of a row in its batch
_SWEEP: Final = "_sweep"
_BEFORE: Final = "_before"  # in this order rows, and what they reach, come into a session
_FROM: Final = "_from"
_UNTIL: Final = "_until"
_FINAL: Final = ("_final_start", "_final_end")


class SessionStage(WindowStage):
    """Sessions, told when they close.

    A group is due when the first of its sessions may end. That it goes on is seen only then, so
    that a group costs one look per session and not one per row.
    """

    def __init__(
        self, step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]
    ) -> None:
        super().__init__(step, given, stream_key)
        if not isinstance(step.windows, SessionWindows):
            message = f"{step.windows!r} are no sessions"
            raise TypeError(message)
        self._gap_ms: Final = step.windows.gap_ms
        self._groups: Final = GroupStates(self.aggregation, dict(sorted(self.groups.items())))
        self.keys = self._groups.stored_by
        self._session: Final = {
            WINDOW_START: pl.Int64(),
            WINDOW_END: pl.Int64(),
            **self.aggregation.state,
        }
        self.rows = StateRows(
            {_SESSIONS: pl.List(pl.Struct(self._session))},
            keys=self.keys.columns,
            meaning={"step": "session", "gap_ms": self._gap_ms},
        )

    def advance(self, rows: pl.DataFrame, limits: Limits, store: KeyedRows) -> pl.DataFrame:
        """The sessions that close, by task, end and group."""
        if rows.height:
            self._add(rows, store)
        nothing = pl.DataFrame(schema={**self.groups, **self._session})
        closed = [self._closed(task, limit, store) for task, limit in limits.items()]
        return pl.concat([nothing, *(each.select(nothing.columns) for each in closed)])

    def _add(self, rows: pl.DataFrame, store: KeyedRows) -> None:
        """Merge rows into the sessions of their groups."""
        opened = self._merged(open_sessions(rows, self._gap_ms, time=EVENT_TIME))
        groups = opened.select(self._groups.by).unique(maintain_order=True)
        keys = self._groups.keys(groups)
        stored = store.read(groups[TASK], keys)
        held = _exploded(pl.concat([groups, stored], how="horizontal"))
        lists = self._lists(self._merged(pl.concat([opened, held.select(opened.columns)])))
        _write(lists, keys, stored, store)

    def _closed(self, task: int, limit: int, store: KeyedRows) -> pl.DataFrame:
        """The sessions of a task that are over."""
        before = limit - 1  # a row at the end of a session still belongs to it
        keys = store.due(task, before, lambda _, rows: _first_ends(rows))["key"].unique()
        tasks = pl.repeat(task, len(keys), dtype=pl.Int64, eager=True)
        stored = store.read(tasks, keys)
        groups = self._groups.groups(keys).with_columns(tasks.alias(TASK))
        held = _exploded(
            pl.concat([groups, stored, keys.alias(DUE_KEY).to_frame()], how="horizontal")
        )
        is_over = held[WINDOW_END] <= before
        left = self._lists(held.filter(~is_over), DUE_KEY)
        store.write(left[TASK], left[DUE_KEY], left)
        store.schedule(left[TASK], left[DUE_KEY], _first_ends(left))
        gone = keys.filter(stored[_SESSIONS].is_not_null() & ~keys.is_in(left[DUE_KEY].implode()))
        store.delete(tasks.head(len(gone)), gone)
        return held.filter(is_over).sort(WINDOW_END, *self.groups)

    def _merged(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """Sessions of a group that touch, as one."""
        by = self._groups.by
        bounded = merge_sessions(sessions, by=by)
        return self.aggregation.merge(bounded, by=[*by, WINDOW_START, WINDOW_END])

    def _lists(self, sessions: pl.DataFrame, *others: str) -> pl.DataFrame:
        """The sessions of each group as a list, the groups in the order of their first ones."""
        by = [*self._groups.by, *others]
        return sessions.group_by(by, maintain_order=True).agg(
            pl.struct(*self._session).alias(_SESSIONS)
        )


class ChangingSessions(SessionStage):
    """Sessions that are told with each row that changes them, with their bounds as they then stand.

    A row may put sessions together: then it is in one whose bounds hold theirs. What was told of
    those is replaced by what is told of it.

    Rows are taken in sweeps, in each of which the times of a group do not go back: most batches
    take one or two. In a sweep a session consists, at a row, of what begins before that row in what
    it will be at the end, and of the stored session that the row reaches.
    """

    def __init__(
        self, step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]
    ) -> None:
        super().__init__(step, given, stream_key)
        check_running(self)

    def advance(self, rows: pl.DataFrame, limits: Limits, store: KeyedRows) -> pl.DataFrame:
        """Each row with the session it is in; what is over goes."""
        opened = open_sessions(rows, self._gap_ms, time=EVENT_TIME)
        told = self._run(opened, store) if rows.height else opened
        for task, limit in limits.items():
            self._closed(task, limit, store)
        return told

    def _run(self, opened: pl.DataFrame, store: KeyedRows) -> pl.DataFrame:
        by = self._groups.by
        groups = opened.select(by).unique(maintain_order=True)
        keys = self._groups.keys(groups)
        stored = store.read(groups[TASK], keys)
        held = _exploded(pl.concat([groups, stored], how="horizontal"))
        goes_back = (pl.col(EVENT_TIME) < pl.col(EVENT_TIME).shift()).fill_null(value=False)
        sweeps = opened.with_columns(
            pl.int_range(pl.len()).alias(_AT), goes_back.cum_sum().over(by).alias(_SWEEP)
        ).partition_by(_SWEEP, maintain_order=True)
        told: list[pl.DataFrame] = []
        for rows in sorted(sweeps, key=lambda each: int(each[_SWEEP][0])):
            ran, held = self._swept(rows, held)
            told.append(ran)
        lists = groups.join(
            self._lists(held.sort(WINDOW_START)), on=by, nulls_equal=True, maintain_order="left"
        )
        _write(lists, keys, stored, store)
        return pl.concat(told).sort(_AT)

    def _swept(self, rows: pl.DataFrame, held: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of a sweep, each with its session, and the sessions after them."""
        by, state = self._groups.by, list(self.aggregation.state)
        bounds = [WINDOW_START, WINDOW_END]
        # a stored session is reached by the first row that its start is within the gap of
        placed = pl.concat(
            [
                held.select(
                    *by, *bounds, *state, (pl.col(WINDOW_START) - self._gap_ms).alias(_BEFORE)
                ),
                rows.select(_AT, ROW, *by, *bounds, *state, pl.col(WINDOW_START).alias(_BEFORE)),
            ],
            how="diagonal",
        ).with_columns(pl.col(WINDOW_START).alias(_FROM), pl.col(WINDOW_END).alias(_UNTIL))
        merged = merge_sessions(placed, by=by).sort(_BEFORE, _AT, nulls_last=False)
        session = [*by, *bounds]
        ran = self.aggregation.running(merged, by=session).with_columns(
            pl.col(_FROM).cum_min().over(session).alias(WINDOW_START),
            pl.col(_UNTIL).cum_max().over(session).alias(WINDOW_END),
            *(pl.col(name).alias(final) for name, final in zip(bounds, _FINAL, strict=True)),
        )
        last = ran.group_by([*by, *_FINAL], maintain_order=True).agg(pl.col(*bounds, *state).last())
        told = ran.filter(pl.col(_AT).is_not_null())
        return told.select(_AT, ROW, *by, *bounds, *state), last.select(*by, *bounds, *state)


def _write(lists: pl.DataFrame, keys: pl.Series, stored: pl.DataFrame, store: KeyedRows) -> None:
    """Put the sessions of groups into the place of those stored, which are due again if sooner."""
    store.write(lists[TASK], keys, lists)
    due, before = _first_ends(lists), _first_ends(stored)
    is_sooner = (due < before).fill_null(value=True)
    tasks = lists[TASK].filter(is_sooner)
    store.schedule(tasks, keys.filter(is_sooner), due.filter(is_sooner))


def _exploded(lists: pl.DataFrame) -> pl.DataFrame:
    """A row for each session."""
    return lists.drop_nulls(_SESSIONS).explode(_SESSIONS).unnest(_SESSIONS)


def _first_ends(rows: pl.DataFrame) -> pl.Series:
    """When the first session of each group ends, if no row comes; null where there is none."""
    ends = pl.col(_SESSIONS).list.eval(pl.element().struct.field(WINDOW_END))
    return rows.select(ends.list.min()).to_series()
