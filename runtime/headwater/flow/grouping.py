"""Groups of rows, and their aggregates in a store."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from headwater.contract import ROW, StateRows
from headwater.errors import DeclarationError
from headwater.flow.aggregates import HELD, Aggregation
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.flow.stage import Columns, Processed, refused, unknown_column
from headwater.flow.stateful import Batch, KeyedRows
from headwater.model import Code, Quarantine
from headwater.product import AggregateStep, Late, Step
from headwater.product.aggregates import aggregate_mistake

TASK: Final = "_task"
WATERMARK: Final = "_watermark"
DUE_KEY: Final = "_due_key"
_OURS: Final = frozenset(
    # the last ones are those of merging states and sessions
    {TASK, WATERMARK, EVENT_TIME, OFFSET, DUE_KEY, "_place", "_group", "_key", "_island"}
    | {"_at", "_sweep", "_before", "_from", "_until", "_final_start", "_final_end"}
)
_PLACE: Final = "_store_place"  # merging has a `_place` of its own

NOT_RUNNING: Final = ("collect", "approx_distinct", "quantile", "quantiles", "top_k", "mergeable")
"""Their states would be written anew, whole, for each row."""

TOO_LARGE: Final = "a number is too large to be summed exactly"


def aggregation_of(step: AggregateStep, given: Columns, stream_key: tuple[str, ...]) -> Aggregation:
    """The aggregates of a step. Raises DeclarationError when it cannot run on these columns."""
    check_group(step, given, stream_key)
    if not step.aggregates:
        raise refused(step, "INVALID_STEP", "agg() computes nothing; name an aggregate")
    for name, declared in step.aggregates.items():
        if mistake := aggregate_mistake(declared):
            raise refused(step, "INVALID_STEP", f"{name}: {mistake}")
        if name in step.key:
            text = f"{name} is a column of the group already; name the aggregate otherwise"
            raise refused(step, "COLUMN_CLASH", text)
    try:
        made = Aggregation(step.aggregates, given)
    except DeclarationError as error:
        raise refused(step, "AGGREGATE", "; ".join(p.message for p in error.problems)) from error
    for name in sorted({*step.key, *made.reads} & {*_OURS, *made.state}):
        text = f"the name {name} is Headwater's own here; rename the column in a step before"
        raise refused(step, "RESERVED_NAME", text)
    return made


def rekey_needed(step: AggregateStep | Late, stream_key: tuple[str, ...]) -> tuple[str, ...] | None:
    """The columns that the stream must be keyed by before this step; None: as it is, it will do.

    All rows of a group are in one task only if the stream's key is among the group's columns.
    """
    if not _is_named(step.key):
        return None  # a mistake, which the stage tells
    return None if stream_key and set(stream_key) <= set(step.key) else step.key


def event_rows(frame: pl.DataFrame, batch: Batch, names: Sequence[str]) -> pl.DataFrame:
    """These columns of the rows, with what is known of the records they were made of."""
    rows = frame[ROW]
    known = {
        TASK: batch.tasks,
        OFFSET: batch.offsets,
        EVENT_TIME: batch.times,
        WATERMARK: batch.watermarks,
    }
    return frame.select(ROW, *names).with_columns(
        # a batch without event times has them nowhere
        (column.gather(rows) if len(column) else pl.lit(None, dtype=pl.Int64))
        .cast(pl.Int64)
        .alias(name)
        for name, column in known.items()
    )


def sorted_out(
    step: Step, rows: pl.DataFrame, refusals: Sequence[tuple[pl.Expr, Code, str]]
) -> tuple[pl.DataFrame, list[Quarantine]]:
    """The rows that nothing refuses, and the others with the code and message of the first."""
    quarantined: list[Quarantine] = []
    for mask, code, message in refusals:
        is_bad = rows.with_columns(mask.alias(_PLACE))[_PLACE]
        if is_bad.any():
            bad = rows.filter(is_bad)[ROW].to_list()
            quarantined += [Quarantine(row, code, message, step.name) for row in bad]
            rows = rows.filter(~is_bad)
    return rows, quarantined


class Lifting:
    """The states of rows, each alone: where an author's own aggregate may raise."""

    def __init__(self, step: AggregateStep, aggregation: Aggregation) -> None:
        self.step: Step = step
        self._aggregation = aggregation

    def columns(self, given: Columns) -> Columns:
        """Those given, and those of a state."""
        return {**given, **self._aggregation.state}

    def run(self, frame: pl.DataFrame) -> Processed:
        """The rows with their states. Raises what the author's expressions raise."""
        return Processed(self._aggregation.lift(frame), [])


