"""The laws of reading and seeking, which Kafka and the broker in memory obey alike."""

import pytest
from tests.adapters.outside import Outside, until

from headwater.errors import (
    StartRefusedError,
)
from headwater.model import Letter, Partition
from headwater.ports import CommitOutcome, Records


def test_columns_agree_with_the_records(outside: Outside) -> None:
    """Values, keys, places and times of a batch are those of its rows."""
    topic = outside.topic("in")
    outside.write(topic, *(b"%d" % i for i in range(20)))
    reader = outside.member(topic)
    batches: list[Records] = []
    while sum(map(len, batches)) < 20:
        batches += reader.poll()
    for batch in batches:
        rows = [batch.raw(row) for row in range(len(batch))]
        assert batch.topic == topic
        assert list(batch.values) == [row.value for row in rows]
        assert list(batch.keys()) == [row.key for row in rows]
        assert list(batch.partitions()) == [row.partition.index for row in rows]
        assert list(batch.offsets()) == [row.offset for row in rows]
        assert list(batch.timestamps_ms()) == [row.timestamp_ms for row in rows]
        assert batch.ends() == {row.partition: row.offset + 1 for row in rows}
    published = reader.source.publish_times_ms()
    assert set(published) == {record.partition for record in reader.records}


def test_headers_are_those_of_the_rows_that_have_some(outside: Outside) -> None:
    """Names may come twice and texts may be null; asked again, they are the same."""
    topic, log = outside.topic("in", 1), outside.log()
    marked = [("trace", b"1"), ("trace", b"\xff"), ("none", None), ("", b"")]
    log.begin()
    log.produce(topic, [b"a"], [b"without"])
    log.produce_letters(topic, [Letter(b"a", b"with", marked)])
    assert log.commit() is CommitOutcome.COMMITTED
    outside.write(topic, b"after")
    reader = outside.member(topic)
    batches: list[Records] = []
    while sum(map(len, batches)) < 3:
        batches += reader.poll()
    for batch in batches:
        for _ in range(2):
            found = {batch.raw(row).value: list(each) for row, each in batch.headers().items()}
            assert found == ({b"with": marked} if b"with" in batch.values else {})
    assert [list(record.headers) for record in reader.records] == [[], marked, []]


def test_a_poll_brings_no_more_than_asked_for(outside: Outside) -> None:
    """And skips nothing because of it."""
    topic = outside.topic("in", 1)
    outside.write(topic, *(b"%d" % i for i in range(10)))
    reader = outside.member(topic)
    while len(reader.records) < 10:
        assert sum(map(len, reader.poll(3))) <= 3
    assert [record.value for record in reader.records] == [b"%d" % i for i in range(10)]


def test_control_records_and_aborted_ones_are_passed(outside: Outside) -> None:
    """`caught_up` says the read_committed end, though the last record lies before it."""
    topic, log = outside.topic("in", 1), outside.log()
    only = Partition(topic, 0)
    outside.write(topic, b"seen")
    log.begin()
    log.produce(topic, [b"k"] * 3, [b"aborted"] * 3)
    log.abort()
    reader, ends = outside.member(topic), outside.settled(topic)
    until(lambda: reader.source.caught_up() == ends, reader)
    assert [record.offset + 1 for record in reader.records] == [1]
    assert ends[only] > 1


def test_caught_up_forgets_an_end_once_more_records_came(outside: Outside) -> None:
    """An end that was passed is no end."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"1")
    reader = outside.member(topic)
    until(lambda: bool(reader.source.caught_up()), reader)
    outside.write(topic, b"2")
    until(lambda: len(reader.records) == 2, reader)
    assert all(end > 2 for end in reader.source.caught_up().values())


def test_seek_gives_the_records_again_in_order(outside: Outside) -> None:
    """Of the partitions named; the others go on."""
    topic = outside.topic("in", 2)
    outside.write(topic, *(b"%d" % i for i in range(20)))
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 20, reader)
    first = reader.values()
    partition = Partition(topic, 1)
    reader.records.clear()
    reader.source.seek({partition: 2})
    until(lambda: len(reader.records) == len(first[partition]) - 2, reader)
    assert reader.values() == {partition: first[partition][2:]}


def test_seek_to_the_same_place_again_and_again_loses_nothing(outside: Outside) -> None:
    """A rewind in the middle of what is fetched: every record still comes once after the last."""
    topic = outside.topic("in", 1)
    outside.write(topic, *(b"%d" % i for i in range(50)))
    reader = outside.member(topic)
    for _ in range(5):
        while not reader.poll(7):
            pass
        reader.source.seek({Partition(topic, 0): 0})
    reader.records.clear()
    until(lambda: len(reader.records) >= 50, reader)
    assert [record.value for record in reader.records] == [b"%d" % i for i in range(50)]


def test_a_position_outside_the_log_stops(outside: Outside) -> None:
    """No silent reset: the position is named as lost."""
    topic = outside.topic("in", 1)
    outside.write(topic, b"1")
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 1, reader)
    reader.source.seek({Partition(topic, 0): 1000})
    with pytest.raises(StartRefusedError) as refused:
        until(lambda: False, reader)
    assert refused.value.code == "DATA_LOSS"


def test_paused_inputs_bring_nothing_and_lose_nothing(outside: Outside) -> None:
    """Polling goes on while paused; after it every record comes once."""
    topic = outside.topic("in")
    reader = outside.member(topic)
    until(lambda: len(reader.source.caught_up()) == 2, reader)
    reader.source.pause()
    outside.write(topic, *(b"%d" % i for i in range(10)))
    for _ in range(5):
        assert not reader.poll()
    reader.source.resume()
    until(lambda: len(reader.records) >= 10, reader)
    assert sorted(str(record.value) for record in reader.records) == sorted(
        str(b"%d" % i) for i in range(10)
    )
