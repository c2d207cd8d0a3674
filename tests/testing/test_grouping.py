"""`group_by` in `ProductDriver` and in `describe`."""

from typing import Any

from headwater.assembly.description import describe
from headwater.testing import ProductDriver


def test_a_grouping_by_another_column_goes_through_a_topic_of_its_own(project: Any) -> None:
    """Rows of one note meet, whatever orders they belong to; the topics are told."""
    fields = {"note": ["null", "string"], "orders": "long", "total": ["null", "long"]}
    contract = project.contract("shop.notes", fields)
    contract.write_text(contract.read_text().replace('"key": "id",', ""))
    project.product(
        "shop.notes",
        """\
        from headwater import aggregates
        orders = product.stream("shop.orders", contract=1)
        grouped = orders.filter(pl.col("n") > 0).group_by("note")
        product.publish(
            grouped.agg(orders=aggregates.count(), total=aggregates.sum("n")), contract=1
        )
        """,
    )
    driver = ProductDriver("shop.notes")
    given = [("a", 1, "x"), ("b", 2, "y"), ("c", 3, "x"), ("d", -1, "x"), ("e", 4, None)]
    outcome = driver.run([{"id": id_, "n": n, "note": note} for id_, n, note in given])
    assert outcome.frame().rows() == [("x", 1, 1), ("y", 1, 2), ("x", 2, 4), (None, 1, 4)]
    told = describe(driver.loaded)
    assert told["topics"][-2:] == ["shop.notes.agg-1.repartition", "shop.notes.agg-1.changelog"]
    assert told["outputs"][0]["steps"][1]["does"] == (
        "by note so far: orders=count(), total=sum(n)"
    )
