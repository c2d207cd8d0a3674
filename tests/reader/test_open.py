"""A product opened by its name, on a real broker and registry."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported unmarked
    AdminClient,
    NewPartitions,
)
from tests.reader.book import folded
from tests.reader.shop import FIELDS, Place, contract, places
from tests.snapshot.compaction import compact
from tests.topics.settled import settled

import headwater
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.contract import Contract, Encoder
from headwater.embedded import Addresses
from headwater.embedded.process import wait_until
from headwater.errors import ConfigurationError, ReadRefusedError
from headwater.ports import TopicSettings
from headwater.reader import log as reader_log
from headwater.reader.product import Product
from headwater.reader.reading import Reading
from headwater.snapshot.latest import LatestSnapshotter
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
        self._producer = self._begun()

    def _begun(self) -> Producer:
        """One that knows the partitions of now."""
        producer = Producer({**self.kafka, "transactional.id": self.topic, "log_level": 2})
        producer.init_transactions(20)
        return producer

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

    def delete(self, numbers: range) -> None:
        """Tombstones of orders."""
        self._producer.begin_transaction()
        for number in numbers:
            self._producer.produce(self.topic, None, f"order-{number}")
        self._producer.commit_transaction(20)

    def grow(self, partitions: int) -> None:
        """Give the topic more partitions, and publish into them too from now on."""
        admin = AdminClient({**self.kafka})
        admin.create_partitions([NewPartitions(self.topic, partitions)])[self.topic].result(20)
        topics = KafkaTopics(self.kafka)
        assert wait_until(lambda: topics.partitions(self.topic) == partitions, 60)
        self._producer = self._begun()

    def await_end(self) -> None:
        """Until all that was committed can be read."""
        settled(KafkaTopics(self.kafka), self.topic)

    def take(self, mode: type[Snapshotter | LatestSnapshotter] = Snapshotter) -> None:
        """Take a snapshot of all that was published."""
        self.await_end()
        with closing(KafkaLogReader(self.kafka)) as reader:
            mode(
                product=self.topic,
                topic=self.topic,
                topics=KafkaTopics(self.kafka),
                reader=reader,
                table=DeltaSnapshotTable(
                    DirectoryFiles(self.root / self.topic), product=self.topic, topic=self.topic
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


def of_count(reading: Reading, count: int) -> list[Place]:
    """The next so many rows of a reading without end, in whole frames."""
    read: list[Place] = []
    while len(read) < count:
        read += places(next(reading))
    assert len(read) == count
    return read


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


def test_partitions_that_come_while_a_reader_follows_are_read_from_their_first_record(
    orders: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event once; tokens of before, of between and of behind go on where they were told."""
    monkeypatch.setattr(reader_log, "IDENTITY_S", 0.5)
    orders.publish(200)
    orders.take()
    orders.publish(100)
    with orders.open() as product:
        reading = product.read()
        read = of_count(reading, 300)  # beyond the snapshot: it follows the log
        before = reading.token
        orders.grow(5)
        orders.publish(200)
        read += of_count(reading, 200)
        assert (
            {partition for partition, _ in read} == reading.position.offsets.keys() == {*range(5)}
        )
        reading.close()
        orders.publish(50, is_aborted=True)
        orders.publish(100)
        orders.await_end()
        for token, seen in (("snapshot", 0), (before, 300), (reading.token, 500)):
            again = product.read(token, "now")
            rest = [place for frame in again for place in places(frame)]
            assert sorted(read[:seen] + rest) == sorted(set(read[:seen] + rest))
            assert len(rest) == 600 - seen
            assert list(product.read(again.token, "now")) == []
        following = product.read(before)
        assert sorted(of_count(following, 300)) == sorted(read[300:] + rest)
        following.close()


def test_a_reader_that_waits_for_ever_is_closed_by_another_thread(orders: Published) -> None:
    """It is told so while it polls the broker, and its token goes on."""
    orders.publish(30)
    orders.take()
    read, codes = threading.Event(), []
    with orders.open() as product:
        reading = product.read()

        def follow() -> None:
            of_count(reading, 30)
            read.set()
            with pytest.raises(ReadRefusedError) as refused:
                next(reading)
            codes.append(refused.value.code)

        reader = threading.Thread(target=follow)
        reader.start()
        assert read.wait(60)
        reading.close()
        reader.join(60)
        assert codes == ["READING_ENDED"]
        orders.publish(20)
        assert len(of_count(product.read(reading.token), 20)) == 20


def test_the_latest_rows_and_their_changes_are_read_while_the_broker_compacts(
    orders: Published,
) -> None:
    """What it really drops in between is no gap: folded, what was read is what the log says."""
    compact(orders.topic, orders.stack.kafka)
    orders.publish(300)
    orders.take(LatestSnapshotter)
    with orders.open() as product:
        reading = product.read()
        state = folded([next(reading)])
        orders.delete(range(250, 300))
        written, deadline_s = 350, time.monotonic() + 60
        while sum(frame.height for frame in product.events(end="now")) >= written:
            assert time.monotonic() < deadline_s, "nothing was compacted"
            orders.orders = 0
            orders.publish(100)  # the newest segment stays, so others must follow
            written += 100
        orders.delete(range(10))
        orders.await_end()
        reading.close()
        rest = product.read(reading.token, "now")
        folded(rest, state)
        held = list(product.events(end="now"))
        assert state == folded(held)
        assert sorted(order for _, order in state) == sorted(f"order-{n}" for n in range(10, 250))
        assert list(product.read(rest.token, "now")) == []
        assert product.snapshot().rows == 300


def test_what_is_not_there_is_one_sentence_with_a_code(orders: Published) -> None:
    """A name that is nobody's, a place without snapshots, a registry that is none."""
    with pytest.raises(ReadRefusedError, match=r"knows no product shop\.nobody") as refused:
        headwater.open("shop.nobody", kafka=orders.stack.kafka, registry=orders.stack.registry)
    assert refused.value.code == "PRODUCT_UNKNOWN"
    for name in ("", "shop.no\nbody", "shop.nobody/days", "n" * 3_000):  # no registry is asked
        with pytest.raises(ReadRefusedError, match="is no name of a product") as refused:
            headwater.open(name, kafka=orders.stack.kafka, registry=orders.stack.registry)
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
