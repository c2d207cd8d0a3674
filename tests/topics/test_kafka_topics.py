"""Topics and groups of a real broker, seen from outside the data path."""

import time
import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from headwater.adapters.kafka import topics as module
from headwater.adapters.kafka.topics import KafkaTopics, check_topic, config_of
from headwater.embedded import Addresses
from headwater.errors import StartRefusedError, UnavailableError
from headwater.model import Partition
from headwater.ports import TopicSettings

pytestmark = pytest.mark.kafka
Make = Callable[..., str]


@pytest.fixture
def topics(stack: Addresses) -> KafkaTopics:
    """The port over the session's broker."""
    return KafkaTopics({"bootstrap.servers": stack.kafka})


@pytest.fixture
def make(topics: KafkaTopics) -> Make:
    """Create a topic nobody used before; gives its name."""

    def create(kind: str = "log", partitions: int = 2) -> str:
        name = f"topics.{uuid.uuid4().hex}"
        topics.create([TopicSettings(name, partitions, kind)])  # type: ignore[arg-type]
        return name

    return create


@pytest.fixture
def publish(stack: Addresses) -> Callable[..., Producer]:
    """Publish one record, in a transaction when there is an id: committed, or left open."""

    def send(topic: str, transaction: str = "", commit: bool = True) -> Producer:
        properties = {"bootstrap.servers": stack.kafka, "linger.ms": 0}
        if not transaction:
            producer = Producer(properties)
            producer.produce(topic, b"v", partition=0)
            assert producer.flush(10) == 0
            return producer
        producer = Producer({**properties, "transactional.id": transaction})
        producer.init_transactions(10)
        producer.begin_transaction()
        producer.produce(topic, b"v", partition=0)
        assert producer.flush(10) == 0
        if commit:
            producer.commit_transaction(10)
        return producer

    return send


@pytest.mark.parametrize("kind", ["log", "table", "dead-letters", "source"])
def test_a_created_topic_has_the_settings_of_its_kind(
    topics: KafkaTopics, make: Make, kind: str
) -> None:
    """What `create` makes, `check_topic` accepts; logs are kept for ever."""
    settings = TopicSettings(make(kind, 3), 3, kind)  # type: ignore[arg-type]
    assert check_topic(topics, settings) == []
    in_force = topics.config(settings.name)
    assert {name: in_force[name] for name in config_of(settings)} == config_of(settings)


def test_creating_again_changes_nothing(topics: KafkaTopics, make: Make) -> None:
    """Creation is idempotent, also beside new topics."""
    old, new = make(partitions=2), f"topics.{uuid.uuid4().hex}"
    identity = topics.topic_id(old)
    topics.create([TopicSettings(old, 4, "table"), TopicSettings(new, 1, "log")])
    assert (topics.partitions(old), topics.partitions(new)) == (2, 1)
    assert topics.topic_id(old) == identity


def test_every_difference_of_an_existing_topic_is_told(topics: KafkaTopics, make: Make) -> None:
    """A log that forgets is found before anything runs."""
    name = make("dead-letters", 2)
    told = check_topic(topics, TopicSettings(name, 4, "log"))
    assert told == [
        f"topic {name}: it has 2 partitions, expected 4",
        f"topic {name}: retention.ms is 2592000000, expected -1",
    ]


def test_an_absent_topic_is_told_by_name(topics: KafkaTopics) -> None:
    """Absence is an answer to `partitions` and a sentence everywhere else."""
    assert topics.partitions("topics.nowhere") is None
    assert check_topic(topics, TopicSettings("topics.nowhere", 1, "log")) == [
        "topic topics.nowhere does not exist"
    ]
    with pytest.raises(StartRefusedError, match=r"topics\.nowhere") as refusal:
        topics.ends("topics.nowhere")
    assert refusal.value.code == "TOPIC_MISSING"


def test_a_setting_the_broker_refuses_is_told(topics: KafkaTopics) -> None:
    """The broker's own words reach the user."""
    settings = TopicSettings("topics.refused", 1, "log", {"cleanup.policy": "burn"})
    with pytest.raises(StartRefusedError, match="burn"):
        topics.create([settings])


def test_ends_are_read_committed(
    topics: KafkaTopics, make: Make, publish: Callable[..., Producer]
) -> None:
    """An open transaction is below the high watermark and beyond the end."""
    name = make()
    publish(name, f"{name}.done")
    while topics.ends(name)[Partition(name, 0)] < 2:  # markers follow the answer
        continue
    pending = publish(name, f"{name}.open", commit=False)
    first, second = Partition(name, 0), Partition(name, 1)
    assert topics.beginnings(name) == {first: 0, second: 0}
    assert topics.high_watermarks(name)[first] == 3  # a record, its commit marker, a record
    assert topics.ends(name) == {first: 2, second: 0}
    pending.abort_transaction(10)
    while topics.high_watermarks(name)[first] < 4:
        continue
    assert topics.ends(name) == topics.high_watermarks(name)


def test_a_time_finds_the_first_record_from_then_on(
    topics: KafkaTopics, make: Make, publish: Callable[..., Producer]
) -> None:
    """Partitions with nothing from then on answer their end."""
    name = make()
    publish(name)
    assert topics.at_time(name, 0) == {Partition(name, 0): 0, Partition(name, 1): 0}
    later = int(time.time() * 1000) + 60_000
    assert topics.at_time(name, later) == {Partition(name, 0): 1, Partition(name, 1): 0}


def test_group_offsets_leave_out_what_was_never_committed(
    topics: KafkaTopics, make: Make, stack: Addresses
) -> None:
    """No position is not position zero."""
    name = make()
    assert topics.group_offsets(f"{name}.group", name) == {}
    consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": f"{name}.group"})
    consumer.commit(offsets=[TopicPartition(name, 1, 0)], asynchronous=False)
    consumer.close()
    assert topics.group_offsets(f"{name}.group", name) == {Partition(name, 1): 0}


def test_a_broker_that_is_away_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call ends, and names the address and the reason; a hang is ended by the test's limit."""
    monkeypatch.setattr(module, "CALL_S", 1.0)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 .*refused"):
        KafkaTopics({"bootstrap.servers": "127.0.0.1:1"}).partitions("any")
