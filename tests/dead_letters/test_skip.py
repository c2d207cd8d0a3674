"""The audited skip of what halts a partition, on the real broker."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import Schema
from tests.dead_letters.conftest import SetAside
from tests.faults.damaging import damage, write_batch
from tests.faults.harness import START_S, Bench, until
from tests.registry.confluent import registry_client
from tests.topics.settled import settled

from headwater.errors import HaltedError
from headwater.model import Partition

pytestmark = pytest.mark.kafka

HALTED: Final = 65
REFUSED: Final = 78
INCOMPATIBLE: Final = {
    "type": "record",
    "name": "Departure",
    "namespace": "operations",
    "fields": [{"name": "gate", "type": "string"}],
}


def sound(world: SetAside, suffix: str) -> list[bytes]:
    """Three departures that were not there before."""
    rows = world.fed.tail(3).with_columns(flight_id=world.fed.tail(3)["flight_id"] + suffix)
    return list(world.bench.encoder(world.source).encode(rows.with_row_index("_row")).values)


def halt(world: SetAside, partition: Partition) -> None:
    """One record that the product's contract can never read, and good ones behind it."""
    schema = Schema(json.dumps(INCOMPATIBLE), "AVRO")
    with registry_client(world.bench.addresses.registry) as client:
        client.set_compatibility(f"{world.source}-value", "NONE")
        schema_id = client.register_schema(f"{world.source}-value", schema)
    unreadable = b"\0" + schema_id.to_bytes(4, "big") + b"\x04A1"
    values = [unreadable, *sound(world, "-behind")]
    write_batch(world.bench.kafka, partition, values, is_gzip=True)


def stand(world: SetAside, partition: Partition, offset: int) -> None:
    """A position of the product before it ever ran: nobody is in its group yet.

    The first commit of a group may find its coordinator still loading.
    """
    consumer = Consumer({**world.bench.kafka, "group.id": world.product})
    place = TopicPartition(partition.topic, partition.index, offset)

    def is_taken() -> bool:
        try:
            consumer.commit(offsets=[place], asynchronous=False)
        except KafkaException as refused:
            if not refused.args[0].retriable():
                raise
            return False
        return True

    until(is_taken, START_S, "the group takes a position")
    consumer.close()


def note(world: SetAside, partition: Partition) -> str:
    """What stands beside the position of the product."""
    consumer = Consumer({**world.bench.kafka, "group.id": world.product})
    try:
        asked = [TopicPartition(partition.topic, partition.index)]
        (found,) = consumer.committed(asked, timeout=10)
    finally:
        consumer.close()
    return found.metadata or ""


@pytest.mark.slow  # waits until the group is surely in use, and then until it is surely empty
def test_a_stopped_product_is_moved_on_from_where_it_stands(
    set_aside: Callable[[str, int], SetAside],
) -> None:
    """Only from exactly there, only when it is stopped, and the audit log says who and why."""
    world = set_aside("skip", 1)
    bench, partition = world.bench, Partition(world.source, 0)
    at = bench.topics.ends(world.source)[partition]
    halt(world, partition)
    published = len(world.outputs())
    place = (f"{partition}@{at}", "--reason", "a test of another feed")

    with bench.run(world.product, until_end=False) as run:

        def is_halted() -> bool:
            standing = bench.topics.group_offsets(world.product, world.source)
            return standing[partition] == at and "halted" in run.errors()

        until(is_halted, START_S, "the partition is halted")
        running = world.command("skip", *place)
        assert running.returncode == REFUSED, running.stdout
        assert "GROUP_ACTIVE" in running.stderr
        run.send(signal.SIGTERM)
        run.exit_code()
    elsewhere = world.command("skip", f"{partition}@{at + 1}", "--reason", "a test")
    assert elsewhere.returncode == REFUSED
    assert "NOT_THERE" in elsewhere.stderr

    done = world.command("skip", *place)
    goes_on = f"{world.product} goes on at {partition}@{at + 1}: 1 offset skipped\n"
    assert (done.returncode, done.stdout) == (0, goes_on), done.stderr
    assert bench.topics.group_offsets(world.product, world.source)[partition] == at + 1
    assert "outputs" in note(world, partition)
    world.run()
    assert len(world.outputs()) == published + 3
    settled(bench.topics, "_headwater.audit")
    (mark,) = (
        record
        for record in bench.records("_headwater.audit")
        if (record.key or b"").startswith(world.source.encode())
    )
    assert mark.key == f"{world.source}/0/{at}".encode()
    for said in (b"a test of another feed", b"skipped", b"tester"):
        assert said in (mark.value or b"")


def test_a_damaged_batch_is_skipped_as_a_whole(
    bench: Bench, flights: pl.DataFrame, session_home: Path
) -> None:
    """However it is damaged, nothing else is lost: what stands behind comes out, up to the next."""
    world = SetAside(bench, "damaged", flights.head(60))
    partition, other = Partition(world.source, 0), Partition(world.source, 1)
    ends = bench.topics.ends(world.source)
    begins = [ends[partition], ends[partition] + 9]
    for begin, is_resealed in zip(begins, (True, False), strict=True):
        lost = sound(world, f"-{begin}-lost") * 2
        write_batch(bench.kafka, partition, lost, is_gzip=is_resealed)
        write_batch(bench.kafka, partition, sound(world, f"-{begin}-behind"), is_gzip=True)
        assert damage(session_home, partition, begin, is_resealed=is_resealed) == begin + 5
    stand(world, partition, begins[0])

    done = world.answer("skip", f"{partition}@{begins[0]}", "--reason", "a bad disk")
    place = {"topic": world.source, "partition": 0}
    assert done == {**place, "offset": begins[0], "next_offset": begins[0] + 6}
    with pytest.raises(HaltedError, match="CORRUPT_RECORD"):
        world.run()
    assert bench.topics.group_offsets(world.product, world.source)[partition] == begins[1]
    found = world.outputs()
    assert len(found) == ends[other] + 3
    assert sum(flight.endswith("-behind") for flight in found) == 3


def test_a_place_that_does_not_exist_is_told_from_one_of_no_topic(
    bench: Bench, flights: pl.DataFrame
) -> None:
    """No such partition, or no such topic any more; nothing is skipped."""
    world = SetAside(bench, "nowhere", flights.head(2))
    no_partition = world.command("skip", f"{world.source}[7]@1", "--reason", "a test")
    assert no_partition.returncode == REFUSED
    assert f"{world.source} has 2 partitions, numbered from 0" in no_partition.stderr
    admin = AdminClient({**bench.kafka})
    admin.delete_topics([world.source])[world.source].result(20)
    until(lambda: bench.topics.partitions(world.source) is None, START_S, "the topic is gone")
    no_topic = world.command("skip", f"{world.source}[0]@1", "--reason", "a test")
    assert no_topic.returncode == REFUSED
    assert no_topic.stderr == f"TOPIC_MISSING: there is no topic {world.source}\n"
