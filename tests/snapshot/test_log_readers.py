"""Laws that every adapter of the port LogReader obeys; the real one on a real broker."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pytest
from confluent_kafka import Producer
from tests.topics.settled import settled

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.memory import (
    MemoryBroker,
    MemoryRangeReader,
    MemoryTopics,
    MemoryTransactionalLog,
)
from headwater.embedded import Addresses
from headwater.errors import UnverifiableError
from headwater.model import Partition
from headwater.ports import LogReader, Topics, TopicSettings

SECONDS = 20.0  # for one client call


class Log(Protocol):
    """A topic with one partition, a transactional producer, and a reader."""

    topic: str
    topics: Topics
    reader: LogReader

    def write(self, values: Sequence[bytes]) -> None:
        """Open a transaction and write into it."""
        ...

    def end(self, *, is_commit: bool) -> None:
        """End the open transaction."""
        ...


class MemoryLog:
    def __init__(self) -> None:
        self.topic = "shop.orders"
        broker = MemoryBroker()
        self.topics: Topics = MemoryTopics(broker)
        self.topics.create([TopicSettings(self.topic, 1, "log")])
        self.reader: LogReader = MemoryRangeReader(broker)
        self._producer = MemoryTransactionalLog(broker, transactional_id="one")
        self._producer.initialise()

    def write(self, values: Sequence[bytes]) -> None:
        self._producer.begin()
        self._producer.produce(self.topic, list(values), list(values))

    def end(self, *, is_commit: bool) -> None:
        (self._producer.commit if is_commit else self._producer.abort)()


class KafkaLog:
    def __init__(self, address: str) -> None:
        self.topic = f"readers-{uuid.uuid4().hex[:8]}"
        config = {"bootstrap.servers": address}
        self.topics: Topics = KafkaTopics(config)
        self.topics.create([TopicSettings(self.topic, 1, "log")])
        self.reader: LogReader = KafkaLogReader(config)
        self._producer = Producer({**config, "transactional.id": self.topic, "log_level": 2})
        self._producer.init_transactions(SECONDS)

    def write(self, values: Sequence[bytes]) -> None:
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(self.topic, value, value)
        assert self._producer.flush(SECONDS) == 0

    def end(self, *, is_commit: bool) -> None:
        producer = self._producer
        (producer.commit_transaction if is_commit else producer.abort_transaction)(SECONDS)
        settled(self.topics, self.topic)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """A log with nothing in it."""
    found: Log
    if request.param == "memory":
        found = MemoryLog()
    else:
        addresses: Addresses = request.getfixturevalue("stack")
        found = KafkaLog(addresses.kafka)
    yield found
    found.reader.close()


@pytest.fixture
def read(log: Log) -> Callable[[int, int], list[int]]:
    """The offsets in a range, read in small steps."""

    def offsets(start: int, end: int) -> list[int]:
        ranges = {Partition(log.topic, 0): (start, end)}
        found: list[int] = []
        for records in log.reader.read(ranges, max_records=3):
            assert 0 < len(records) <= 3
            assert set(records.partitions()) == {0}
            assert list(records.keys()) == list(records.values)
            found += records.offsets()
        return found

    return offsets


Read = Callable[[int, int], list[int]]


def end_of(log: Log) -> int:
    """The read_committed end."""
    return log.topics.ends(log.topic)[Partition(log.topic, 0)]


def test_a_range_is_read_exactly(log: Log, read: Read) -> None:
    """`[start, end)`, again and again from the same reader."""
    log.write([b"%d" % n for n in range(10)])
    log.end(is_commit=True)
    assert read(0, 10) == list(range(10))
    assert read(4, 7) == [4, 5, 6]
    assert read(9, 10) == [9]
    assert read(5, 5) == []


def test_control_records_at_the_end_of_a_range_are_passed(log: Log, read: Read) -> None:
    """A read up to the read_committed end returns although its last offset is no record."""
    log.write([b"a", b"b"])
    log.end(is_commit=True)
    assert end_of(log) == 3
    assert read(0, 3) == [0, 1]
    assert read(2, 3) == []


def test_aborted_records_are_passed_wherever_they_stand(log: Log, read: Read) -> None:
    """Aborted transactions in the middle and at the end neither show nor hang."""
    log.write([b"a", b"b"])
    log.end(is_commit=True)
    log.write([b"never"] * 5)
    log.end(is_commit=False)
    log.write([b"c"])
    log.end(is_commit=True)
    log.write([b"never"] * 5)
    log.end(is_commit=False)
    assert end_of(log) == 17
    assert read(0, end_of(log)) == [0, 1, 9]
    assert read(3, 8) == []


def test_an_open_transaction_beyond_the_end_does_not_delay_a_read(log: Log, read: Read) -> None:
    """The cut stands before the first open transaction, and is reached."""
    log.write([b"a"])
    log.end(is_commit=True)
    log.write([b"open"])
    assert end_of(log) == 2
    assert read(0, 2) == [0]
    log.end(is_commit=True)
    assert read(0, end_of(log)) == [0, 2]


def test_a_range_the_log_does_not_hold_is_named(log: Log, read: Read) -> None:
    """Beyond the end there is nothing to wait for."""
    log.write([b"a"])
    log.end(is_commit=True)
    with pytest.raises(UnverifiableError) as refused:
        read(0, 99)
    assert refused.value.code == "RANGE_LOST"
