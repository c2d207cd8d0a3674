"""What ends a process may hang on a row of a broadcast table: the child has them all."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.sandbox.orders import SCHEMA, STEP_S, alive, encoded

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.registration import SchemaIds, value_subject
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.contract import load_contract
from headwater.flow import DELETED
from headwater.model import Code

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
        assert all(each.code is Code.PROCESS_DIED and each.step == "map-2" for each in found)
