"""`group_by(...).window(...).agg(...)`: aggregates of windows of event time.

What is late, and when a window closes, is decided per record by the watermark of its task as it
stood at that record (`flow.windows`). So what comes out does not depend on where a batch ends.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Final, get_args

import polars as pl

from headwater.contract import ROW, ROW_TYPE, StateRows
from headwater.flow.aggregates import HELD
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.flow.blame import run_without_guilty
from headwater.flow.grouping import (
    DUE_KEY,
    NOT_RUNNING,
    TASK,
    TOO_LARGE,
    WATERMARK,
    GroupStates,
    Lifting,
    aggregation_of,
    event_rows,
    sorted_out,
)
from headwater.flow.stage import Around, Columns, Processed, Stage, Surrounded, refused
from headwater.flow.stateful import Batch, KeyedRows, StatefulStage
from headwater.flow.windows import (
    WINDOW_END,
    WINDOW_START,
    assign,
    has_window,
    is_late,
    is_late_for_all,
)
from headwater.model import Code
from headwater.product import Late, WindowedAggregate
from headwater.product.durations import duration_ms
from headwater.product.steps import Emission, LatePolicy
from headwater.product.windows import LONGEST_MS, TimeWindows, windows_mistakes

BOUND: Final = pl.Datetime("ms", "UTC")
_BOUNDS: Final = (WINDOW_START, WINDOW_END)
NO_TIME: Final = "has no event time between the years 21 and 9979, so it is in no window"
_LATE: Final = "came when every window it is in had closed"

Limits = Mapping[int, int]
"""Of each task, the watermark after the batch minus the allowed lateness: what ends there is over.
"""


def check_windows(step: WindowedAggregate | Late) -> None:
    """Raises DeclarationError for what is wrong with the windows of a step, whatever the rows."""
    for mistake in windows_mistakes(step.windows):
        raise refused(step, "INVALID_STEP", mistake)
    lateness = lateness_ms(step.allowed_lateness)
    if lateness is None or lateness > LONGEST_MS:
        text = f"allowed_lateness={step.allowed_lateness!r} is no duration up to ten years"
        raise refused(step, "INVALID_STEP", f"{text}; write such as '0s' or '5m'")
    _check_word(step, "late", step.late, get_args(LatePolicy))


def check_telling(step: WindowedAggregate) -> None:
    """Raises DeclarationError for what is wrong with how the windows of a step are told."""
    _check_word(step, "emit", step.emit, get_args(Emission))
    for name in _BOUNDS:
        if name in step.key or name in step.aggregates:
            text = f"{name} is the name of a bound of the window; choose another"
            raise refused(step, "COLUMN_CLASH", text)


def _check_word(
    step: WindowedAggregate | Late, name: str, given: object, known: Sequence[object]
) -> None:
    if given not in known:
        text = f"{name}={given!r} is none of {', '.join(map(repr, known))}"
        raise refused(step, "INVALID_STEP", text)


class WindowStage(StatefulStage):
    """What all kinds of windows have in common: which rows are sound, and what comes out.

    Raises DeclarationError when the step cannot run on these columns.
    """

    needs_event_time = True

    def __init__(
        self, step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]
    ) -> None:
        self.step: WindowedAggregate = step
        self.given = given
        self.stream_key = stream_key
        self.aggregation: Final = aggregation_of(step, given, stream_key)
        self.groups: Final = {name: given[name] for name in step.key}
        self.lateness_ms: Final = lateness_ms(step.allowed_lateness) or 0
        self._is_late = is_late_for_all(step.windows, EVENT_TIME, WATERMARK, self.lateness_ms)
        self._lifting: Stage = Lifting(step, self.aggregation)

    def surrounded(self, around: Around) -> "WindowStage":
        """The same stage with something around what an author's own aggregate makes of rows."""
        stage = copy(self)
        stage._lifting = Surrounded(self._lifting, around)  # noqa: SLF001 - its own copy
        return stage

    def columns(self, given: Columns) -> Columns:  # noqa: ARG002 - they are known already
        """The group's columns, the bounds of the window and the results."""
        return {**self.groups, **dict.fromkeys(_BOUNDS, BOUND), **self.aggregation.results}

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The windows that close, or a row for each row and window it changes."""
        names = dict.fromkeys([*self.groups, *self.aggregation.reads])
        refusals = [(~has_window(EVENT_TIME), Code.NO_EVENT_TIME, NO_TIME)]
        if self.step.late == "dead-letter":
            refusals.append((self._is_late, Code.LATE, _LATE))
        given = event_rows(frame, batch, [*names])
        rows, quarantined = sorted_out(self.step, given, refusals)
        timely = rows.filter(~self._is_late)  # of late ones no more is asked: each row has one fate
        too_large = [(self.aggregation.beyond(), Code.NUMBER_TOO_LARGE, TOO_LARGE)]
        in_time, larger = sorted_out(self.step, timely, too_large)
        lifted = run_without_guilty(self._lifting, in_time)
        limits = self._limits(given, batch)
        states = lifted.frame if lifted.frame.height else self.aggregation.lift(in_time.clear())
        told = self.advance(states, limits, store)
        if ROW not in told.columns:
            told = told.with_columns(pl.lit(batch.no_row, dtype=ROW_TYPE).alias(ROW))
        late = rows.height - timely.height
        quarantined += [*larger, *lifted.quarantined]
        return Processed(self._told(told), quarantined, {self.step.name: late} if late else {})

    def stand_ins(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Each row as if it were alone in a window."""
        rows = frame.filter(~self.aggregation.beyond()).with_columns(
            pl.lit(0, dtype=pl.Int64).alias(name) for name in (EVENT_TIME, OFFSET, *_BOUNDS)
        )
        return self._told(self.aggregation.lift(rows))

    @abstractmethod
    def advance(self, rows: pl.DataFrame, limits: Limits, store: KeyedRows) -> pl.DataFrame:
        """Take rows in and close what is over; the states of windows that are told, in order.

        Rows are lifted and not late. States are of rows if they have `_row`, else of windows.
        """

    def _limits(self, rows: pl.DataFrame, batch: Batch) -> Limits:
        seen = rows.group_by(TASK).agg(pl.col(WATERMARK).max()).drop_nulls().rows()
        after = {**dict(seen), **batch.reached}
        return {task: after[task] - self.lateness_ms for task in sorted(after)}

    def _told(self, states: pl.DataFrame) -> pl.DataFrame:
        kept = states.select(ROW, *self.groups, *_BOUNDS, *self.aggregation.state)
        return self.aggregation.result(kept).with_columns(pl.col(_BOUNDS).cast(BOUND))


