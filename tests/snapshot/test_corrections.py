"""Late rows of mode daily, as commits list them and `verify` counts them; whose watermarks tell."""

from pathlib import Path

import pytest
from tests.diff.shop import ORDER, Shop
from tests.snapshot.test_daily import Daily, mark, sale

from headwater.adapters.memory import MemoryTopics
from headwater.assembly.project import load_product
from headwater.assembly.registration import lookup_ids, register
from headwater.assembly.tasks import TaskMaker
from headwater.engine import LetterWriter
from headwater.snapshot import writer


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({}, ["0 late rows of 2026-01-01, and took 2"]),
        ({"2026-01-01": 3}, ["3 late rows of 2026-01-01, and took 2"]),
        (
            {"2025-12-30": 2},
            ["2 late rows of 2025-12-30, and took 0", "0 late rows of 2026-01-01, and took 2"],
        ),
    ],
)
def test_late_rows_that_a_commit_lists_wrongly_are_found(
    listed: dict[str, int], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted again, of the commit that took them and of no other."""
    daily = Daily("_date", marks=[mark(24)])
    daily.publish(sale(1), sale(23), sale(30))
    daily.take()
    monkeypatch.setattr(writer, "corrected", lambda _rows, _before: listed)
    daily.publish(sale(2), sale(3), sale(31))
    daily.marks = [mark(48)]
    version = daily.take().version
    monkeypatch.undo()
    daily.publish(sale(4), sale(49))
    daily.marks = [mark(72)]
    daily.take()
    verdict = daily.verify()
    assert verdict.outcome == "different"
    assert [each.detail for each in verdict.differences] == [
        f"version {version} lists {each}" for each in said
    ]


@pytest.mark.parametrize("mode", ["daily", "append"])
def test_watermarks_of_a_product_without_state_are_kept_for_days_alone(
    mode: str, tmp_path: Path
) -> None:
    """Other modes need none, and their products pay nothing."""
    shop = Shop(tmp_path)
    at = {"type": "long", "logicalType": "timestamp-millis"}
    for topic in ("shop.orders", "shop.copies"):
        shop.contract(topic, {**ORDER, "at": at}, eventTime="at")
    file = shop.product(tmp_path, "product.publish(orders, contract=1)")
    policy = f'owner="shop@example.com", snapshot=Snapshot(every="1h", mode="{mode}")'
    text = file.read_text().replace('owner="shop@example.com"', policy)
    file.write_text(text.replace("import DataProduct", "import DataProduct, Snapshot"))
    loaded = load_product(file)
    for contract_ in loaded.outputs.values():
        register(contract_, shop.registry)
    maker = TaskMaker(
        loaded,
        lookup_ids(loaded.outputs.values(), shop.registry),
        shop.registry,
        MemoryTopics(shop.broker),
        LetterWriter("shop.copies.dead-letters"),
    )
    task = maker.tasks()["shop.orders"]
    assert (task.watermarks is not None) == (mode == "daily")
