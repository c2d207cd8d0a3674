"""Products with state over data that ends: the log so far, a snapshot of it, a file."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.memory import MemoryBroker, MemoryFollower, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.contract import Encoder, load_contract
from headwater.ports import TopicSettings
from headwater.reader.product import Product, Sources
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.writer import Snapshotter
from headwater.testing import ProductDriver

SALES: Final = "shop.sales"
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
FIELDS: Final[dict[str, Any]] = {
    "id": "string",
    "shop": "string",
    "at": {"type": "long", "logicalType": "timestamp-millis"},
    "price": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    "kind": {"type": "enum", "name": "Kind", "symbols": ["cash", "card"]},
    "opens": {"type": "int", "logicalType": "time-millis"},
    "tags": {"type": "map", "values": "long"},
}
PRODUCT: Final = """\
    from headwater import aggregates, tumbling
    sales = product.stream("shop.sales", contract=1)
    latest = sales.latest("id", by="at").select("id", "at", "kind", "opens", "tags")
    product.publish(latest, contract=1)
    firsts = sales.dedupe("id", within="30m").select("id", "at")
    product.publish(firsts, contract=1, port="firsts")
    towns = product.table("shop.towns", contract=1, broadcast=True)
    joined = sales.join(towns, on="shop").select("id", "at", "town")
    product.publish(joined, contract=1, port="joined")
    hours = sales.group_by("shop").window(tumbling("1h"))
    hourly = hours.agg(sales=aggregates.count(), dearest=aggregates.max("price"))
    hourly = hourly.select("shop", "window_start", "sales", "dearest")
    product.publish(hourly, contract=1, port="hourly")
"""


@pytest.fixture
def driver(project: Any) -> ProductDriver:
    """A product with the latest, the first, joins and windows of sales."""
    at = {"type": "long", "logicalType": "timestamp-millis"}
    young = {"name": "young", "check": "_age > INTERVAL '90000 days'", "severity": "warn"}
    project.contract(SALES, FIELDS, eventTime="at", rules=[young])
    project.contract("shop.towns", {"id": "string", "town": "string"})
    kept = {name: FIELDS[name] for name in ("id", "at", "kind", "opens", "tags")}
    project.contract("shop.many", kept)
    project.contract("shop.many.firsts", {"id": "string", "at": at})
    project.contract("shop.many.joined", {"id": "string", "at": at, "town": ["null", "string"]})
    price = FIELDS["price"]
    hourly = {"shop": "string", "window_start": at, "sales": "long", "dearest": ["null", price]}
    path = project.contract("shop.many.hourly", hourly)
    path.write_text(path.read_text().replace('"key": "id",', ""))
    project.product("shop.many", PRODUCT)
    made = ProductDriver("shop.many")
    made.table("shop.towns", [{"id": "s1", "town": "Bern"}, {"id": "s2", "town": "Wien"}])
    return made


class Upstream:
    """Sales in a log of three partitions in memory, and a Delta table of them."""

    def __init__(self, root: Path, registry: MemoryRegistry) -> None:
        self.broker = MemoryBroker()
        self.broker.create(TopicSettings(SALES, 3, "log", {"cleanup.policy": "delete"}))
        self.registry = registry
        self.contract = load_contract(root / "schemas", SALES, 1)
        text = self.contract.text
        registered = self.registry.register(f"{SALES}-value", text, compatibility="NONE")
        self.schema_id = registered.schema_id
        self.table = DeltaSnapshotTable(
            DirectoryFiles(root / "tables" / SALES), product=SALES, topic=SALES
        )

    def publish(self, sales: pl.DataFrame) -> None:
        """One sale a second."""
        encoded = Encoder(self.contract, self.schema_id).encode(sales.with_row_index("_row"))
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.clock.advance(1)
            self.broker.append(SALES, value, key=key)

    def snapshot(self) -> pl.LazyFrame:
        """What a consumer of its newest snapshot gets."""
        Snapshotter(
            product=SALES,
            topic=SALES,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            table=self.table,
            codec=RowCodec(self.contract, self.schema_id, lookup=self.registry.schema),
            clock=self.broker.clock,
        ).take()
        sources = Sources(
            topics=MemoryTopics(self.broker),
            registry=self.registry,
            open_table=lambda: self.table,
            open_range_reader=lambda: MemoryRangeReader(self.broker),
            open_follower=lambda: MemoryFollower(self.broker),
            clock=self.broker.clock,
        )
        return Product(lambda: self.contract, sources).snapshot().lazy()


def some_sales() -> pl.DataFrame:
    """Of few orders and shops, in four hours, up to twenty minutes out of order."""
    chance = random.Random(7)
    return pl.DataFrame(
        [
            {
                "id": f"o{chance.randrange(40)}",
                "shop": f"s{chance.randrange(4)}",
                "at": START + timedelta(minutes=n - chance.randrange(20)),
                "price": Decimal(chance.randrange(10_000)).scaleb(-2),
                "kind": chance.choice(["cash", "card"]),
                "opens": time(8, chance.randrange(60)),
                "tags": [{"key": "n", "value": n}],
            }
            for n in range(240)
        ],
        schema_overrides={
            "at": pl.Datetime("ms", "UTC"),
            "price": pl.Decimal(9, 2),
            "kind": pl.Enum(["cash", "card"]),
        },
    )


def test_the_log_a_snapshot_and_a_file_give_the_same(driver: ProductDriver, project: Any) -> None:
    """Rows of a snapshot are taken in the table's types, with where they stood beside them."""
    upstream, sales = Upstream(project.root, driver._registry), some_sales()
    upstream.publish(sales)
    log = sorted(upstream.broker.visible(SALES), key=lambda record: record.timestamp_ms)
    snapshot = upstream.snapshot().sort("_timestamp")
    snapshot.collect().write_parquet(project.root / "snapshot.parquet")
    sales.write_parquet(project.root / "sales.parquet")
    expected = _frames(driver, [record.value for record in log])
    assert all(frame.height > 10 for frame in expected.values())
    for given in (
        snapshot,
        pl.read_parquet(project.root / "snapshot.parquet"),
        pl.scan_parquet(project.root / "sales.parquet"),
    ):
        assert _frames(driver, given) == expected


