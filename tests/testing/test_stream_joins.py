"""Joins of two streams: in a declaration, in ProductDriver, at a start."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.assembly.checking import check
from headwater.assembly.co_partitioning import require_co_partitioning
from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.assembly.state import changelog_sources, changelogs
from headwater.errors import DeclarationError, StartRefusedError
from headwater.ports import TopicSettings
from headwater.testing import ProductDriver

FLOW = """\
orders = product.stream("shop.orders", contract=1)
payments = product.stream("shop.payments", contract=1)
flow = ORDERS.join(PAYMENTS, within="10m", columns={"amount": "paid"}ARGUMENTS)
product.publish(flow.select("id", "n", "paid"), contract=1)
"""
TIME = {"type": "long", "logicalType": "timestamp-millis"}
BEGIN = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop(project: Any) -> Any:
    """Orders and their payments, which have the same key."""
    project.contract("shop.orders", {"id": "string", "n": "int", "at": TIME}, eventTime="at")
    fields = {"id": "string", "order": "string", "amount": "int", "at": TIME}
    project.contract("shop.payments", fields, eventTime="at")
    project.contract("shop.paid", {"id": "string", "n": "int", "paid": ["null", "int"]})
    declare(project)
    return project


def declare(
    project: Any, orders: str = "orders", payments: str = "payments", arguments: str = ""
) -> None:
    """The product, with steps before the join on either side."""
    body = FLOW.replace("ORDERS", orders).replace("PAYMENTS", payments)
    project.product("shop.paid", body.replace("ARGUMENTS", arguments))


def order(number: str, minute: float) -> dict[str, Any]:
    """An order at so many minutes."""
    return {"id": number, "n": 1, "at": BEGIN + timedelta(minutes=minute)}


def payment(number: str, minute: float, amount: int) -> dict[str, Any]:
    """A payment of an order, under a key of its own."""
    return {"id": number, "order": number, "amount": amount, "at": order("", minute)["at"]}


ORDERS = [order("o1", 0), order("o2", 5), order("o3", 20)]
PAYMENTS = [payment("o1", 4, 7), payment("o3", 9.5, 9), payment("o2", 16, 8), payment("o1", 16, 6)]
INPUTS = {"shop.orders": ORDERS, "shop.payments": PAYMENTS}


def paid(inputs: dict[str, Any]) -> list[tuple[str, int | None]]:
    """What comes out."""
    return [(each["id"], each["paid"]) for each in ProductDriver("shop.paid").run(inputs).events()]


def test_orders_find_their_payments_within_ten_minutes(shop: Any) -> None:
    """An order without one comes out once, when nothing can come any more: at the end of data."""
    assert paid(INPUTS) == [("o1", 7), ("o2", None), ("o3", None)]
    declare(shop, arguments=", how='inner'")
    assert paid(INPUTS) == [("o1", 7)]
    assert paid({"shop.payments": PAYMENTS, "shop.orders": ORDERS}) == [("o1", 7)]


def test_an_input_that_is_not_given_is_empty(shop: Any) -> None:
    """What waits for it comes out at the end, as of data that end."""
    assert paid({"shop.orders": ORDERS}) == [("o1", None), ("o2", None), ("o3", None)]
    assert paid({"shop.payments": PAYMENTS}) == []


def test_steps_of_the_right_flow_run_before_the_join(shop: Any) -> None:
    """Each side has its own, and keys may have other names behind a change of key."""
    declare(shop, payments='payments.with_columns(pl.col("amount") * 2)')
    assert paid(INPUTS)[0] == ("o1", 14)
    declare(shop, payments='payments.filter(pl.col("amount") > 7).rekey("order")')
    assert paid(INPUTS) == [("o1", None), ("o2", None), ("o3", None)]
    declare(shop, "orders.rekey('id')", 'payments.rekey("order")')
    assert sorted(paid(INPUTS)) == [("o1", 7), ("o2", None), ("o3", None)]


def test_a_join_of_streams_is_described(shop: Any) -> None:
    """With the steps of the other flow and its repartition topic."""
    declare(shop, payments='payments.rekey("order")', arguments=", allowed_lateness='5m'")
    told = describe(load_product("shop.paid", shop.root))
    (step, _) = told["outputs"][0]["steps"]
    assert step["does"] == (
        "shop.payments by key, stream-join-1-rekey-1 (to the task of order), within 10m, "
        "open for 5m more (left): amount as paid"
    )
    assert "shop.paid.stream-join-1-rekey-1.repartition" in told["topics"]


def test_mistakes_of_a_join_of_streams_are_told(shop: Any) -> None:
    """Before anything runs, with the step that made them."""
    for arguments, match in (
        (", how='outer'", "neither 'left' nor 'inner'"),
        (", late='never'", "neither 'drop' nor"),
        (", allowed_lateness='x'", "no duration up to ten years"),
    ):
        declare(shop, arguments=arguments)
        with pytest.raises(DeclarationError, match=match):
            check(["shop.paid"], shop.root)
    declare(shop)
    shop.contract("shop.payments", {"id": "string", "amount": "int", "at": TIME})
    with pytest.raises(DeclarationError, match="works on event time"):
        check(["shop.paid"], shop.root)


def test_a_contract_that_wants_what_a_left_join_may_not_find_is_refused(shop: Any) -> None:
    """The column must be nullable, unless the join is inner."""
    shop.contract("shop.paid", {"id": "string", "n": "int", "paid": "int"})
    with pytest.raises(DeclarationError, match="join-1"):
        check(["shop.paid"], shop.root)
    declare(shop, arguments=", how='inner'")
    check(["shop.paid"], shop.root)


def test_streams_of_other_numbers_of_partitions_are_refused_with_both(shop: Any) -> None:
    """Before anything is read; both sides share one store."""
    loaded = load_product("shop.paid", shop.root)
    assert changelogs(loaded) == {"shop.paid.stream-join-1.changelog": "shop.orders"}
    (sources,) = changelog_sources(loaded).values()
    assert sources == ["shop.orders", "shop.payments"]
    topics = MemoryTopics(MemoryBroker())
    topics.create(
        [TopicSettings("shop.orders", 3, "source"), TopicSettings("shop.payments", 2, "source")]
    )
    with pytest.raises(
        StartRefusedError, match=r"shop\.orders has 3, shop\.payments has 2"
    ) as error:
        require_co_partitioning(loaded, topics)
    assert error.value.code == "CO_PARTITIONING"
