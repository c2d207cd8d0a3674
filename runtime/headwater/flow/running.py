"""`group_by(...).agg(...)`: each row as the aggregates of its group so far."""

import polars as pl

from headwater.contract import ROW, StateRows
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.flow.grouping import (
    NOT_RUNNING,
    TOO_LARGE,
    GroupStates,
    aggregation_of,
    event_rows,
    sorted_out,
)
from headwater.flow.stage import Columns, Processed, refused
from headwater.flow.stateful import Batch, KeyedRows, StatefulStage
from headwater.model import Code
from headwater.product import RunningAggregate


class RunningStage(StatefulStage):
    """The store holds the state of each group.

    Raises DeclarationError when the step cannot run on these columns.
    """

    def __init__(self, step: RunningAggregate, given: Columns, stream_key: tuple[str, ...]) -> None:
        self.step: RunningAggregate = step
        self.given = given
        self.stream_key = stream_key
        self._aggregation = aggregation_of(step, given, stream_key)
        if not self._aggregation.runs:
            text = f"{', '.join(NOT_RUNNING)} have no running result; aggregate windows"
            raise refused(step, "INVALID_STEP", text)
        self.needs_event_time = self._aggregation.is_ordered
        self._groups = {name: given[name] for name in step.key}
        self._states = GroupStates(self._aggregation, dict(sorted(self._groups.items())))
        self.keys = self._states.stored_by
        self.rows = StateRows(
            self._aggregation.state, keys=self.keys.columns, meaning={"step": "agg"}
        )

    def columns(self, given: Columns) -> Columns:  # noqa: ARG002 - they are known already
        """The group's columns and the results."""
        return {**self._groups, **self._aggregation.results}

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """A row for each row, in order."""
        names = dict.fromkeys([*self._groups, *self._aggregation.reads])
        refusals = [(self._aggregation.beyond(), Code.NUMBER_TOO_LARGE, TOO_LARGE)]
        if self._aggregation.is_ordered:
            text = "has no event time, which first and last are by"
            refusals.append((pl.col(EVENT_TIME).is_null(), Code.NO_EVENT_TIME, text))
        rows, quarantined = sorted_out(self.step, event_rows(frame, batch, [*names]), refusals)
        ran, _, _ = self._states.run_on(self._aggregation.lift(rows), store)
        return Processed(self._told(ran), quarantined)

    def stand_ins(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Each row as if it were the first of its group."""
        rows = frame.filter(~self._aggregation.beyond()).with_columns(
            pl.lit(0, dtype=pl.Int64).alias(EVENT_TIME), pl.lit(0, dtype=pl.Int64).alias(OFFSET)
        )
        return self._told(self._aggregation.lift(rows))

    def _told(self, states: pl.DataFrame) -> pl.DataFrame:
        kept = states.select(ROW, *self._groups, *self._aggregation.state)
        return self._aggregation.result(kept)
