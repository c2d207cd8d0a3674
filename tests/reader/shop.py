"""Orders in a log in memory, their snapshots, and a product that reads both."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from tests.reader.opened import opened

from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.contract import Contract, Encoder, parse_contract
from headwater.ports import Change, NewFile, Table, TopicSettings
from headwater.reader.product import Product
from headwater.snapshot.file_names import part_name
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.writer import Snapshotter, Taken

TOPIC = "shop.orders"
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "The order."},
    {"name": "amount", "type": "double", "doc": "What it costs."},
    {
        "name": "placed_at",
        "type": {"type": "long", "logicalType": "timestamp-millis"},
        "doc": "When it was placed.",
    },
]
NOTE = {"name": "note", "type": ["null", "string"], "default": None, "doc": "What was said."}
PARTITIONS = 3

Place = tuple[int, int]
"""Partition and offset."""


def contract(fields: list[dict[str, Any]]) -> Contract:
    """A contract of the orders."""
    schema = {"type": "record", "name": "Order", "namespace": "shop", "doc": "One order."}
    text = json.dumps({**schema, "key": "id", "fields": fields})
    return parse_contract(text, topic=TOPIC, version=1, path=Path("v1.avsc"))


class Shop:
    """A product whose orders are published in transactions, some of them aborted."""

    def __init__(self, table: Table | None = None) -> None:
        self.broker = MemoryBroker()
        self.broker.create(TopicSettings(TOPIC, PARTITIONS, "log", {"cleanup.policy": "delete"}))
        self.registry = MemoryRegistry()
        self.contract = contract(FIELDS)
        self.schema_id = self._register(self.contract)
        self.storage = MemoryStorage()
        self._table = table
        self._log = MemoryTransactionalLog(self.broker, transactional_id="shop")
        self._log.initialise()
        self._orders = 0

    def table(self) -> Table:
        """One more handle."""
        return self._table or MemoryTable(self.storage)

    def product(self, contract: Contract | None = None) -> Product:
        """The product as a consumer opens it, under the newest contract."""
        return opened(self, lambda: contract or self.contract, self.registry, self.broker.clock)

    def publish(self, orders: int, *, is_aborted: bool = False) -> None:
        """Orders in one transaction, which leaves a control record behind."""
        numbers = range(self._orders, self._orders + orders)
        self._orders += orders
        rows = pl.DataFrame(
            {
                "id": [f"order-{n}" for n in numbers],
                "amount": [n / 4 for n in numbers],
                "placed_at": pl.Series(numbers, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
            }
        )
        encoded = Encoder(self.contract, self.schema_id).encode(rows.with_row_index("_row"))
        self._log.begin()
        self._log.produce(TOPIC, encoded.keys, encoded.values)
        if is_aborted:
            self._log.abort()
        else:
            self._log.commit()

    def take(self) -> Taken:
        """Take a snapshot."""
        return Snapshotter(
            product=TOPIC,
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            table=self.table(),
            codec=RowCodec(self.contract, self.schema_id, lookup=self.registry.schema),
            clock=self.broker.clock,
        ).take()

    def compact(self, chance: random.Random) -> None:
        """Put all files of one partition into one, as upkeep does."""
        table = self.table()
        index = chance.randrange(PARTITIONS)
        names = [each.name for each in table.files() if each.name.startswith(f"part-{index}-")]
        if len(names) < 2:
            return
        batches = [batch for name in names for batch in table.scan(name)]
        rows = pa.Table.from_batches(batches).sort_by("_offset")
        offsets = rows["_offset"]
        name = part_name(index, offsets[0].as_py(), offsets[-1].as_py() + 1)
        table.commit(Change([NewFile(name, rows)], None, removed=names))

    def published(self) -> list[Place]:
        """Where every committed order stands."""
        return [(each.partition.index, each.offset) for each in self.broker.visible(TOPIC)]

    def _register(self, made: Contract) -> int:
        found = self.registry.register(f"{TOPIC}-value", made.text, compatibility="FULL_TRANSITIVE")
        return found.schema_id


def places(frame: pl.DataFrame) -> list[Place]:
    """Where the rows of a frame stand, in its order."""
    return [(p, o) for p, o in frame.select("_partition", "_offset").rows()]


def assert_each_once(read: list[Place], published: list[Place]) -> None:
    """Each event exactly once, in order per partition."""
    for index in range(PARTITIONS):
        assert [o for p, o in read if p == index] == [o for p, o in published if p == index]
