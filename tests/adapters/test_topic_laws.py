"""The laws of topics seen from outside, which Kafka and the broker in memory obey alike."""

from tests.adapters.outside import Outside, until

from headwater.model import Partition


def test_what_is_deleted_is_gone_and_the_rest_stays(outside: Outside) -> None:
    """Below the position of each partition, and nowhere else; asked again, nothing happens."""
    topic = outside.topic("purged", 2)
    outside.write(topic, *(b"%d" % number for number in range(40)))
    ends = outside.settled(topic)
    place = Partition(topic, 0)
    first = ends[place] // 2
    assert first > 0
    for _ in range(2):
        outside.topics.delete_before({place: first})
        until(lambda: outside.topics.beginnings(topic) == {place: first, Partition(topic, 1): 0})
    assert outside.topics.ends(topic) == ends


def test_all_of_a_partition_can_be_deleted(outside: Outside) -> None:
    """Up to its end, markers of transactions included."""
    topic = outside.topic("emptied", 1)
    outside.write(topic, b"a", b"b")
    ends = outside.settled(topic)
    outside.topics.delete_before(ends)
    until(lambda: outside.topics.beginnings(topic) == ends)
    assert outside.topics.ends(topic) == ends
