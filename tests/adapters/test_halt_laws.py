"""The laws of partitions that stand still, which Kafka and the broker in memory obey alike."""

import pytest
from tests.adapters.outside import Member, Outside, until

from headwater.model import Partition

QUIET_POLLS = 5  # half a second of the real broker, in which what must not come would come


def _values(member: Member, partition: Partition) -> list[int]:
    return [int(value or b"") for value in member.values()[partition]]


def _filled(outside: Outside, records: int = 40) -> tuple[str, Partition, Partition]:
    topic = outside.topic("in", 2)
    outside.write(topic, *(b"%d" % i for i in range(records)))
    return topic, Partition(topic, 0), Partition(topic, 1)


def _quiet(member: Member) -> list[int]:
    before = len(member.records)
    for _ in range(QUIET_POLLS):
        member.poll()
    return [int(record.value or b"") for record in member.records[before:]]


def test_a_halted_partition_brings_nothing_and_the_others_go_on(outside: Outside) -> None:
    """What was fetched behind the place is dropped; records written later come from the others."""
    topic, still, other = _filled(outside)
    reader = outside.member(topic)
    until(lambda: bool(reader.values()[still]), reader)
    reader.source.halt({still: 2})
    reader.records.clear()
    outside.write(topic, *(b"%d" % i for i in range(40, 80)))
    until(lambda: reader.source.caught_up().get(other, 0) == outside.settled(topic)[other], reader)
    assert _quiet(reader) == []
    assert reader.values()[still] == []
    assert still not in reader.source.caught_up()
    assert still in reader.source.assignment()


def test_resume_does_not_wake_a_halted_partition(outside: Outside) -> None:
    """A wait for the registry pauses and resumes all; one that stands still goes on standing."""
    topic, still, other = _filled(outside)
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 40, reader)
    reader.source.halt({still: 1})
    reader.source.pause()
    reader.source.resume()
    assert _quiet(reader) == []
    reader.source.seek({other: 0})
    until(lambda: len(reader.values()[other]) > 40 - len(reader.values()[still]), reader)


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_seek_ends_a_halt(outside: Outside, is_paused: bool) -> None:
    """A rewind reads the partition anew from where it was sought, once the pause of all ends."""
    topic, still, _ = _filled(outside)
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 40, reader)
    first = _values(reader, still)
    reader.source.halt({still: 3})
    assert _quiet(reader) == []
    reader.records.clear()
    if is_paused:
        reader.source.pause()
    reader.source.seek({still: 2})
    if is_paused:
        assert _quiet(reader) == []
        reader.source.resume()
    until(lambda: len(reader.records) == len(first) - 2, reader)
    assert _values(reader, still) == first[2:]


def test_a_halt_ends_with_the_assignment(outside: Outside) -> None:
    """Whoever gets the partition next reads it, the same member too."""
    topic, still, _ = _filled(outside)
    reader = outside.member(topic)
    until(lambda: len(reader.records) == 40, reader)
    reader.source.halt({still: 3})
    reader.records.clear()
    second = outside.member(topic, member="two")
    # without a committed position each holder begins at 0
    until(lambda: len(reader.records) + len(second.records) >= 40, reader, second)
    holder = reader if still in reader.source.assignment() else second
    assert _values(holder, still)


def test_the_end_of_a_halted_partition_is_the_read_committed_one(outside: Outside) -> None:
    """Its lag is told all the same, and an open transaction upstream is no lag."""
    topic, still, _ = _filled(outside)
    reader, ends = outside.member(topic), outside.settled(topic)
    until(lambda: len(reader.records) == 40, reader)
    reader.source.halt({still: 3})
    log = outside.log()
    log.begin()
    log.produce(topic, [b"%d" % i for i in range(20)], [b"0"] * 20)
    until(lambda: outside.topics.high_watermarks(topic)[still] > ends[still], reader)
    assert reader.source.ends([still]) == {still: ends[still]}
