"""Days of event time, as readers of a table of mode daily are told of them."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
from tests.reader.opened import KnownSchemas, opened
from tests.snapshot.test_daily import DAY, FIRST, HOUR, Daily, mark, sale
from tests.snapshot.test_divided import SALES

from headwater.reader.product import Product
from headwater.reader.sql import Query

SECOND, THIRD = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
HOURS = DAY // HOUR


def product(daily: Daily) -> Product:
    """The sales as a consumer opens them."""
    return opened(daily, lambda: SALES, KnownSchemas(lambda _reference: SALES.text))


def sold(tmp_path: Path) -> Daily:
    """Two days of sales that are closed, with a row that came late, and one that is open."""
    daily = Daily("_date", directory=tmp_path / "sales", marks=[mark(HOURS)])
    daily.publish(sale(1), sale(5, "b"))
    daily.take()
    daily.publish(sale(2, "c"), sale(30, "d"), sale(50, "e"), ("f", None, "x"))
    daily.marks = [mark(2 * HOURS, is_idle=True)]
    daily.take()
    return daily


def test_days_are_listed_with_their_state_and_rows(tmp_path: Path) -> None:
    """Of the newest cut and of older ones; rows without event time are of no day."""
    opened = product(sold(tmp_path))
    assert opened.days().frame().rows() == [
        (FIRST, "complete", 3, 1),
        (SECOND, "assumed", 1, 0),
        (THIRD, "open", 1, 0),
        (None, None, 1, None),
    ]
    first, _ = opened.cuts()
    assert opened.days(first).frame().rows() == [(FIRST, "complete", 2, 0)]
    assert opened.days(first).state(SECOND) == "open"


def test_days_are_a_table_in_sql(tmp_path: Path) -> None:
    """Joined with the rows themselves: those of complete days alone."""
    daily = sold(tmp_path)
    text = """
        SELECT s.id, d.state FROM 'shop.sales' s JOIN 'shop.sales/days' d ON s._date = d.day
        WHERE d.state = 'complete' ORDER BY s.id
    """
    rows = pa.Table.from_batches(Query(text, lambda _name: product(daily), is_live=False).rows())
    assert rows.to_pydict() == {"id": ["a", "b", "c"], "state": ["complete"] * 3}


def test_a_table_of_another_mode_closes_no_day() -> None:
    """There is nothing to list, and every day is open."""
    daily = Daily("_date", marks=[mark(HOURS)])
    daily.publish(sale(1))
    daily.take()
    assert product(daily).days().state(date(2030, 1, 1)) == "open"
