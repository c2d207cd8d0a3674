"""A topic that is given more partitions while it has a snapshot."""

from pathlib import Path

import pytest
from tests.snapshot.lake import TOPIC, Lake

from headwater.adapters.memory import MemoryTopics
from headwater.errors import StartRefusedError
from headwater.model import Partition, Positions


def test_rows_of_a_new_partition_are_taken_from_its_first(tmp_path: Path) -> None:
    """Also those that were published before the next cut."""
    lake = Lake(tmp_path / "orders")
    lake.broker.grow(TOPIC, 5)
    lake.publish(300, 400)
    assert lake.take().rows == 100
    assert lake.verify().outcome == "equal"


def test_a_partition_that_is_added_between_two_looks_is_the_next_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is told, and its beginning was not yet."""
    lake = Lake(tmp_path / "orders")
    asked = MemoryTopics.ends

    def grown(topics: MemoryTopics, topic: str) -> Positions:
        lake.broker.grow(TOPIC, 5)
        lake.publish(300, 400)
        monkeypatch.setattr(MemoryTopics, "ends", asked)
        return asked(topics, topic)

    monkeypatch.setattr(MemoryTopics, "ends", grown)
    first = lake.take().rows
    assert 0 < first < 100
    assert lake.take().rows == 100 - first
    assert lake.verify().outcome == "equal"


def test_a_new_partition_that_lost_its_first_rows_is_refused(tmp_path: Path) -> None:
    """It began behind the last cut, so nothing of it was taken: a gap is no beginning."""
    lake = Lake(tmp_path / "orders")
    lake.broker.grow(TOPIC, 5)
    lake.publish(300, 400)
    log = lake.broker.partition(Partition(TOPIC, 4))
    log.truncate(log.end)
    with pytest.raises(StartRefusedError, match=r"shop\.orders\[4\]: next offset 0") as refused:
        lake.take()
    assert refused.value.code == "RANGE_LOST"
