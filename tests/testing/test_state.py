"""Steps with state in `ProductDriver`, and where they are refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.co_partitioning import require_co_partitioning
from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.assembly.state import stores_in_memory
from headwater.errors import StartRefusedError
from headwater.model import Code, Partition, RawRecord
from headwater.ports import TopicSettings
from headwater.testing import ProductDriver


def latest(project: Any) -> Path:
    """The latest order of each id by its number."""
    project.contract("shop.latest", {"id": "string", "n": "int"})
    file: Path = project.product(
        "shop.latest",
        """\
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.latest("id", by="n").select("id", "n"), contract=1)
        """,
    )
    return file


def test_a_run_begins_without_state_and_keeps_it_to_its_end(project: Any) -> None:
    """Older orders are dropped; the next run knows of none."""
    latest(project)
    driver = ProductDriver("shop.latest")
    orders = [{"id": "a", "n": 2}, {"id": "b", "n": 1}, {"id": "a", "n": 1}, {"id": "a", "n": 2}]
    for _ in range(2):
        found = driver.run(orders).frame().rows()
        assert found == [("a", 2), ("b", 1), ("a", 2)]


def test_a_key_that_outlived_its_time_is_forgotten(project: Any) -> None:
    """By the event time of what came after it, within one batch as across many."""
    fields = {"id": "string", "at": {"type": "long", "logicalType": "timestamp-millis"}}
    for topic in ("shop.seen", "shop.latest"):
        project.contract(topic, fields, eventTime="at")
    project.product(
        "shop.latest",
        """\
        seen = product.stream("shop.seen", contract=1)
        product.publish(seen.latest("id", by="at", keep="1h"), contract=1)
        """,
    )
    rows = [("a", 0), ("b", 59), ("a", -1), ("b", 60), ("a", -1), ("a", -2)]
    start = datetime(2024, 1, 1, tzinfo=UTC)
    seen = [{"id": key, "at": start + timedelta(minutes=minute)} for key, minute in rows]
    found = ProductDriver("shop.latest").run(seen).frame()
    # from the fourth row on nothing is known of `a`, and what is over when it comes stays unknown
    assert found["id"].to_list() == ["a", "b", "b", "a", "a"]
    (output,) = describe(load_product("shop.latest"))["outputs"]
    assert output["steps"][0]["does"].endswith("with the greatest at, for 1h")


def test_a_record_refused_later_leaves_no_trace_in_the_state(project: Any) -> None:
    """All or nothing per record: an order behind the refused one is the latest."""
    latest(project)
    project.product(
        "shop.latest",
        """\
        def act(event):
            return {"id": event["id"], "n": 10 // (5 - event["n"])}
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.latest("id", by="n").map_events(act), contract=1)
        """,
    )
    orders = [{"id": "a", "n": 3}, {"id": "a", "n": 5}, {"id": "a", "n": 4}, {"id": "a", "n": 3}]
    outcome = ProductDriver("shop.latest").run(orders)
    assert outcome.frame().rows() == [("a", 5), ("a", 10)]
    assert [(each.row, each.code) for each in outcome.dead_letters] == [(1, Code.STEP_FAILED)]


def test_rows_without_an_order_are_counted_by_step(project: Any) -> None:
    """By `<output>.<step>`, and not as those that a later row replaced."""
    project.contract("shop.orders", {"id": "string", "n": ["null", "int"]})
    latest(project)
    project.contract("shop.latest", {"id": "string", "n": ["null", "int"]})
    driver = ProductDriver("shop.latest")
    stores = stores_in_memory(driver.loaded)
    task = driver._tasks(stores)["shop.orders"]
    orders: list[Any] = [{"id": "a", "n": 2}, {"id": "a", "n": None}, {"id": "b", "n": None}]
    raw = driver._values("shop.orders", orders)
    partition = Partition("shop.orders", 0)
    records = [RawRecord(partition, row, 0, None, value) for row, value in enumerate(raw)]
    work = task.process(MemoryRecords("shop.orders", records))
    assert (work.unordered, work.superseded) == ({"shop.latest.latest-1": 2}, {})


def test_a_rule_that_rejects_is_told_once(project: Any) -> None:
    """The batch is run again without the record, and what was said of it stays said."""
    latest(project)
    file = project.contract("shop.latest", {"id": "string", "n": "int"})
    text = file.read_text()
    file.write_text(text.replace('"doc": "The n."', '"doc": "The n.", "rule": "n < 9"'))
    orders = [{"id": "a", "n": 9}, {"id": "a", "n": 3}, {"id": "b", "n": 9}]
    outcome = ProductDriver("shop.latest").run(orders)
    assert outcome.frame().rows() == [("a", 3)]
    assert [(each.row, each.code) for each in outcome.dead_letters] == [
        (0, Code.CONTRACT_VIOLATION),
        (2, Code.CONTRACT_VIOLATION),
    ]
    assert [(each.rule, each.records) for each in outcome.violations] == [("n", 2)]


def test_describe_says_what_the_step_keeps(project: Any) -> None:
    """In words of its key and order."""
    loaded = load_product(latest(project))
    (output,) = describe(loaded)["outputs"]
    assert output["steps"][0]["does"] == "the row of each id with the greatest n"


def test_a_changelog_of_another_size_than_its_input_is_refused_at_the_start(project: Any) -> None:
    """Keys would not meet their state; before the changelog is made there is nothing to refuse."""
    latest(project)
    loaded, topics = load_product("shop.latest"), MemoryTopics(MemoryBroker())
    topics.create([TopicSettings("shop.orders", 4, "log")])
    require_co_partitioning(loaded, topics)
    topics.create([TopicSettings("shop.latest.latest-1.changelog", 3, "table")])
    told = r"shop\.orders has 4, shop\.latest\.latest-1\.changelog has 3 partitions"
    with pytest.raises(StartRefusedError, match=told) as caught:
        require_co_partitioning(loaded, topics)
    assert caught.value.code == "CO_PARTITIONING"
