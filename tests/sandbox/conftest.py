"""A product whose step obeys its records, and a sandbox for it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sandbox.orders import PRODUCT, SCHEMA, STEP_S, TOPIC, encoded

from headwater.adapters.memory.reader import MemoryRecords
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.registration import SchemaIds
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.assembly.subjects import value_subject
from headwater.contract import load_contract


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one product whose step obeys its records."""
    root = tmp_path_factory.mktemp("project")
    file = root / "products/shop/bills/product.py"
    for name, text in (("orders", SCHEMA), ("bills", SCHEMA.replace('"Order"', '"Bill"'))):
        contract = root / "schemas/shop" / name / "v1.avsc"
        contract.parent.mkdir(parents=True)
        contract.write_text(text)
    file.parent.mkdir(parents=True)
    file.write_text(PRODUCT)
    return file


@pytest.fixture
def registry(product: Path) -> MemoryRegistry:
    """Knows the schema of the orders."""
    found = MemoryRegistry()
    text = load_contract(product.parents[3] / "schemas", TOPIC, 1).text
    found.register(value_subject(TOPIC), text, compatibility="FULL_TRANSITIVE")
    return found


@pytest.fixture
def sandbox(product: Path, registry: MemoryRegistry) -> Iterator[ChildSandbox]:
    """One for the product, closed at the end."""
    setting = Setting(product, {"shop.bills": SchemaIds(1)}, registry, step_timeout_s=STEP_S)
    made = ChildSandbox(setting)
    yield made
    made.close()


@pytest.fixture
def batch(product: Path) -> Callable[..., MemoryRecords]:
    """Makes a batch of 16 orders, a piece each, of which some at given rows do something."""

    def made(**orders: int) -> MemoryRecords:
        names = [f"order-{row}" for row in range(16)]
        for order, row in orders.items():
            names[row] = order.rstrip("0123456789")
        return encoded(product, names)

    return made


@pytest.fixture
def large(product: Path) -> Callable[[int, int], MemoryRecords]:
    """Makes a batch of so many innocent orders of so many bytes, and small keys."""

    def made(count: int, size: int) -> MemoryRecords:
        records = encoded(product, ["x" * size] * count).records
        return MemoryRecords(TOPIC, [replace(each, key=None) for each in records])

    return made
