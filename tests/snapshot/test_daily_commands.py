"""On a real broker, of what `headwater run` committed: days that close, and the log's proof."""

import json
import uuid
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from tests.snapshot.test_commands import Project

from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.memory.partitioner import partition_of
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.addresses import resolve
from headwater.assembly.diff import outside
from headwater.assembly.processor import Processor, Telling
from headwater.assembly.project import load_product
from headwater.assembly.reading import product_of
from headwater.assembly.recomputation import Recomputation
from headwater.assembly.snapshots import Snapshots
from headwater.config import load_settings
from headwater.contract import Encoder, load_contract
from headwater.embedded import Addresses
from headwater.observe.health import Health
from headwater.observe.metrics import Metrics
from headwater.observe.monitor import ProcessMonitor
from headwater.ports import DaysClosed, TopicSettings

pytestmark = pytest.mark.kafka

PARTITIONS = 4
SCHEMA = {
    "type": "record",
    "name": "Sale",
    "namespace": "shop",
    "doc": "One sale.",
    "key": "id",
    "eventTime": "at",
    "fields": [
        {"name": "id", "type": "string", "doc": "The till."},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When."},
    ],
}
PRODUCT = """
from headwater import DataProduct, Snapshot

product = DataProduct(
    name="{topic}",
    owner="shop@example.org",
    snapshot=Snapshot(every="1h", mode="daily", lateness="30m"),
)
product.publish(product.stream("{topic}-carts", contract=1), contract=1)
"""


def tills() -> list[str]:
    """Three keys of three partitions: the fourth stays empty for ever."""
    found: dict[int, str] = {}
    for number in range(100):
        name = f"till-{number}"
        found.setdefault(partition_of(name.encode(), PARTITIONS), name)
    return [found[index] for index in range(3)]


@pytest.fixture
def shop(tmp_path: Path, stack: Addresses) -> Project:
    """A product without state over an input that is empty."""
    topic = f"shop.sales-{uuid.uuid4().hex[:8]}"
    for name in (topic, f"{topic}-carts"):
        folder = tmp_path / "schemas" / name.replace(".", "/").replace("-", "_")
        folder.mkdir(parents=True)
        (folder / "v1.avsc").write_text(json.dumps(SCHEMA))
    product = tmp_path / "products" / topic.replace(".", "/").replace("-", "_")
    product.mkdir(parents=True)
    (product / "product.py").write_text(PRODUCT.format(topic=topic))
    settings = TopicSettings(f"{topic}-carts", PARTITIONS, "log")
    KafkaTopics({"bootstrap.servers": stack.kafka}).create([settings])
    return Project(tmp_path, topic, stack)


def sell(shop: Project, sales: list[tuple[str, datetime]]) -> None:
    """Publish sales to the input, and let the product run to its end."""
    contract = load_contract(shop.root / "schemas", f"{shop.topic}-carts", 1)
    with closing(SchemaRegistry({"url": shop.stack.registry})) as registry:
        registered = registry.register(
            f"{contract.topic}-value", contract.text, compatibility=contract.compatibility
        )
    frame = pl.DataFrame(sales, schema=contract.columns, orient="row")
    encoded = Encoder(contract, registered.schema_id).encode(frame)
    producer = Producer(
        {
            "bootstrap.servers": shop.stack.kafka,
            "partitioner": "murmur2_random",
            "log_level": 2,
        }
    )
    for key, value in zip(encoded.keys, encoded.values, strict=True):
        producer.produce(contract.topic, value, key)
    assert producer.flush(20) == 0
    metrics = Metrics(shop.topic)
    telling = Telling(ProcessMonitor(metrics, Health()), metrics.client_statistics)
    loaded, settings = load_product(shop.topic), resolve(load_settings())
    with closing(Processor(loaded, settings, telling, is_registering=True)) as processor:
        processor.loop.run(processor.targets())
    shop.await_end()


def enter(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the shop's directory, on its stack."""
    monkeypatch.chdir(shop.root)
    monkeypatch.setenv("HEADWATER_KAFKA", shop.stack.kafka)
    monkeypatch.setenv("HEADWATER_REGISTRY", shop.stack.registry)
    monkeypatch.setenv("HEADWATER_ENVIRONMENT", "dev")


def test_days_are_closed_by_what_the_inputs_brought(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a product without state, with a partition that is always empty; late rows are listed."""
    enter(shop, monkeypatch)

    def at(day: int, hour: int) -> datetime:
        return datetime(2026, 1, day, hour, tzinfo=UTC)

    def told(_done: int, _total: int) -> None:
        pass

    sold = [(till, at(day, hour)) for till in tills() for day in (1, 2) for hour in (3, 20)]
    sell(shop, [*sold, (tills()[0], at(3, 1)), (tills()[1], at(3, 2))])
    with closing(Snapshots(load_product(shop.topic), resolve(load_settings()))) as snapshots:
        taken = snapshots.take(shop.topic, told)
        assert taken.rows == 14
        # the third till has not passed the second day
        assert taken.days == DaysClosed("2026-01-02")
        assert snapshots.take(shop.topic, told).version is None
        sell(shop, [(tills()[0], at(1, 23)), (tills()[2], at(3, 1))])
        taken = snapshots.take(shop.topic, told)
        assert taken.days == DaysClosed("2026-01-03", corrected={"2026-01-01": 1})
        assert snapshots.verify(shop.topic, told, full=True).outcome == "equal"
    with product_of(shop.topic, shop.topic, load_settings()) as product:
        days = product.days()
        first = product.days(product.cuts()[0])
    assert [days.state(date(2026, 1, day)) for day in (1, 2, 3)] == ["complete", "complete", "open"]
    assert first.state(date(2026, 1, 2)) == "open"
    assert days.corrections == {date(2026, 1, 1): 1}


def test_the_log_of_a_product_with_state_is_what_its_inputs_make(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two runs: the second goes on with the state of the first, the proof begins anew."""
    enter(shop, monkeypatch)
    (file,) = shop.root.rglob("product.py")
    file.write_text(
        file.read_text().replace(
            "contract=1), contract", "contract=1).dedupe('id', within='2h'), contract"
        )
    )
    for hours in ((1, 2, 4), (5, 9)):
        sell(
            shop,
            [(till, datetime(2026, 1, 1, hour, tzinfo=UTC)) for hour in hours for till in tills()],
        )
    with outside(resolve(load_settings())) as read_from:
        proof = Recomputation(load_product(shop.topic), read_from)
        (verdict,) = proof.run(lambda _done, _total: None)
    assert (verdict.outcome, verdict.logged) == ("equal", 9)
