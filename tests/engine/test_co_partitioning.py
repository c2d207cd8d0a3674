"""A task is whole or is not worked on."""

import pytest
from tests.engine.conftest import World

from headwater.engine.co_partitioning import require_equal_counts, require_whole_tasks
from headwater.errors import StartRefusedError
from headwater.model import Partition

GROUP = ("orders", "payments")


def test_topics_of_one_task_have_equally_many_partitions() -> None:
    """Each topic is told with its count; one that is not there yet does not count."""
    require_equal_counts([GROUP], {"orders": 4, "payments": 4})
    require_equal_counts([GROUP], {"orders": 4, "payments": None})
    with pytest.raises(StartRefusedError, match="orders has 4, payments has 3 part") as caught:
        require_equal_counts([GROUP], {"orders": 4, "payments": 3})
    assert (caught.value.code, caught.value.exit_code) == ("CO_PARTITIONING", 78)


def test_an_assignment_holds_tasks_whole() -> None:
    """Whichever part is missing is named; other topics are assigned as they please."""
    whole = [Partition(topic, index) for topic in GROUP for index in (0, 2)]
    require_whole_tasks([GROUP], [*whole, Partition("else", 7)])
    require_whole_tasks([GROUP], [])
    with pytest.raises(StartRefusedError, match=r"payments\[2\]") as caught:
        require_whole_tasks([GROUP], whole[:-1])
    assert caught.value.code == "CO_PARTITIONING"


def test_a_torn_task_stops_the_process_before_its_first_record() -> None:
    """A member that reads other topics tears it: nothing is published, no position moves."""
    world = World(inputs=("in", "other"))
    world.co_partitioned = [("in", "other", "out.count-1.changelog")]
    world.feed(b"a", b"a", b"a")
    process = world.process("one").begin()
    world.broker.group("product").join("zero", ["in"])
    process.step()
    assert isinstance(process.ended, StartRefusedError), process.ended
    assert process.ended.code == "CO_PARTITIONING"
    assert world.outputs() == []
