"""Versioned tables and `join_asof`: in a declaration, in ProductDriver, in samples, at a start."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.assembly.checking import check
from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.assembly.samples import cases, run_case
from headwater.assembly.tables import require_tables
from headwater.errors import DeclarationError, StartRefusedError
from headwater.ports import TopicSettings
from headwater.testing import ProductDriver

TIME = {"type": "long", "logicalType": "timestamp-millis"}
SALE = {"id": "string", "item": ["null", "string"], "at": TIME}
PRICE = {"item": "string", "since": TIME, "price": "int"}
PRICED = {"id": "string", "item": ["null", "string"], "price": ["null", "int"]}
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def declare(
    project: Any, *, table: str = "broadcast=True, versioned=True", join: str = 'within="2h"'
) -> None:
    """Sales with the price of their item when they were made."""
    project.product(
        "shop.priced",
        f"""\
        sales = product.stream("shop.sales", contract=1)
        prices = product.table("shop.prices", contract=1, {table})
        flow = sales.join_asof(prices, by="item", columns={{"price": "price"}}, {join})
        product.publish(flow.select("id", "item", "price"), contract=1)
        """,
    )


@pytest.fixture(autouse=True)
def shop(project: Any) -> Any:
    """The contracts of sales and prices, and a product that joins them."""
    project.contract("shop.sales", SALE, eventTime="at")
    project.contract("shop.prices", PRICE, key="item", eventTime="since")
    project.contract("shop.priced", PRICED)
    declare(project)
    DRIVER[:] = [ProductDriver("shop.priced")]
    return project


DRIVER: list[ProductDriver] = []


def at(minutes: int) -> str:
    """A time as a sample writes it."""
    return (BEGIN + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def sale(number: str, item: str | None, minutes: int) -> dict[str, Any]:
    """A sale at this minute."""
    return {"id": number, "item": item, "at": at(minutes)}


def price(item: str, minutes: int, amount: int) -> dict[str, Any]:
    """A price since this minute."""
    return {"item": item, "since": at(minutes), "price": amount}


PRICES = [price("tea", 60, 2), price("tea", 0, 1), price("cup", 10, 5)]
SALES = [
    sale("a", "tea", 59),
    sale("b", "tea", 60),
    sale("c", "tea", 180),
    sale("d", "tea", 181),
    sale("e", "cup", 9),
    sale("f", None, 60),
    sale("g", "pot", 60),
]


def test_a_row_finds_what_was_valid_at_its_event_time(shop: Any) -> None:
    """Up to `within` old, to the millisecond; a null or unknown key finds nothing, and is kept."""
    driver = ProductDriver("shop.priced")
    driver.table("shop.prices", PRICES)
    out = driver.run(SALES).events()
    assert [event["price"] for event in out] == [1, 2, 2, None, None, None, None]


def test_an_inner_join_drops_what_finds_nothing(shop: Any) -> None:
    """And only that."""
    declare(shop, join='within="2h", how="inner"')
    driver = ProductDriver("shop.priced")
    driver.table("shop.prices", PRICES)
    assert [event["id"] for event in driver.run(SALES).events()] == ["a", "b", "c"]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400)), unique=True),
    st.lists(st.tuples(st.none() | st.sampled_from("abcd"), st.integers(0, 500)), min_size=1),
)
def test_it_is_the_batch_join_of_polars(
    prices: list[tuple[str, int]], sales: list[tuple[str | None, int]]
) -> None:
    """Whatever the order of the rows."""
    kind = pl.Datetime("ms", "UTC")

    def times(minutes: list[int]) -> pl.Series:
        return pl.Series([BEGIN + timedelta(minutes=each) for each in minutes], dtype=kind)

    table = pl.DataFrame(
        {
            "item": pl.Series([item for item, _ in prices], dtype=pl.String),
            "since": times([minutes for _, minutes in prices]),
            "price": pl.Series(range(len(prices)), dtype=pl.Int32),
        }
    )
    stream = pl.DataFrame(
        {
            "id": [str(n) for n in range(len(sales))],
            "item": pl.Series([item for item, _ in sales], dtype=pl.String),
            "at": times([minutes for _, minutes in sales]),
        }
    )
    DRIVER[0].table("shop.prices", table)
    found = DRIVER[0].run(stream).frame()
    expected = stream.sort("at").join_asof(
        table.sort("since"),
        left_on="at",
        right_on="since",
        by="item",
        tolerance="2h",
        check_sortedness=False,
    )
    assert found.sort("id").equals(expected.select(found.columns).sort("id"))


MISTAKES = [
    ({"table": "broadcast=True"}, "INVALID_VALUE"),
    ({"table": "versioned=True"}, "NOT_THE_KEY"),
    ({"join": 'within="long"'}, "INVALID_VALUE"),
    ({"join": 'within="0s"'}, "INVALID_VALUE"),
    ({"join": 'within="1h", how="outer"'}, "INVALID_VALUE"),
]


@pytest.mark.parametrize(("change", "code"), MISTAKES)
def test_a_join_that_cannot_be_is_refused(shop: Any, change: dict[str, str], code: str) -> None:
    """Without data, and told once."""
    declare(shop, **change)
    with pytest.raises(DeclarationError) as caught:
        check(["shop.priced"], shop.root)
    assert [each.code for each in caught.value.problems] == [code]


@pytest.mark.parametrize("contract", [("shop.sales", SALE, "id"), ("shop.prices", PRICE, "item")])
def test_both_sides_have_an_event_time(shop: Any, contract: tuple[str, Any, str]) -> None:
    """A record, to say when; a row, to say since when."""
    topic, fields, key = contract
    shop.contract(topic, fields, key=key)
    with pytest.raises(DeclarationError, match="eventTime") as caught:
        check(["shop.priced"], shop.root)
    assert [each.code for each in caught.value.problems] == ["NO_EVENT_TIME"]


def test_the_newest_row_of_a_versioned_table_is_not_asked_for(shop: Any) -> None:
    """`join` would have to choose between now and then."""
    text = 'sales.join(prices, on="item", columns={"price": "price"})'
    path = shop.root / "products/shop/priced/product.py"
    call = 'sales.join_asof(prices, by="item", columns={"price": "price"}, within="2h")'
    path.write_text(path.read_text().replace(call, text))
    with pytest.raises(DeclarationError, match="takes no versioned table") as caught:
        check(["shop.priced"], shop.root)
    assert [each.code for each in caught.value.problems] == ["INVALID_VALUE"]


def test_a_field_of_values_cannot_come_from_a_left_join_as_of_a_time(shop: Any) -> None:
    """Where nothing is found there is a null."""
    shop.contract("shop.priced", {**PRICED, "price": "int"})
    with pytest.raises(DeclarationError, match="price is null where join-asof-1 finds nothing"):
        check(["shop.priced"], shop.root)
    declare(shop, join='within="2h", how="inner"')
    check(["shop.priced"], shop.root)


def test_samples_hold_the_history_of_a_table(shop: Any) -> None:
    """As for any table."""
    shop.sample("shop.priced", "one.table.shop.prices.jsonl", PRICES)
    shop.sample("shop.priced", "one.in.jsonl", SALES[:2])
    expected = [{"id": n, "item": "tea", "price": p} for n, p in (("a", 1), ("b", 2))]
    shop.sample("shop.priced", "one.out.jsonl", expected)
    driver = ProductDriver("shop.priced")
    (result,) = [run_case(case, driver) for case in cases(driver.loaded.samples)]
    assert result.differences == []


def test_describe_tells_of_a_join_as_of_a_time(shop: Any) -> None:
    """What is held, and how far back a row counts."""
    shown = describe(ProductDriver("shop.priced").loaded)
    assert shown["tables"][0]["versioned"]
    step = shown["outputs"][0]["steps"][0]
    text = "shop.prices by item, as of the event time, within 7200 s (left): price as price"
    assert step["does"] == text


KEPT: list[tuple[str, dict[str, str], bool]] = [
    ("log", {}, True),
    ("log", {"retention.ms": "-1", "retention.bytes": "-1"}, True),
    ("log", {"retention.ms": "604800000"}, False),
    ("log", {"retention.bytes": "1000000"}, False),
    ("table", {}, False),
    ("log", {"cleanup.policy": "compact,delete"}, False),
]


@pytest.mark.parametrize(("kind", "config", "is_kept"), KEPT)
def test_a_topic_that_forgets_is_no_history(
    shop: Any, kind: Any, config: dict[str, str], is_kept: bool
) -> None:
    """Compaction and retention would take rows away unseen, at the next start."""
    topics = MemoryTopics(MemoryBroker())
    topics.create([TopicSettings("shop.prices", 2, kind, config)])
    loaded = load_product("shop.priced")
    if is_kept:
        require_tables(loaded, topics)
        return
    with pytest.raises(StartRefusedError, match=r"retention\.ms=-1") as caught:
        require_tables(loaded, topics)
    assert caught.value.code == "TABLE_HISTORY"
