"""Tables that are co-partitioned with a stream: in a declaration, in ProductDriver, at a start."""

from typing import Any

import pytest

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.assembly.checking import check
from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.assembly.tables import joined_inputs, partitions_beside, require_tables
from headwater.errors import DeclarationError, StartRefusedError
from headwater.ports import TopicSettings
from headwater.testing import ProductDriver

FLOW = """\
orders = product.stream("shop.orders", contract=1)
bills = product.table("shop.bills", contract=1)
flow = orders.BEFOREjoin(bills, on="ON", columns={"total": "total"}, how="left")
product.publish(flow.select("id", "total"), contract=1)
"""


@pytest.fixture
def shop(project: Any) -> Any:
    """Orders with their bills, which have the same key."""
    project.contract("shop.bills", {"id": "string", "total": "int"})
    project.contract("shop.billed", {"id": "string", "total": ["null", "int"]})
    declare(project)
    return project


def declare(project: Any, on: str = "id", before: str = "") -> None:
    """The product, joined on a column behind some steps."""
    project.product("shop.billed", FLOW.replace("ON", on).replace("BEFORE", before))


def order(number: str) -> dict[str, Any]:
    """An order of this id."""
    return {"id": number, "n": 1, "note": "o1"}


def test_a_join_on_the_key_finds_the_row_of_the_key(shop: Any) -> None:
    """As in a broadcast table; the driver has one task."""
    driver = ProductDriver("shop.billed")
    driver.table("shop.bills", [{"id": "o1", "total": 7}, {"id": "o1", "total": 8}])
    out = driver.run([order("o1"), order("o2")]).events()
    assert [event["total"] for event in out] == [8, None]


def test_a_join_off_the_key_is_refused(shop: Any) -> None:
    """It would look in a partition that the row does not stand in; the sentence says what to do."""
    declare(shop, on="note")
    with pytest.raises(DeclarationError, match=r"broadcast=True, or put \.rekey") as caught:
        check(["shop.billed"], shop.root)
    assert [each.code for each in caught.value.problems] == ["NOT_THE_KEY"]
    shop.contract("shop.orders", {"id": "string", "n": "int", "note": "string"}, key=[])
    declare(shop)
    with pytest.raises(DeclarationError, match="the stream has no key"):
        check(["shop.billed"], shop.root)


def test_keys_that_are_written_otherwise_are_refused(shop: Any) -> None:
    """An int is four bytes of a key and a long eight: their partitions differ."""
    shop.contract("shop.bills", {"id": "long", "total": "int"})
    shop.contract("shop.orders", {"id": "int", "n": "int", "note": "string"})
    shop.contract("shop.billed", {"id": "int", "total": ["null", "int"]})
    with pytest.raises(DeclarationError, match="go to other partitions") as caught:
        check(["shop.billed"], shop.root)
    assert [each.code for each in caught.value.problems] == ["JOIN_MISFIT"]


def test_a_step_that_changes_the_key_before_the_join_is_refused(shop: Any) -> None:
    """Only data shows it; a step that keeps it is none of our business."""
    declare(shop, before='with_columns(pl.col("n") + 1).')
    assert ProductDriver("shop.billed").run([order("o1")]).frame().height == 1
    declare(shop, before='with_columns(id=pl.col("note")).')
    with pytest.raises(DeclarationError, match="KEY_CHANGED"):
        ProductDriver("shop.billed").run([order("o2")])


def test_describe_tells_how_a_table_is_held(shop: Any) -> None:
    """Broadcast or not."""
    (table,) = describe(ProductDriver("shop.billed").loaded)["tables"]
    assert not table["broadcast"]
    assert not table["versioned"]


@pytest.mark.parametrize("partitions", [2, 3, 5])
def test_as_many_partitions_are_asked_for_at_a_start(shop: Any, partitions: int) -> None:
    """Both topics and both numbers are in the sentence."""
    topics = MemoryTopics(MemoryBroker())
    topics.create([TopicSettings("shop.orders", 3, "log")])
    topics.create([TopicSettings("shop.bills", partitions, "table")])
    loaded = load_product("shop.billed")
    if partitions == 3:
        require_tables(loaded, topics)
        return
    text = f"shop.orders has 3 and its table shop.bills {partitions}"
    with pytest.raises(StartRefusedError, match=text) as caught:
        require_tables(loaded, topics)
    assert caught.value.code == "CO_PARTITIONING"


REKEYED = FLOW.replace("orders.BEFOREjoin", 'orders.rekey("note").join').replace("ON", "note")


def test_behind_a_change_of_key_a_flow_is_joined_on_the_new_one(shop: Any) -> None:
    """The table goes with the repartition topic: as many partitions as that has, or will have."""
    shop.product("shop.billed", REKEYED)
    driver = ProductDriver("shop.billed")
    driver.table("shop.bills", [{"id": "o1", "total": 7}])
    assert [event["total"] for event in driver.run([order("o5")]).events()] == [7]
    loaded = load_product("shop.billed")
    (repartition,) = loaded.repartitions
    (table,) = loaded.product.tables
    assert list(joined_inputs(loaded, table)) == [repartition]
    topics = MemoryTopics(MemoryBroker())
    topics.create([TopicSettings("shop.orders", 5, "log")])
    topics.create([TopicSettings("shop.bills", 3, "table")])
    assert partitions_beside(loaded, repartition, topics) == 3
    assert partitions_beside(loaded, "shop.orders", topics) is None
    require_tables(loaded, topics, {repartition: 3})
    with pytest.raises(StartRefusedError, match=f"{repartition} has 5"):
        require_tables(loaded, topics, {repartition: 5})


def test_behind_a_change_of_key_the_old_one_is_refused(shop: Any) -> None:
    """It is the key of the stream no more."""
    shop.product("shop.billed", REKEYED.replace('on="note"', 'on="id"'))
    with pytest.raises(DeclarationError, match="keyed by note") as caught:
        check(["shop.billed"], shop.root)
    assert [each.code for each in caught.value.problems] == ["NOT_THE_KEY"]
