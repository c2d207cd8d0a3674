"""Tables of mode daily while another process closes days."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.test_daily import Daily, mark, sale

from headwater.adapters.memory import MemoryRangeReader, MemoryTopics
from headwater.errors import AbortableError
from headwater.model import Positions
from headwater.ports import DaysClosed


def test_days_that_another_process_closes_meanwhile_are_closed_for_the_next_commit() -> None:
    """Asking the inputs takes seconds: what is late by then is listed as late."""
    daily = Daily("_date", marks=[mark(24)])
    daily.publish(sale(1))
    daily.take()
    slow = daily.snapshotter()

    def closing_slowly() -> DaysClosed | None:
        daily.publish(sale(25))
        daily.marks = [mark(48)]
        daily.take()
        daily.publish(sale(26))
        return DaysClosed("2026-01-04")

    taken = replace(slow, closing=closing_slowly).take()
    assert taken.days == DaysClosed("2026-01-04", corrected={"2026-01-02": 1})
    assert daily.verify().outcome == "equal"


@pytest.mark.parametrize("form", FORMATS)
def test_days_that_are_closed_without_rows_while_rows_are_read_are_not_passed_by(
    form: str, tmp_path: Path
) -> None:
    """Such a commit moves no offset, and makes rows late that are on their way."""
    daily = Daily("_date", marks=[mark(24)], directory=tmp_path / "sales", format=form)
    daily.publish(sale(1))
    daily.take()
    before = MemoryTopics(daily.broker).ends("shop.sales")
    daily.publish(sale(26))

    class Earlier(MemoryTopics):
        def ends(self, _topic: str) -> Positions:
            return before

    class Reader(MemoryRangeReader):
        def read(self, *given: Any, **named: Any) -> Any:
            daily.marks = [mark(48)]
            replace(daily.snapshotter(), topics=Earlier(daily.broker)).take()
            return super().read(*given, **named)

    closing_more = replace(daily.snapshotter(), closing=lambda: DaysClosed("2026-01-04"))
    with pytest.raises(AbortableError) as overtaken:
        replace(closing_more, reader=Reader(daily.broker)).take()
    assert overtaken.value.code == "SNAPSHOT_TAKEN"
    taken = closing_more.take()
    assert taken.days == DaysClosed("2026-01-04", corrected={"2026-01-02": 1})
    assert daily.verify().outcome == "equal"