def check_running(stage: WindowStage) -> None:
    """Raises DeclarationError when not all aggregates can be told with each row."""
    if not stage.aggregation.runs:
        text = f"{', '.join(NOT_RUNNING)} have no running result; declare emit='on_close'"
        raise refused(stage.step, "INVALID_STEP", text)


class TimeWindowStage(WindowStage):
    """Tumbling and hopping windows; the store holds what begins at a time under group and time.

    `piece_ms` is how long that is.
    """

    piece_ms: int

    def __init__(
        self, step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]
    ) -> None:
        super().__init__(step, given, stream_key)
        if not isinstance(step.windows, TimeWindows):
            message = f"{step.windows!r} are no windows of time"
            raise TypeError(message)
        self.windows: Final = step.windows
        self.size_ms: Final = step.windows.size_ms
        self.every_ms: Final = step.windows.every_ms
        # the time first: what is open now stands together in the store, and goes together
        by = {WINDOW_START: pl.Int64(), **dict(sorted(self.groups.items()))}
        self.states: Final = GroupStates(self.aggregation, by)
        self.keys = self.states.stored_by
        meaning = {
            "step": "window",
            "size_ms": self.size_ms,
            "every_ms": self.every_ms,
            "emit": step.emit,
        }
        self.rows = StateRows(self.aggregation.state, keys=self.keys.columns, meaning=meaning)


class ChangingWindows(TimeWindowStage):
    """Windows that are told with each row that changes them; the store holds each by itself."""

    def __init__(
        self, step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]
    ) -> None:
        super().__init__(step, given, stream_key)
        check_running(self)

    def advance(self, rows: pl.DataFrame, limits: Limits, store: KeyedRows) -> pl.DataFrame:
        """Each row once per open window it is in, with the window as it then stands."""
        assigned = assign(rows, self.windows, time=EVENT_TIME)
        assigned = assigned.filter(~is_late(WATERMARK, self.lateness_ms))
        ran, opened, keys = self.states.run_on(assigned, store)
        store.schedule(opened[TASK], keys, opened[WINDOW_START] + self.size_ms)
        for task, limit in limits.items():
            over = store.due(task, limit, self._ends)["key"]
            store.delete(_tasks(task, over), over)
        return ran.with_columns((pl.col(WINDOW_START) + self.size_ms).alias(WINDOW_END))

    def _ends(self, keys: pl.Series, _rows: pl.DataFrame) -> pl.Series:
        return self.states.groups(keys)[WINDOW_START] + self.size_ms