def test_windows_of_a_snapshot_are_those_of_a_batch_computation(
    driver: ProductDriver, project: Any
) -> None:
    """In a plain Polars query over the same table, with rows that are not late for any window."""
    upstream, sales = Upstream(project.root, driver._registry), some_sales().sort("at")
    upstream.publish(sales)
    snapshot = upstream.snapshot()
    found = driver.run(snapshot.sort("_timestamp")).frame("hourly")
    by = ["shop", pl.col("at").dt.truncate("1h").dt.cast_time_unit("ms").alias("window_start")]
    expected = snapshot.collect().group_by(by).agg(sales=pl.len(), dearest=pl.max("price"))
    key = ["shop", "window_start"]
    assert found.sort(key).rows() == expected.sort(key).rows()


def test_a_row_of_a_snapshot_is_as_old_as_when_it_was_published(
    driver: ProductDriver, project: Any
) -> None:
    """Rules that ask for the age of a record are asked; other frames have no publish time."""
    upstream = Upstream(project.root, driver._registry)
    upstream.publish(some_sales().head(1))
    counts = [driver.run(given).violations for given in (upstream.snapshot(), some_sales().head(1))]
    assert [[each.rule for each in broken] for broken in counts] == [["young"], []]


class Equal(dict[str, pl.DataFrame]):
    """Frames by port, compared as Polars compares them."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Equal)
        return all(self[port].equals(frame) for port, frame in other.items())

    __hash__ = None  # frames have none


def _frames(driver: ProductDriver, given: Any) -> Mapping[str, pl.DataFrame]:
    outcome = driver.run(given)
    assert not outcome.dead_letters
    return Equal(outcome.frames)
