"""The laws of the transactional producer, which Kafka and the broker in memory obey alike."""

from uuid import uuid4

import pytest
from tests.adapters.outside import Outside, partial_produce, until

from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.memory.partitioner import partition_of
from headwater.embedded import Addresses
from headwater.errors import (
    AbortableError,
    FencedError,
)
from headwater.model import Letter, Partition
from headwater.ports import (
    CommitOutcome,
    TopicSettings,
)


def test_an_aborted_batch_leaves_no_visible_event(outside: Outside) -> None:
    """Aborted records are in the log and nobody sees them; the next transaction is seen."""
    topic, log = outside.topic("out"), outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"aborted"])
    log.abort()
    log.begin()
    log.produce(topic, [b"k"], [b"committed"])
    assert log.commit() is CommitOutcome.COMMITTED
    assert [record.value for record in outside.visible(topic)] == [b"committed"]


def test_an_empty_key_is_a_key(outside: Outside) -> None:
    """All its records are in the partition that its hash says; only those without a key go round.

    Rows whose key is null go through a repartition topic under it.
    """
    topic, log = outside.topic("out", 7), outside.log()
    log.begin()
    log.produce(topic, [b""] * 20, [b"%d" % number for number in range(20)])
    log.commit()
    found = outside.visible(topic)
    assert {record.partition.index for record in found} == {partition_of(b"", 7)}
    assert [record.key for record in found] == [b""] * 20


def test_nothing_is_visible_before_the_commit(outside: Outside) -> None:
    """The read_committed end stays behind an open transaction, and moves on with its commit."""
    topic, log = outside.topic("out", 1), outside.log()
    only = Partition(topic, 0)
    outside.write(topic, b"before")
    end = outside.settled(topic)[only]
    log.begin()
    log.produce(topic, [b"k"], [b"open"])
    log.produce_letters(topic, [Letter(b"k", b"open too", ())])
    reader = outside.member(topic)
    until(lambda: reader.source.caught_up() == {only: end}, reader)
    assert [record.value for record in reader.records] == [b"before"]
    log.commit()
    until(lambda: len(reader.records) == 3, reader)
    assert outside.settled(topic)[only] > end


def test_outputs_and_positions_become_visible_together(outside: Outside) -> None:
    """Neither before the commit, both after it."""
    source_topic, out = outside.topic("in", 1), outside.topic("out", 1)
    outside.write(source_topic, b"1", b"2")
    reader, log = outside.member(source_topic), outside.log()
    until(lambda: len(reader.records) == 2, reader)
    log.begin()
    log.produce(out, [b"k"], [b"made of 1 and 2"])
    log.send_offsets(
        {Partition(source_topic, 0): 2},
        {Partition(source_topic, 0): "note"},
        reader.source.group_token(),
    )
    assert outside.group_offsets(source_topic) == {}
    assert outside.topics.ends(out) == {Partition(out, 0): 0}
    assert log.commit() is CommitOutcome.COMMITTED
    assert reader.source.committed([Partition(source_topic, 0)]) == {Partition(source_topic, 0): 2}
    assert [record.value for record in outside.visible(out)] == [b"made of 1 and 2"]


def test_an_abort_takes_the_positions_back(outside: Outside) -> None:
    """Positions of an aborted transaction are never seen."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"1")
    reader, log = outside.member(topic), outside.log()
    until(lambda: len(reader.records) == 1, reader)
    log.begin()
    log.send_offsets(
        {Partition(topic, 0): 1}, {Partition(topic, 0): ""}, reader.source.group_token()
    )
    log.abort()
    assert reader.source.committed([Partition(topic, 0)]) == {}


def test_a_fenced_producer_cannot_commit(outside: Outside) -> None:
    """Of two producers with one id the later one wins, and the earlier publishes nothing."""
    topic, older = outside.topic("out"), outside.log()
    older.begin()
    older.produce(topic, [b"k"], [b"zombie"])
    newer = outside.log()
    with pytest.raises(FencedError):
        older.commit()
    newer.begin()
    newer.produce(topic, [b"k"], [b"alive"])
    newer.commit()
    assert [record.value for record in outside.visible(topic)] == [b"alive"]


def test_taking_over_an_id_ends_what_was_left_open(outside: Outside) -> None:
    """A successor does not wait for a timeout: the log is not stuck once it is initialised."""
    topic, dead = outside.topic("out", 1), outside.log()
    dead.begin()
    dead.produce(topic, [b"k"], [b"left open"])
    dead.produce_letters(topic, [Letter(None, b"left open", ())])
    outside.log()
    assert outside.visible(topic) == []


def test_a_recycled_client_goes_on(outside: Outside) -> None:
    """Recycling aborts what is open; the next transaction is an ordinary one."""
    topic, log = outside.topic("out"), outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"given up"])
    log.recycle()
    assert not log.is_doubtful()
    log.begin()
    log.produce(topic, [b"k"], [b"published"])
    assert log.commit() is CommitOutcome.COMMITTED
    assert [record.value for record in outside.visible(topic)] == [b"published"]


def test_a_produce_taken_in_part_is_aborted_as_a_whole(outside: Outside) -> None:
    """A record that is not taken asks for an abort; of its transaction nothing is seen."""
    topic, log = outside.topic("out"), outside.log()
    log.begin()
    with pytest.raises(AbortableError):
        partial_produce(outside, log, topic)
    log.abort()
    log.begin()
    log.produce(topic, [b"a"], [b"again"])
    assert log.commit() is CommitOutcome.COMMITTED
    assert [record.value for record in outside.visible(topic)] == [b"again"]


def test_closing_aborts_what_is_open(outside: Outside) -> None:
    """A clean end leaves nothing behind."""
    topic, log = outside.topic("out", 1), outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"open"])
    log.close()
    log.close()
    outside.write(topic, b"after")
    assert [record.value for record in outside.visible(topic)] == [b"after"]


def test_keys_go_where_murmur2_sends_them(outside: Outside) -> None:
    """Keys with the same bytes meet in one partition, the Java client's."""
    topic, log = outside.topic("out", 5), outside.log()
    keys = [f"key-{i % 20}".encode() for i in range(60)] + [b"", b"\x00\xff", "Zürich".encode()]
    log.begin()
    log.produce(topic, keys, keys)
    log.produce_letters(topic, [Letter(key, key, ()) for key in keys])
    log.commit()
    found = outside.visible(topic)
    assert len(found) == 2 * len(keys)
    for record in found:
        assert record.key is not None
        assert record.partition.index == partition_of(record.key, 5)


