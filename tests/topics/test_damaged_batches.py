"""Where a damaged batch ends, on the real broker: no client tells, and an operator must know."""

from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer
from tests.faults.damaging import LINGER_MS, TAIL, await_leader, damage, write_batch

from headwater.adapters.kafka.damage import end_of_damage
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.embedded import Addresses
from headwater.model import Partition
from headwater.ports import TopicSettings

BATCHES: Final = (6, 9, 2_000, 5, 1)  # records each: the second, third and last are damaged
LAST: Final = 4  # the last of five records of a transaction
RESEALED: Final = 2  # the third gets the checksum of what it then is


@pytest.mark.kafka
def test_of_each_offset_it_is_told_where_its_damage_ends(
    stack: Addresses, session_home: Path
) -> None:
    """First, middle and last of a batch; two damaged side by side; one at the end of the log."""
    config, partition = {"bootstrap.servers": stack.kafka}, Partition("damaged-batches", 0)
    KafkaTopics(config).create([TopicSettings(partition.topic, 1, "log")])
    begins: list[int] = []
    for batch, records in enumerate(BATCHES):
        begins.append(sum(BATCHES[:batch]))
        values = [b"%d" % number * 20 for number in range(records)]
        write_batch(config, partition, values, is_gzip=batch == RESEALED)
    _, second, third, fourth, last = begins
    end = sum(BATCHES)
    damaged = {second: (third, False), third: (fourth, True), last: (end, False)}
    for begin, (behind, is_resealed) in damaged.items():
        assert damage(session_home, partition, begin, is_resealed=is_resealed) == behind - 1
    for begin, (behind, _) in damaged.items():
        for offset in (begin, (begin + behind) // 2, behind - 1):
            assert end_of_damage(config, partition, offset) == behind
    for sound in (0, second - 1, fourth, last - 1, end):
        assert end_of_damage(config, partition, sound) == sound


@pytest.mark.kafka
def test_damage_among_transactions_is_found_from_the_marker_before_it(
    stack: Addresses, session_home: Path
) -> None:
    """A product that passed every record may stand at the marker, not where the batch begins.

    Damage is told from there, and ends before its own marker.
    """
    config, partition = {"bootstrap.servers": stack.kafka}, Partition("damaged-transactions", 0)
    KafkaTopics(config).create([TopicSettings(partition.topic, 1, "log")])
    producer = Producer({**config, "transactional.id": "damaged", "linger.ms": LINGER_MS})
    producer.init_transactions(20)
    await_leader(producer, partition)
    for _ in range(3):
        producer.begin_transaction()
        for number in range(LAST + 1):
            tail = TAIL if number == LAST else None
            value = b"%d" % number * 20
            producer.produce(partition.topic, value, key=b"k", partition=0, headers=tail)
        producer.commit_transaction(20)
    marker, begin = 5, 6
    assert damage(session_home, partition, begin, is_resealed=False) == begin + LAST
    for offset in (marker, begin, begin + LAST):
        assert end_of_damage(config, partition, offset) == begin + 5
    for sound in (marker - 1, begin + 5):
        assert end_of_damage(config, partition, sound) == sound
