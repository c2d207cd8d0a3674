"""Bulk publishing: in order, and never silently less than was handed over."""

import os
import uuid

import pytest

from headwater.adapters.kafka import bulk
from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.embedded import Addresses
from headwater.errors import StartRefusedError, UnavailableError
from headwater.model import Partition
from headwater.ports import TopicSettings

pytestmark = pytest.mark.kafka


@pytest.fixture
def topic(stack: Addresses) -> str:
    """A log of one partition nobody used before."""
    name = f"bulk.{uuid.uuid4().hex}"
    KafkaTopics({"bootstrap.servers": stack.kafka}).create([TopicSettings(name, 1, "log")])
    return name


def test_more_records_than_fit_the_queue_arrive_in_order(
    stack: Addresses, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue makes the writer wait; it neither drops nor reorders."""
    monkeypatch.setattr(bulk, "QUEUE_RECORDS", 1_000)
    config = {"bootstrap.servers": stack.kafka, "queue.buffering.max.messages": "1500"}
    writer = BulkWriter(config)
    values = [number.to_bytes(4, "big") for number in range(20_000)]
    for start in range(0, len(values), 500):
        part = values[start : start + 500]
        writer.write(topic, [b"key"] * len(part), part)
    writer.flush()
    reader = KafkaLogReader({"bootstrap.servers": stack.kafka})
    ranges = {Partition(topic, 0): (0, len(values))}
    found = [v for records in reader.read(ranges, max_records=5_000) for v in records.values]
    reader.close()
    assert found == values


def test_a_record_the_broker_refuses_is_told(stack: Addresses, topic: str) -> None:
    """A record that is too large ends the feed with the broker's word for it."""
    writer = BulkWriter({"bootstrap.servers": stack.kafka, "message.max.bytes": "4000000"})
    writer.write(topic, [b"key"], [os.urandom(3_000_000)])  # nothing that compresses
    with pytest.raises(StartRefusedError, match="MSG_SIZE_TOO_LARGE"):
        writer.flush()


def test_a_broker_that_is_away_is_told_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for ever for a broker that does not come."""
    monkeypatch.setattr(bulk, "DELIVERY_MS", 1_000)
    writer = BulkWriter({"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": "500"})
    writer.write("any", [b"key"], [b"value"])
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        writer.flush()
