"""What was read of repartition topics is deleted, and nothing else."""

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.clock import ManualClock
from headwater.engine import Purging
from headwater.engine.purging import PURGE_S
from headwater.model import Partition, Positions
from headwater.ports import TopicSettings

MOVED, INPUT = Partition("out.rekey-1.repartition", 0), Partition("in", 0)


class Topics(MemoryTopics):
    """Remembers what it was asked to delete."""

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.create([TopicSettings(each.topic, 1, "log") for each in (MOVED, INPUT)])
        self.asked: list[Positions] = []

    def delete_before(self, positions: Positions) -> None:
        self.asked.append(positions)
        super().delete_before(positions)


def test_what_is_committed_as_read_is_deleted_every_half_minute() -> None:
    """Of repartition topics only, and only where something was read since."""
    topics, clock = Topics(), ManualClock()
    purging = Purging(topics, [MOVED.topic], clock)
    purging.turn({MOVED: 5, INPUT: 9})
    assert topics.asked == []
    clock.advance(PURGE_S)
    purging.turn({MOVED: 5, INPUT: 9})
    purging.turn({MOVED: 6, INPUT: 9})
    assert topics.asked == [{MOVED: 5}]
    clock.advance(PURGE_S)
    purging.turn({MOVED: 6, INPUT: 20})
    clock.advance(PURGE_S)
    purging.turn({MOVED: 6, INPUT: 30})
    assert topics.asked == [{MOVED: 5}, {MOVED: 6}]
    assert topics.beginnings(INPUT.topic) == {INPUT: 0}


def test_a_partition_that_comes_back_is_asked_for_again() -> None:
    """Another process may have read on meanwhile, and ended before it deleted anything."""
    topics, clock = Topics(), ManualClock()
    purging = Purging(topics, [MOVED.topic], clock)
    for committed in ({MOVED: 5}, {}, {MOVED: 5}):
        clock.advance(PURGE_S)
        purging.turn(committed)
    assert topics.asked == [{MOVED: 5}, {MOVED: 5}]