class ClosingWindows(TimeWindowStage):
    """Windows that are told when they close, made of panes that hopping windows share.

    A pane is as long as the greatest common divisor of size and hop (Li et al., No pane, no gain,
    2005); a tumbling window is one pane. An event changes one pane, whatever the overlap. A pane is
    due at the end of each window it is in, in turn, so that what is due at an end is that window.

    Of a pane in several windows the store must tell which of these were told: it holds, under the
    empty key of each task, the end up to which they were, in the column HELD.
    """

    def __init__(
        self, step: WindowedAggregate, given: Columns, stream_key: tuple[str, ...]
    ) -> None:
        super().__init__(step, given, stream_key)
        self.pane_ms: Final = math.gcd(self.size_ms, self.every_ms)
        self._overlaps: Final = self.size_ms > self.pane_ms

    def advance(self, rows: pl.DataFrame, limits: Limits, store: KeyedRows) -> pl.DataFrame:
        """The windows that close, by task, end and group."""
        time = pl.col(EVENT_TIME)
        panes = rows.with_columns((time - time % self.pane_ms).alias(WINDOW_START))
        is_behind = (self._first_end() + self.lateness_ms <= pl.col(WATERMARK)).fill_null(
            value=False
        )
        behind = panes.filter(is_behind) if self._overlaps else panes.clear()
        if behind.height:
            panes = panes.filter(~is_behind)
        self._add(panes, store, {})
        closed = [
            self._closed(task, limit, behind.filter(pl.col(TASK) == task), store)
            for task, limit in limits.items()
        ]
        if behind.height:
            # only now: they are late for windows that the rows before them are in
            is_open = self._last_end() > pl.col(TASK).replace_strict(limits, return_dtype=pl.Int64)
            self._add(behind.filter(is_open), store, limits)
        return pl.concat([self._nothing(), *closed])

    def _add(self, panes: pl.DataFrame, store: KeyedRows, limits: Limits) -> None:
        """Merge rows into their panes; a new one is due at its first end that is not yet told."""
        if panes.is_empty():
            return
        opened, keys = self.states.merge_in(panes, store)
        after = pl.col(TASK).replace_strict(limits, default=None, return_dtype=pl.Int64)
        store.schedule(opened[TASK], keys, opened.select(self._next_end(after)).to_series())

    def _closed(
        self, task: int, limit: int, behind: pl.DataFrame, store: KeyedRows
    ) -> pl.DataFrame:
        """The windows of a task that are over, of its panes and of rows that are in none yet."""
        due = store.due(task, limit, lambda keys, _: self._due_times(task, keys, store))
        if due.is_empty() and behind.is_empty():
            return self._nothing()
        panes = self._taken(task, due, store)
        if not self._overlaps:
            store.delete(_tasks(task, panes[DUE_KEY]), panes[DUE_KEY])
            return self._ordered(panes)
        is_over = panes.select(self._last_end() <= limit).to_series()
        over, left = panes.filter(is_over), panes.filter(~is_over)
        store.delete(_tasks(task, over[DUE_KEY]), over[DUE_KEY])
        # of this type: Polars would compute with a bare literal in 32 bits
        next_end = left.select(self._next_end(pl.lit(limit, dtype=pl.Int64))).to_series()
        store.schedule(_tasks(task, left[DUE_KEY]), left[DUE_KEY], next_end)
        parts = [self._of_panes(panes, limit), self._of_rows(behind, limit)]
        windows = pl.concat([part.select(self._nothing().columns) for part in parts])
        self._mark(task, windows, behind, store)
        return self._ordered(self.aggregation.merge(windows, by=[*self.groups, *_BOUNDS]))

    def _mark(
        self, task: int, windows: pl.DataFrame, behind: pl.DataFrame, store: KeyedRows
    ) -> None:
        """Store up to where windows were told: by these and by rows, not by where a batch ends."""
        passed = behind.select(self._end_before(pl.col(WATERMARK) - self.lateness_ms)).to_series()
        ends = pl.concat([windows[WINDOW_END], passed])
        if len(ends):
            told = (
                self.rows.columns.to_frame()
                .clear(1)
                .with_columns(pl.lit(ends.max(), dtype=pl.Int64).alias(HELD))
            )
            store.write(_tasks(task, _MARK), _MARK, told)

    def _taken(self, task: int, due: pl.DataFrame, store: KeyedRows) -> pl.DataFrame:
        """The panes that are due, each once: key, group, bounds of its next window, state."""
        if self._overlaps:  # else all are due at the end of the one window they are in
            due = due.unique("key", keep="first", maintain_order=True)
        stored = store.read(_tasks(task, due["key"]), due["key"])
        panes = self.states.groups(due["key"])
        ends = due.select(pl.col("key").alias(DUE_KEY), pl.col("time").alias(WINDOW_END))
        found = pl.concat([ends, panes, stored], how="horizontal")
        return found.filter(pl.col(HELD).is_not_null())

    def _of_panes(self, panes: pl.DataFrame, limit: int) -> pl.DataFrame:
        """Panes once for each window that they are in and that is over, from their next one on."""
        last = pl.min_horizontal(self._last_end(), limit)
        ends = pl.int_ranges(pl.col(WINDOW_END), last + 1, self.every_ms)
        return self._started(panes.with_columns(ends.alias(WINDOW_END)).explode(WINDOW_END))

    def _of_rows(self, rows: pl.DataFrame, limit: int) -> pl.DataFrame:
        """Rows once for each window they are in, came in time for, and that is over."""
        assigned = assign(rows, self.windows, time=EVENT_TIME)
        in_time = assigned.filter(~is_late(WATERMARK, self.lateness_ms))
        return in_time.filter(pl.col(WINDOW_END) <= limit)

    def _ordered(self, windows: pl.DataFrame) -> pl.DataFrame:
        columns = self._nothing().columns
        return self._started(windows).select(columns).sort(WINDOW_END, *self.groups)

    def _started(self, windows: pl.DataFrame) -> pl.DataFrame:
        return windows.with_columns((pl.col(WINDOW_END) - self.size_ms).alias(WINDOW_START))

    def _nothing(self) -> pl.DataFrame:
        bounds = dict.fromkeys(_BOUNDS, pl.Int64())
        return pl.DataFrame(schema={**self.groups, **bounds, **self.aggregation.state})

    def _due_times(self, task: int, keys: pl.Series, store: KeyedRows) -> pl.Series:
        told = store.read(_tasks(task, _MARK), _MARK)[HELD].item()
        is_pane = keys.bin.size() > 0
        panes = self.states.groups(keys.filter(is_pane))
        ends = panes.select(self._next_end(pl.lit(told, dtype=pl.Int64))).to_series()
        places = pl.select(pl.when(is_pane).then(is_pane.cum_sum() - 1)).to_series()
        return ends.gather(places)

    def _first_end(self) -> pl.Expr:
        """The end of the first window that a pane is in."""
        first = -(-(pl.col(WINDOW_START) + self.pane_ms - self.size_ms) // self.every_ms)
        return first * self.every_ms + self.size_ms

    def _last_end(self) -> pl.Expr:
        """The end of the last window that a pane is in."""
        return pl.col(WINDOW_START) // self.every_ms * self.every_ms + self.size_ms

    def _next_end(self, limit: pl.Expr) -> pl.Expr:
        """The first end of a pane's windows behind a limit; null is before all of them."""
        return pl.max_horizontal(self._first_end(), self._end_before(limit) + self.every_ms)

    def _end_before(self, limit: pl.Expr) -> pl.Expr:
        """The last end of windows up to and at a limit."""
        return (limit - self.size_ms) // self.every_ms * self.every_ms + self.size_ms


_MARK: Final = pl.Series([b""], dtype=pl.Binary)  # no key of a group is empty


def _tasks(task: int, keys: pl.Series) -> pl.Series:
    return pl.repeat(task, len(keys), dtype=pl.Int64, eager=True)


def lateness_ms(text: object) -> int | None:
    """An allowed lateness in milliseconds; None for what is none."""
    return 0 if text == "0s" else duration_ms(text)
