"""SQL over snapshot and log of tables that are divided, and of keys of several columns."""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tests.reader.opened import KnownSchemas, opened
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS
from tests.snapshot.test_divided import KINDS, SALES, Sales, at

from headwater.adapters.memory import MemoryBroker
from headwater.contract import Contract, Encoder, key_schema, parse_contract
from headwater.model import SchemaRef
from headwater.ports import Table, TopicSettings
from headwater.reader.product import Product
from headwater.reader.sql import Query
from headwater.snapshot.rows import RowCodec

TOPIC = "shop.prices"
VALUE_ID, KEY_ID = 21, 22
KEY = ("shop", "size", "number", "day", "is_paid", "price", "raw", "noted")
PARTITIONS = 1  # where keys that differ little are neighbours
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST: dict[str, Any] = {
    "shop": "north",
    "size": "S",
    "number": 1,
    "day": date(2026, 1, 1),
    "is_paid": False,
    "price": Decimal("0.10"),
    "raw": b"\x00",
    "noted": MIDNIGHT,
    "at": MIDNIGHT,
}
OTHERS: list[dict[str, Any]] = [
    FIRST | {name: value}
    for name, value in {
        "shop": "north ",
        "size": "L",
        "number": -(2**63),
        "day": date(1969, 7, 20),
        "is_paid": True,
        "price": Decimal("0.01"),
        "raw": b"",
        "noted": MIDNIGHT + timedelta(milliseconds=1),
    }.items()
]
"""Rows whose keys are another than that of the first by one part each."""


def contract() -> Contract:
    """Prices whose key is everything but their amount and event time."""
    kinds = {**KINDS, "shop": "string"}
    names = [*KEY, "at", "amount"]
    fields = [{"name": name, "type": kinds[name], "doc": "A field."} for name in names]
    schema = {"type": "record", "name": "Price", "namespace": "shop", "doc": "One price."}
    text = json.dumps({**schema, "key": KEY, "eventTime": "at", "fields": fields})
    return parse_contract(text, topic=TOPIC, version=1, path=Path("v1.avsc"))


PRICES = contract()
SCHEMAS: dict[SchemaRef, str] = {VALUE_ID: PRICES.text, KEY_ID: key_schema(PRICES) or ""}
ENCODER = Encoder(PRICES, VALUE_ID, KEY_ID)


@dataclass
class Prices:
    """A log of prices, compacted or not, the table of the latest of them, and what it is now."""

    by: str | None
    directory: Path
    format: str = "delta"
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    now: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker.create(TopicSettings(TOPIC, PARTITIONS, "log", {"cleanup.policy": "compact"}))

    def publish(self, *rows: dict[str, Any]) -> None:
        """Prices as they are now."""
        encoded = ENCODER.encode(framed(*rows))
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(TOPIC, value, key=key)
        self._replace(*rows)
        self.now += rows

    def delete(self, *rows: dict[str, Any]) -> None:
        """Tombstones of their keys."""
        for key in ENCODER.encode(framed(*(each | {"amount": 0.0} for each in rows))).keys:
            self.broker.append(TOPIC, None, key=key)
        self._replace(*rows)

    def _replace(self, *rows: dict[str, Any]) -> None:
        gone = [[row[name] for name in KEY] for row in rows]
        self.now = [each for each in self.now if [each[name] for name in KEY] not in gone]

    def table(self) -> Table:
        """A new handle."""
        return FORMATS[self.format](self.directory, product=TOPIC, topic=TOPIC)

    def take(self) -> None:
        """Take a snapshot."""
        codec = RowCodec(PRICES, VALUE_ID, KEY_ID, lookup=SCHEMAS.__getitem__).divided(self.by)
        processes.take(self, codec, mode="latest", clock=self.broker.clock)

    def product(self) -> Product:
        """The product as a consumer opens it."""
        registry = KnownSchemas(SCHEMAS.__getitem__)
        return opened(self, lambda: PRICES, registry, self.broker.clock)

    def expected(self) -> list[dict[str, Any]]:
        """What the table should be now; of one that is divided by it, with the day."""
        day = self.by == "_date"
        return [
            each | ({"_date": each["at"] and each["at"].date()} if day else {}) for each in self.now
        ]