def test_records_go_into_the_partitions_given(outside: Outside) -> None:
    """Whatever their keys; a null value stays null, and the order per partition is kept."""
    topic, log = outside.topic("changes", 3), outside.log()
    log.begin()
    log.produce_to(topic, [2, 0, 2], [b"a", b"a", b"b"], [b"1", None, b"2"])
    log.produce_to(topic, [2], [b"a"], [None])
    assert log.commit() is CommitOutcome.COMMITTED
    found = [(r.partition.index, r.key, r.value) for r in outside.visible(topic)]
    assert found == [(0, b"a", None), (2, b"a", b"1"), (2, b"b", b"2"), (2, b"a", None)]


def test_a_commit_tells_how_far_its_partitions_were_written(outside: Outside) -> None:
    """The next offset behind the last record of each partition, of this transaction alone."""
    topic, log = outside.topic("changes", 3), outside.log()
    log.begin()
    log.produce_to(topic, [0, 1, 0], [b"a", b"b", b"c"], [b"1", b"2", b"3"])
    log.produce_to(topic, [1], [b"b"], [b"4"])
    log.commit()
    assert log.published() == {Partition(topic, 0): 2, Partition(topic, 1): 2}
    log.begin()
    log.produce_to(topic, [1], [b"b"], [b"5"])
    log.commit()
    # one offset between the transactions is the control record's
    assert log.published() == {Partition(topic, 1): 4}


def test_what_an_aborted_transaction_wrote_is_forgotten(outside: Outside) -> None:
    """After an abort the next one tells of itself only, and a recycled client of nothing."""
    topic, log = outside.topic("changes", 2), outside.log()
    log.begin()
    log.produce_to(topic, [0], [b"a"], [b"given up"])
    log.abort()
    log.begin()
    log.produce_to(topic, [1], [b"b"], [b"kept"])
    log.commit()
    assert log.published() == {Partition(topic, 1): 1}
    log.recycle()
    assert log.published() == {}


def test_records_of_a_key_keep_their_order(outside: Outside) -> None:
    """Over several produce calls and both ways to publish."""
    topic, log = outside.topic("out", 3), outside.log()
    log.begin()
    for i in range(30):
        log.produce(topic, [b"a", b"b"], [b"a%d" % i, b"b%d" % i])
        log.produce_letters(topic, [Letter(b"a", b"a%d'" % i, ())])
    log.commit()
    values = [record.value for record in outside.visible(topic) if record.key == b"a"]
    assert values == [value for i in range(30) for value in (b"a%d" % i, b"a%d'" % i)]


def test_letters_keep_key_value_and_headers(outside: Outside) -> None:
    """Headers in order, repeated names and null values included; a null value stays null."""
    topic, log = outside.topic("dead", 1), outside.log()
    headers = (("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None))
    log.begin()
    log.produce_letters(topic, [Letter(b"k", None, headers), Letter(None, b"\x00raw", ())])
    log.commit()
    first, second = outside.visible(topic)
    assert (first.key, first.value, tuple(first.headers)) == (b"k", None, headers)
    assert (second.key, second.value, tuple(second.headers)) == (None, b"\x00raw", ())


@pytest.mark.kafka
def test_more_records_than_the_client_queues_go_in_parts(stack: Addresses) -> None:
    """One batch may grow into more outputs than librdkafka holds (1,000,000)."""
    config = {"bootstrap.servers": stack.kafka}
    topics, topic = KafkaTopics(config), f"laws.{uuid4().hex[:10]}.many"
    topics.create([TopicSettings(topic, 1, "log")])
    log = KafkaTransactionalLog(config, transactional_id=topic)
    log.initialise()
    log.begin()
    count = 1_100_000
    log.produce(topic, [None] * count, [b"x"] * count)
    assert log.commit() is CommitOutcome.COMMITTED
    log.close()
    only = Partition(topic, 0)
    until(lambda: topics.ends(topic)[only] == count + 1)  # the marker takes an offset too
