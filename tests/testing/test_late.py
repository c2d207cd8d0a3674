"""Late rows as an output, in `ProductDriver`, in `check` and in `describe`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.errors import DeclarationError
from headwater.model import Code
from headwater.testing import ProductDriver

TIME = {"type": "long", "logicalType": "timestamp-millis"}
SALES = {"id": "string", "note": "string", "n": "int", "at": ["null", TIME]}
HOURS = {"note": "string", "window_start": TIME, "window_end": TIME, "total": ["null", "long"]}
START = datetime(2024, 1, 1, tzinfo=UTC)


def product(project: Any, body: str, *ports: str) -> Path:
    """Windows of an hour over sales by note; each port has some columns of the sales."""
    project.contract("shop.sales", SALES, eventTime="at")
    project.contract("shop.hours", HOURS, key="note")
    for port in ports:
        project.contract(f"shop.hours.{port}", {"id": "string", "n": "int"})
    head = """\
from headwater import aggregates, tumbling
hours = (
    product.stream("shop.sales", contract=1)
    .filter(pl.col("n") > 0)
    .group_by("note")
    .window(tumbling("1h"))
)
"""
    file: Path = project.product("shop.hours", head + body)
    return file


WINDOWS = 'product.publish(hours.agg(total=aggregates.sum("n")), contract=1)\n'
LATE = """\
product.publish(hours.late().filter(pl.col("n") < 50).select("id", "n"), contract=1, port="late")
"""


def sales(*rows: tuple[str, int, int | None]) -> list[dict[str, Any]]:
    """Events by note, number and minute, named by their place."""
    return [
        {"id": f"s{place}", "note": note, "n": n, "at": at and START + timedelta(minutes=at)}
        for place, (note, n, at) in enumerate(rows)
    ]


@pytest.mark.parametrize("body", [WINDOWS + LATE, LATE + WINDOWS])
def test_what_is_late_behind_another_key_comes_out_at_a_port(project: Any, body: str) -> None:
    """Through the one topic of the windows, whichever is declared first; one letter for no time."""
    driver = ProductDriver(product(project, body, "late"))
    outcome = driver.run(
        sales(("x", 1, 30), ("y", 2, 90), ("x", 4, 59), ("y", 8, 60), ("x", 60, 1), ("x", 9, None))
    )
    assert outcome.frame("late").rows() == [("s2", 4)]
    assert sorted(outcome.frame().select("note", "total").rows()) == [("x", 1), ("y", 10)]
    assert outcome.late == {"shop.hours.window-1": 2}
    assert [(each.row, each.code) for each in outcome.dead_letters] == [(5, Code.NO_EVENT_TIME)]
    told = describe(driver.loaded)
    topic = "shop.hours.window-1.repartition"
    assert [each for each in told["topics"] if "repartition" in each] == [topic]
    steps = {step["name"]: step for output in told["outputs"] for step in output["steps"]}
    assert steps["late-1"]["through"] == steps["window-1"]["through"] == topic
    assert steps["late-1"]["does"] == "what is late by note for windows of 1h"


def test_late_rows_need_no_windows_that_are_published(project: Any) -> None:
    """Two outputs of them have a topic each; the other key is theirs alone."""
    late = "product.publish(hours.late().select('id', 'n'), contract=1, port='{}')\n"
    body = late.format("one") + late.format("two")
    driver = ProductDriver(product(project, body, "one", "two"))
    outcome = driver.run(sales(("x", 1, 30), ("y", 2, 90), ("x", 4, 59)))
    assert outcome.frame("one").rows() == outcome.frame("two").rows() == [("s2", 4)]
    assert not outcome.late
    file = driver.loaded.file
    file.write_text(file.read_text().replace('"note"', '"id"'))
    by_own_key = ProductDriver(file).run(sales(("x", 1, 30), ("y", 2, 90), ("x", 4, 59)))
    assert by_own_key.frame("one").rows() == [("s2", 4)]


def test_a_step_behind_late_rows_is_proven_though_no_row_is_late(project: Any) -> None:
    """Any row might be."""
    body = 'product.publish(hours.late().select("id", pl.col("n").max()), contract=1, port="late")'
    driver = ProductDriver(product(project, body.replace("note", "id"), "late"))
    file = driver.loaded.file
    file.write_text(file.read_text().replace('"note"', '"id"'))  # no change of key: proven at once
    with pytest.raises(DeclarationError, match="BATCH_DEPENDENT"):
        ProductDriver(file).run(sales(*(("x", n, n) for n in range(1, 9))))


def test_nothing_waits_for_the_letters_of_late_rows(project: Any) -> None:
    """Their order is not kept, as that of no product with state is."""
    file = product(project, LATE, "late")
    text = file.read_text().replace('"note"', '"id"').replace("DataProduct\n", "*\n")
    kept = 'owner="shop@example.com", dead_letters=DeadLetters(keep_order=True)'
    file.write_text(text.replace('owner="shop@example.com"', kept))
    with pytest.raises(DeclarationError, match="ORDER_WITH_STATE"):
        load_product(file)