def framed(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as the encoder takes them."""
    return pl.DataFrame(rows, schema=PRICES.columns, orient="row").with_row_index("_row")


def answered(product: Product, text: str, *, is_live: bool) -> list[dict[str, Any]]:
    """The rows of an answer."""
    batches = Query(text, lambda _name: product, is_live=is_live).rows()
    rows: list[dict[str, Any]] = pa.Table.from_batches(batches).to_pylist()
    return rows


def sold(product: Product, *, is_live: bool = True) -> list[dict[str, Any]]:
    """Every row of a product, without its place in the log."""
    text = "SELECT * EXCLUDE (_partition, _offset, _timestamp) FROM 'a.b'"
    return answered(product, text, is_live=is_live)


def in_any_order(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Rows as text, which can be sorted whatever is null."""
    return sorted(sorted(f"{name}={value}" for name, value in each.items()) for each in rows)


@pytest.mark.parametrize(
    ("form", "by"),
    [
        *[(form, by) for form in FORMATS for by in (None, "_date")],
        *[("delta", by) for by in ("shop", "size", "number", "day", "is_paid")],
    ],
)
def test_live_is_the_state_of_now_for_keys_of_several_columns(
    tmp_path: Path, form: str, by: str | None
) -> None:
    """Every part of a key tells rows apart; a row may change the value that divides the table."""
    prices = Prices(by, tmp_path / "prices", form)
    rows = [each | {"amount": float(n)} for n, each in enumerate([FIRST, *OTHERS])]
    prices.publish(*rows)
    prices.take()
    prices.publish(rows[0] | {"amount": 99.0})  # its neighbours stay those of the snapshot
    assert_now(prices)
    for part in (rows[:5], rows[4:]):
        for n, each in enumerate(part):
            prices.publish(each | {"amount": 100.0 + n, "at": None if n % 2 else at(9)})
        prices.delete(*part[::2], part[1])
        prices.publish(part[1])
        assert_now(prices)
        prices.take()
    assert_now(prices)
    assert len(prices.now) == 4


def assert_now(prices: Prices) -> None:
    """A live query has all rows of now, and no other."""
    assert in_any_order(sold(prices.product())) == in_any_order(prices.expected())


@pytest.mark.parametrize("mode", ["append", "latest"])
@pytest.mark.parametrize(
    ("form", "by"), [*((form, "_date") for form in FORMATS), ("delta", "shop")]
)
def test_live_of_a_divided_table_has_its_columns_in_every_row(
    tmp_path: Path, form: str, by: str, mode: str
) -> None:
    """Also the day of events in the log; keys move from value to value, and null is one."""
    sales = Sales(by, mode, tmp_path / "sales", form)
    sales.publish(("a", at(1), "x"), ("b", at(2), "y/z"), ("c", None, None), ("d", at(1, 23), "x"))
    sales.take()
    sales.publish(("a", at(3), "50%"), ("e", None, "x"), ("c", at(1), "Ærø"), ("b", at(2), None))
    product = opened(sales, lambda: SALES, KnownSchemas(lambda _reference: SALES.text))
    expected = [dict(zip(("id", "at", "shop"), sale, strict=True)) for sale in sales.expected()]
    if by == "_date":
        expected = [each | {"_date": each["at"] and each["at"].date()} for each in expected]
    assert in_any_order(sold(product)) == in_any_order(expected)
    before = sold(product, is_live=False)
    assert len(before) == 4
    assert [*before[0]] == [*sold(product)[0]]
    values = {each[by] for each in expected}
    assert None in values
    for value in values:
        held = "IS NULL" if value is None else f"= '{value}'"
        ids = answered(product, f"FROM 'a.b' SELECT id WHERE {by} {held}", is_live=True)
        named = [each["id"] for each in expected if each[by] == value]
        assert sorted(each["id"] for each in ids) == sorted(named)
