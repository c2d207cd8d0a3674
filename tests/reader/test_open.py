"""A product opened by its name, on a real broker and registry."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from tests.reader.shop import FIELDS, Place, contract, places

import headwater
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.contract import Contract, Encoder
from headwater.embedded import Addresses
from headwater.errors import ConfigurationError, ReadRefusedError
from headwater.ports import TopicSettings
from headwater.reader.product import Product
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.writer import Snapshotter

pytestmark = pytest.mark.kafka


class Published:
    """Orders on a real log, and its snapshots."""

    def __init__(self, stack: Addresses, root: Path) -> None:
        self.topic = f"shop.orders-{uuid.uuid4().hex[:8]}"
        self.contract: Contract = replace(contract(FIELDS), topic=self.topic)
        self.kafka = {"bootstrap.servers": stack.kafka}
        self.stack, self.root, self.orders = stack, root, 0
        KafkaTopics(self.kafka).create([TopicSettings(self.topic, 3, "log")])
        self.registry = SchemaRegistry({"url": stack.registry})
        self.schema_id = self.registry.register(
            f"{self.topic}-value", self.contract.text, compatibility="FULL_TRANSITIVE"
        ).schema_id
        self._producer = Producer({**self.kafka, "transactional.id": self.topic, "log_level": 2})
        self._producer.init_transactions(20)

    def publish(self, orders: int, *, is_aborted: bool = False) -> None:
        """Orders in one transaction."""
        numbers = range(self.orders, self.orders + orders)
        times = pl.Series(numbers, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
        ids = [f"order-{n}" for n in numbers]
        rows = pl.DataFrame({"id": ids, "amount": [n / 4 for n in numbers], "placed_at": times})
        encoded = Encoder(self.contract, self.schema_id).encode(rows)
        self._producer.begin_transaction()
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self._producer.produce(self.topic, value, key)
        if is_aborted:
            self._producer.flush(20)
            self._producer.abort_transaction(20)
        else:
            self._producer.commit_transaction(20)
            self.orders += orders

    def take(self) -> None:
        """Take a snapshot."""
        with closing(KafkaLogReader(self.kafka)) as reader:
            Snapshotter(
                product=self.topic,
                topic=self.topic,
                topics=KafkaTopics(self.kafka),
                reader=reader,
                table=DeltaSnapshotTable(
                    self.root / self.topic, product=self.topic, topic=self.topic
                ),
                codec=RowCodec(self.contract, self.schema_id, lookup=self.registry.schema),
            ).take()

    def open(self) -> Product:
        """As a consumer does."""
        return headwater.open(
            self.topic,
            kafka=self.stack.kafka,
            registry=self.stack.registry,
            snapshots=self.root,
        )


@pytest.fixture
def orders(stack: Addresses, tmp_path: Path) -> Iterator[Published]:
    """A log without orders so far."""
    published = Published(stack, tmp_path)
    with closing(published.registry):
        yield published


def test_a_consumer_reads_each_event_once_while_others_write(
    orders: Published,
) -> None:
    """Snapshot, hand-over and log; the reader is replaced again and again, by its token."""
    orders.publish(3_000)
    orders.publish(100, is_aborted=True)
    orders.take()
    orders.publish(500)

    def write() -> None:
        for round_ in range(6):
            orders.publish(50, is_aborted=round_ == 2)
            orders.take()

    writer = threading.Thread(target=write)
    writer.start()
    read: list[Place] = []
    ids: list[str] = []
    with orders.open() as product:
        reading = product.read()
        while len(ids) < 3_750:
            frame = next(reading)
            read += places(frame)
            ids += frame["id"].to_list()
            reading.close()
            reading = product.read(reading.token)
        writer.join()
        reading.close()
        assert list(product.read(reading.token, "now")) == []
        assert sorted(ids) == sorted(f"order-{n}" for n in range(3_750))
        assert all(
            [o for p, o in read if p == i] == sorted(o for p, o in read if p == i) for i in range(3)
        )
        whole = pl.concat(list(product.read("beginning", "now")))
        assert sorted(places(whole)) == sorted(read)
        assert product.snapshot().rows == 3_750


def test_what_is_not_there_is_one_sentence_with_a_code(orders: Published) -> None:
    """A name that is nobody's, a place without snapshots, a registry that is none."""
    with pytest.raises(ReadRefusedError, match=r"knows no product shop\.nobody") as refused:
        headwater.open("shop.nobody", kafka=orders.stack.kafka, registry=orders.stack.registry)
    assert refused.value.code == "PRODUCT_UNKNOWN"
    with orders.open() as product, pytest.raises(ReadRefusedError) as refused:
        product.read()
    assert refused.value.code == "NO_SNAPSHOT"


def test_without_addresses_the_settings_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where there are none, that is what is told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADWATER_KAFKA", raising=False)
    monkeypatch.delenv("HEADWATER_REGISTRY", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        headwater.open("shop.orders")
    assert {each.code for each in refused.value.problems} == {"NO_BROKER", "NO_REGISTRY"}
