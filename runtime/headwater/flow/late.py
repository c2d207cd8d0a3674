"""`group_by(...).window(...).late()`: the side output of the rows that windows let go.

Whether a row is late is a question of its event time and of the watermark at its record, so there
is nothing to store.
"""

from typing import Final

import polars as pl

from headwater.flow.aggregators import EVENT_TIME
from headwater.flow.grouping import WATERMARK, check_group, event_rows, sorted_out
from headwater.flow.stage import Columns, Processed, refused
from headwater.flow.stateful import Batch
from headwater.flow.windowed import NO_TIME, check_windows, lateness_ms
from headwater.flow.windows import has_window, is_late_for_all
from headwater.model import Code
from headwater.product import Late


class LateStage:
    """Lets the rows through that a step of the same windows drops, and no others.

    Raises DeclarationError when the step cannot run on these columns.
    """

    def __init__(self, step: Late, given: Columns | None, stream_key: tuple[str, ...]) -> None:
        self.step: Final = step
        if given is None:
            text = "only data tells the columns of the steps before it; put it before them"
            raise refused(step, "UNKNOWN_COLUMNS", text)
        check_group(step, given, stream_key)
        check_windows(step)
        if step.late != "drop":
            text = (
                f"its windows have late={step.late!r}, which sets these rows aside already; declare"
                " late='drop' to have them as a flow"
            )
            raise refused(step, "INVALID_STEP", text)
        wait_ms = lateness_ms(step.allowed_lateness) or 0
        self._is_late = is_late_for_all(step.windows, EVENT_TIME, WATERMARK, wait_ms)

    def columns(self, given: Columns) -> Columns:
        """Those that come in."""
        return given

    def run(self, frame: pl.DataFrame, batch: Batch) -> Processed:
        """The rows that are late, in order; those in no window at all are refused."""
        known = event_rows(frame, batch, [])
        in_none = [(~has_window(EVENT_TIME), Code.NO_EVENT_TIME, NO_TIME)]
        _, quarantined = sorted_out(self.step, known, in_none)
        is_told = known.select(has_window(EVENT_TIME) & self._is_late).to_series()
        return Processed(frame.filter(is_told), quarantined)
