"""Two definitions of a product with state beside each other."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.diff.shop import Shop

ORDER: dict[str, Any] = {
    "id": "string",
    "n": "int",
    "note": ["null", "string"],
    "at": {"type": "long", "logicalType": "timestamp-millis"},
}
TOTAL: dict[str, Any] = {
    "id": "string",
    "window_start": {"type": "long", "logicalType": "timestamp-millis"},
    "window_end": {"type": "long", "logicalType": "timestamp-millis"},
    "total": "long",
}
WINDOWS = """\
    from headwater import aggregates, tumbling
    totals = orders.group_by("{by}").window(tumbling("{size}ms"))
    product.publish(totals.agg(total=aggregates.sum("n")){more}, contract=1)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop whose orders have event times."""
    made = Shop(tmp_path)
    made.contract("shop.orders", ORDER, eventTime="at")
    return made


def feed(shop: Shop, count: int = 40) -> None:
    """Orders of four ids and two notes; a fifth of them late by less than ten milliseconds."""
    shop.feed(
        [
            {
                "id": f"i{n % 4}",
                "n": n,
                "note": "ab"[n % 3 == 0],
                "at": datetime.fromtimestamp((3 * n - 7 * (n % 5 == 0)) / 1000, UTC),
            }
            for n in range(count)
        ]
    )


def running(step: str) -> str:
    """A body that publishes a flow with a step."""
    return f'product.publish(orders.{step}.select("id", "n", "note"), contract=1)\n'


def counts(compared: Any) -> dict[str, int]:
    """The rows of the first port, by what became of them."""
    return dict(compared.ports[None].rows)


def test_a_step_with_state_finds_what_came_in_batches_before(shop: Shop) -> None:
    """`latest` by n lets all through, by the other way round only the first of each key."""
    shop.product(shop.root, running('latest("id", by="n")'))
    feed(shop)
    other = running('with_columns(back=-pl.col("n")).latest("id", by="back")')
    candidate = shop.product(shop.root / "other", other)
    found = counts(shop.diff(candidate))
    assert found["today"] == found["equal"] + found["removed"] == 40
    assert found["candidate"] == 4
    assert (
        shop.diff(shop.product(shop.root / "same", running('latest("id", by="n")'))).beyond() == []
    )


def windows(shop: Shop, folder: str, *, by: str = "id", size: str = "10", more: str = "") -> Path:
    """A definition that publishes totals of windows."""
    return shop.product(shop.root / folder, WINDOWS.format(by=by, size=size, more=more))


@pytest.fixture
def totals(shop: Shop) -> Shop:
    """The shop publishes totals of windows."""
    shop.contract("shop.copies", TOTAL)
    windows(shop, ".")
    feed(shop)
    return shop


def test_windows_are_matched_by_group_and_start_and_all_of_them_close(totals: Shop) -> None:
    """Those open at the end of the cut too, on both sides."""
    same = totals.diff(windows(totals, "same"))
    assert same.beyond() == []
    assert counts(same)["equal"] == counts(same)["today"] > 40 - 8
    more = '.with_columns(total=pl.when(pl.col("total") == 39).then(0).otherwise("total"))'
    other = totals.diff(windows(totals, "other", more=more), sample=3)
    found = counts(other)
    assert (found["changed"], found["added"], found["removed"]) == (1, 0, 0)
    assert [each.text for each in other.beyond()] == ["total of shop.copies differs in 1 row"]
    (sample,) = other.ports[None].sample.rows()
    assert (sample["topic"], sample["offset"], sample["key"]) == (None, None, {"id": "i3"})
    assert sample["columns"]["total"] == {"today": 39, "candidate": 0}


def test_windows_of_another_size_are_other_rows(totals: Shop) -> None:
    """They begin elsewhere, or hold more."""
    found = counts(totals.diff(windows(totals, "other", size="20")))
    assert found["removed"] > 0
    assert found["today"] > found["candidate"]


def test_rows_behind_a_change_of_key_are_matched_by_their_record(shop: Shop) -> None:
    """Both sides move them to tasks of another key, in memory."""
    feed(shop)
    body = """\
        flow = orders.rekey("note").filter(pl.col("n") < {below})
        product.publish(flow.select("id", "n", "note"), contract=1)
    """
    shop.product(shop.root, body.format(below=30))
    compared = shop.diff(shop.product(shop.root / "other", body.format(below=20)))
    found = counts(compared)
    assert (found["equal"], found["removed"], found["added"]) == (20, 10, 0)
    places = [each["offset"] for each in compared.ports[None].sample.rows()]
    assert all(offset is not None for offset in places)


def test_what_windows_behind_a_change_of_key_hold_is_of_all_partitions(shop: Shop) -> None:
    """Event time goes on when every partition was heard of; the end closes what is open."""
    total = {name: kind for name, kind in TOTAL.items() if name != "id"}
    shop.contract("shop.copies", {"note": ["null", "string"], **total}, key=[])
    windows(shop, ".", by="note", size="1000")
    feed(shop)
    compared = shop.diff(windows(shop, "same", by="note", size="1000"))
    assert compared.beyond() == []
    assert counts(compared)["today"] == 3  # one order came before 1970
    text = WINDOWS.format(by="note", size="1000", more="").replace(
        "orders.group_by", 'orders.filter(pl.col("n") != 7).group_by'
    )
    found = counts(shop.diff(shop.product(shop.root / "other", text)))
    assert (found["equal"], found["changed"] + found["added"]) == (2, 1)
