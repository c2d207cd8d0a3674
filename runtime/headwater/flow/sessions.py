"""Windows of activity: the store holds the open sessions of each group, as a list."""

from typing import Final

import polars as pl

from headwater.contract import StateRows
from headwater.flow.aggregators import EVENT_TIME
from headwater.flow.grouping import DUE_KEY, TASK, GroupStates
from headwater.flow.stage import Columns
from headwater.flow.stateful import KeyedRows
from headwater.flow.windowed import Limits, WindowStage
from headwater.flow.windows import (
    WINDOW_END,
    WINDOW_START,
    merge_sessions,
    open_sessions,
)
from headwater.product import WindowedAggregate
from headwater.product.windows import SessionWindows

_SESSIONS: Final = "_sessions"


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
        store.write(lists[TASK], keys, lists)  # in the order of `groups`
        due, before = _first_ends(lists), _first_ends(stored)
        is_sooner = (due < before).fill_null(value=True)
        store.schedule(
            groups[TASK].filter(is_sooner), keys.filter(is_sooner), due.filter(is_sooner)
        )

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


def _exploded(lists: pl.DataFrame) -> pl.DataFrame:
    """A row for each session."""
    return lists.drop_nulls(_SESSIONS).explode(_SESSIONS).unnest(_SESSIONS)


def _first_ends(rows: pl.DataFrame) -> pl.Series:
    """When the first session of each group ends, if no row comes; null where there is none."""
    ends = pl.col(_SESSIONS).list.eval(pl.element().struct.field(WINDOW_END))
    return rows.select(ends.list.min()).to_series()
