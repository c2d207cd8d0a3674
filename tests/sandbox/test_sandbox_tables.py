"""What ends a process may hang on a row of a table: the child has them all, by task and time."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.sandbox.orders import SCHEMA, STEP_S, alive, encoded

from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.registration import SchemaIds
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.assembly.subjects import value_subject
from headwater.contract import Encoder, load_contract
from headwater.flow import DELETED, TASK, TIME
from headwater.model import Code, Partition, RawRecord

PRODUCT = '''
import os
import polars as pl
from headwater import DataProduct

product = DataProduct(name="shop.bills", owner="shop@example.org")
orders = product.stream("shop.orders", contract=1)
planes = product.table("shop.planes", contract=1, broadcast=True)

def act(frame: pl.DataFrame) -> pl.DataFrame:
    """Ends the process where the table says so."""
    if (frame["does"] == "exit").any():
        os._exit(3)
    return frame.drop("does")

joined = orders.join(planes, on="order_id", columns={"does": "does"})
product.publish(joined.map(act), contract=1)
'''
PLANES = """{"type": "record", "name": "Plane", "doc": "A plane.", "key": "plane", "fields": [
 {"name": "plane", "type": "string", "doc": "Its number."},
 {"name": "does", "type": ["null", "string"], "default": null, "doc": "What it does."}]}"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedProduct:
    """A product whose step obeys the table."""
    texts = {"orders": SCHEMA, "bills": SCHEMA.replace('"Order"', '"Bill"'), "planes": PLANES}
    for name, text in texts.items():
        contract = tmp_path / "schemas/shop" / name / "v1.avsc"
        contract.parent.mkdir(parents=True)
        contract.write_text(text)
    file = tmp_path / "products/shop/bills/product.py"
    file.parent.mkdir(parents=True)
    file.write_text(PRODUCT)
    return load_product(file)


@pytest.fixture
def sandbox(loaded: LoadedProduct) -> Iterator[ChildSandbox]:
    """One for the product, closed at the end."""
    registry = MemoryRegistry()
    text = load_contract(loaded.root / "schemas", "shop.orders", 1).text
    registry.register(value_subject("shop.orders"), text, compatibility="FULL_TRANSITIVE")
    setting = Setting(
        loaded.file, {"shop.bills": SchemaIds(1)}, registry, STEP_S, tables=loaded.tables
    )
    made = ChildSandbox(setting)
    yield made
    made.close()


def test_a_record_that_is_deadly_for_a_row_of_a_table_is_found(
    sandbox: ChildSandbox, loaded: LoadedProduct
) -> None:
    """And no longer once the row is another: a child with older rows is not asked."""
    rows = loaded.tables["shop.planes"].rows
    batch = encoded(loaded.file, [f"o{n}" for n in range(16)])
    for does, guilty in ((None, []), ("exit", [9]), ("nothing", [])):
        change = pl.DataFrame({"plane": ["o9"], "does": [does], DELETED: [False]})
        rows.apply(change.cast({"does": pl.String}))
        found = sandbox.guilty(batch, alive)
        assert [each.row for each in found] == guilty
        assert all(each.code is Code.PROCESS_DIED and each.step == "map-1" for each in found)


def test_the_child_knows_since_when_rows_are_valid_and_where(loaded: LoadedProduct) -> None:
    """Of a versioned table that is co-partitioned: deadly is what was valid, in its own task."""
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    for name in ("orders", "bills", "planes"):
        path = loaded.root / "schemas/shop" / name / "v1.avsc"
        path.write_text(json.dumps(_timed(json.loads(path.read_text()))))
    text = PRODUCT.replace("broadcast=True", "versioned=True")
    text = text.replace('.join(planes, on="order_id"', '.join_asof(planes, by="order_id"')
    text = text.replace('columns={"does": "does"}', 'columns={"does": "does"}, within="1h"')
    loaded.file.write_text(text)
    timed = load_product(loaded.file)
    contract = timed.inputs["shop.orders"]
    registry = MemoryRegistry()
    held = registry.register("shop.orders-value", contract.text, compatibility="NONE")
    times = [begin + timedelta(minutes=minute) for minute in range(0, 160, 10)]
    frame = pl.DataFrame({"order_id": ["o"] * 16, "at": times}).cast(
        {"at": pl.Datetime("ms", "UTC")}
    )
    encoded = Encoder(contract, held.schema_id).encode(frame.with_row_index("_row"))
    written = zip(encoded.keys, encoded.values, strict=True)
    records = MemoryRecords(
        "shop.orders",
        [
            RawRecord(Partition("shop.orders", n % 2), n, 0, key, value)
            for n, (key, value) in enumerate(written)
        ],
    )
    since = int(begin.timestamp() * 1000) + 25 * 60_000
    timed.tables["shop.planes"].rows.apply(
        pl.DataFrame(
            {
                "plane": ["o", "o"],
                "does": ["exit", None],
                TASK: [1, 1],
                TIME: [since, since + 40 * 60_000],
                DELETED: [False, True],
            }
        )
    )
    setting = Setting(timed.file, {"shop.bills": SchemaIds(1)}, registry, STEP_S, timed.tables)
    sandbox = ChildSandbox(setting)
    try:
        assert [each.row for each in sandbox.guilty(records, alive)] == [3, 5]
    finally:
        sandbox.close()


def _timed(schema: dict[str, Any]) -> dict[str, Any]:
    """A contract with an event time."""
    kind = {"type": "long", "logicalType": "timestamp-millis"}
    field = {"name": "at", "type": kind, "doc": "When."}
    return {**schema, "eventTime": "at", "fields": [*schema["fields"], field]}
