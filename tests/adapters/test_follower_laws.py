"""The laws of topics that are followed, which Kafka and the broker in memory obey alike."""

from collections.abc import Callable, Iterator

import pytest
from tests.adapters.outside import POLL_S, Outside, until

from headwater.adapters.kafka.follower import KafkaFollower
from headwater.adapters.memory import MemoryFollower, MemoryTopics
from headwater.embedded import Addresses
from headwater.model import Partition, RawRecord
from headwater.ports import TopicFollower

QUIET_POLLS = 5  # half a second of the real broker, in which what must not come would come


class Reader:
    """A follower and everything it gave."""

    def __init__(self, follower: TopicFollower) -> None:
        self.follower = follower
        self.records: list[RawRecord] = []

    def poll(self) -> None:
        for batch in self.follower.poll(1000, POLL_S):
            self.records += [batch.raw(row) for row in range(len(batch))]

    def values(self) -> list[int]:
        return sorted(int(record.value or b"") for record in self.records)

    def until(self, condition: Callable[[], bool]) -> None:
        until(condition, self)


@pytest.fixture
def reader(outside: Outside, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """One of the broker at hand, closed at the end."""
    made: TopicFollower
    if isinstance(outside.topics, MemoryTopics):
        made = MemoryFollower(outside.topics._broker)
    else:
        addresses: Addresses = request.getfixturevalue("stack")
        made = KafkaFollower({"bootstrap.servers": addresses.kafka})
    yield Reader(made)
    made.close()


def test_everything_committed_comes_once_and_what_follows_too(
    outside: Outside, reader: Reader
) -> None:
    """From where it was told to begin, in the order of each partition; markers are passed."""
    topic = outside.topic("table", 2)
    outside.write(topic, *(b"%d" % n for n in range(40)))
    ends = outside.settled(topic)
    reader.follower.assign({Partition(topic, 0): 0, Partition(topic, 1): 0})
    reader.until(lambda: reader.follower.positions() == ends)
    assert reader.values() == list(range(40))
    for index in (0, 1):
        offsets = [each.offset for each in reader.records if each.partition.index == index]
        assert offsets == sorted(offsets)
    outside.write(topic, *(b"%d" % n for n in range(40, 60)))
    reader.until(lambda: reader.values() == list(range(60)))
    ends = outside.settled(topic)
    reader.until(lambda: reader.follower.positions() == ends)


def test_what_was_aborted_never_comes(outside: Outside, reader: Reader) -> None:
    """And the position passes it."""
    topic = outside.topic("table", 1)
    outside.write(topic, b"1")
    log = outside.log()
    log.begin()
    log.produce(topic, [b"k"], [b"2"])
    log.abort()
    outside.write(topic, b"3")
    ends = outside.settled(topic)
    reader.follower.assign({Partition(topic, 0): 0})
    reader.until(lambda: reader.follower.positions() == ends)
    assert reader.values() == [1, 3]


def test_nothing_comes_while_paused(outside: Outside, reader: Reader) -> None:
    """And nothing is lost by it."""
    topic = outside.topic("table", 1)
    outside.write(topic, b"1")
    reader.follower.assign({Partition(topic, 0): 0})
    reader.until(lambda: reader.values() == [1])
    reader.follower.pause()
    outside.write(topic, b"2")
    for _ in range(QUIET_POLLS):
        reader.poll()
    assert reader.values() == [1]
    reader.follower.resume()
    reader.until(lambda: reader.values() == [1, 2])


def test_no_group_is_joined(outside: Outside, reader: Reader) -> None:
    """Whoever lists the groups of the topic finds none of a table."""
    topic = outside.topic("table", 1)
    outside.write(topic, b"1")
    reader.follower.assign({Partition(topic, 0): 0})
    reader.until(lambda: reader.values() == [1])
    assert not outside.topics.group_offsets("headwater.reader", topic)


def test_records_are_told_apart_by_topic_and_each_piece_is_of_one_partition(
    outside: Outside, reader: Reader
) -> None:
    """Partitions of two topics have the same numbers; a poll brings both."""
    first, second = outside.topic("one", 1), outside.topic("two", 1)
    outside.write(first, *(b"%d" % n for n in range(20)))
    outside.write(second, *(b"%d" % n for n in range(100, 120)))
    reader.follower.assign({Partition(first, 0): 0, Partition(second, 0): 0})
    reader.until(lambda: len(reader.records) == 40)
    for topic, values in ((first, range(20)), (second, range(100, 120))):
        held = [each for each in reader.records if each.partition.topic == topic]
        assert [int(each.value or b"") for each in held] == list(values)


def test_other_partitions_may_take_the_place_of_some(outside: Outside, reader: Reader) -> None:
    """What goes brings nothing more; what stays goes on, and nothing comes twice."""
    topic = outside.topic("table", 3)
    zero, one, two = (Partition(topic, index) for index in range(3))
    outside.write(topic, *(b"%d" % n for n in range(60)))
    ends = outside.settled(topic)
    reader.follower.assign({zero: 0, one: 0})
    reader.until(
        lambda: all(reader.follower.positions()[each] == ends[each] for each in (zero, one))
    )
    assert two not in reader.follower.positions()
    reader.follower.assign({one: reader.follower.positions()[one], two: 0})
    outside.write(topic, *(b"%d" % n for n in range(60, 90)))
    more = outside.settled(topic)
    reader.until(
        lambda: all(reader.follower.positions()[each] == more[each] for each in (one, two))
    )
    assert zero not in reader.follower.positions()
    for each, end in ((zero, ends[zero]), (one, more[one]), (two, more[two])):
        offsets = [record.offset for record in reader.records if record.partition == each]
        assert offsets == sorted(set(offsets))
        assert max(offsets, default=-1) < end
    seen = {int(record.value or b"") for record in reader.records}
    of_zero = {int(r.value or b"") for r in outside.visible(topic) if r.partition == zero}
    assert seen | of_zero == set(range(90))