class GroupStates:
    """The states of groups, which are the values of the columns `by`; one of them is the task.

    What a store holds under the bytes of the others is merged with the states of rows.
    """

    def __init__(self, aggregation: Aggregation, by: Columns) -> None:
        self._aggregation = aggregation
        self.by: Final = [TASK, *by]
        self.stored_by: Final = StateRows(by)

    def keys(self, groups: pl.DataFrame) -> pl.Series:
        """The keys that the states of these groups are stored under."""
        return pl.Series(self.stored_by.encode(groups), dtype=pl.Binary)

    def groups(self, keys: pl.Series) -> pl.DataFrame:
        """The inverse: the columns of the groups, without the task."""
        return self.stored_by.decode(keys.to_list())

    def merge_in(self, states: pl.DataFrame, store: KeyedRows) -> tuple[pl.DataFrame, pl.Series]:
        """Merge states into the store; the groups that were not there before, and their keys."""
        groups = self._aggregation.merge(states, by=self.by)
        keys = self.keys(groups)
        stored = store.read(groups[TASK], keys)
        is_new = stored[HELD].is_null()
        if not is_new.all():
            groups = groups.with_columns(self._merged(groups, stored))
        store.write(groups[TASK], keys, groups)
        return groups.filter(is_new), keys.filter(is_new)

    def run_on(
        self, states: pl.DataFrame, store: KeyedRows
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
        """Each of the states merged with those of its group before it, in the store and here.

        Then the groups that were not there before, and their keys. The last of each is stored.
        """
        groups = states.select(self.by).unique(maintain_order=True)
        keys = self.keys(groups)
        stored = store.read(groups[TASK], keys)
        is_new = stored[HELD].is_null()
        columns = list(self._aggregation.state)
        held = pl.concat([groups, stored.select(columns)], how="horizontal").filter(~is_new)
        both = pl.concat([held, states], how="diagonal")
        ran = self._aggregation.running(both, by=self.by).slice(held.height)
        last = ran.group_by(self.by, maintain_order=True).agg(pl.col(columns).last())
        store.write(last[TASK], keys, last)  # in the order of `groups`
        return ran, groups.filter(is_new), keys.filter(is_new)

    def _merged(self, groups: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
        """The states of groups merged with those stored of them, row by row."""
        columns = list(self._aggregation.state)
        place = pl.int_range(pl.len()).alias(_PLACE)
        held = stored.select(place, *columns).filter(pl.col(HELD).is_not_null())
        both = pl.concat([groups.select(place, *columns), held])
        return self._aggregation.merge(both, by=[_PLACE]).select(columns)


def _is_named(key: Sequence[object]) -> bool:
    return bool(key) and all(isinstance(name, str) for name in key)


def check_group(step: AggregateStep | Late, given: Columns, stream_key: tuple[str, ...]) -> None:
    """Raises DeclarationError where rows cannot be grouped so, or not all be in one task."""
    if not _is_named(step.key):
        raise refused(step, "INVALID_STEP", "group_by() takes names of columns; name at least one")
    for name in step.key:
        if name not in given:
            raise refused(step, "UNKNOWN_COLUMN", unknown_column(name, given))
        if given[name].is_nested() or given[name].is_float():
            text = f"{name} is {given[name]}; group by columns of plain values that compare exactly"
            raise refused(step, "INVALID_STEP", text)
    if not stream_key:
        text = "the contract of the stream has no key; state needs one"
        raise refused(step, "NOT_THE_KEY", text)
    if rekey_needed(step, stream_key) is not None:
        names = ", ".join(map(repr, step.key))
        text = (
            f"groups by {', '.join(step.key)}, but the stream is keyed by {', '.join(stream_key)};"
            f" add the key to the group, or put .rekey({names}) before it"
        )
        raise refused(step, "NOT_THE_KEY", text)
