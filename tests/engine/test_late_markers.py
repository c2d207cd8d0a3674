"""A restore while the markers of the predecessor's last transaction are on their way.

A commit is answered before its markers are in the logs: until then a read_committed reader sees
less of a changelog than is committed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.engine.counting import CHANGELOG
from tests.engine.test_state import fed, run

from headwater.adapters.memory import MemoryRangeReader, MemoryTopics
from headwater.errors import OutageError
from headwater.model import Partition, Positions


def _delay(monkeypatch: pytest.MonkeyPatch, looks: float) -> None:
    """Let the read_committed ends of the changelog lag for so many looks at them.

    Nobody may read it meanwhile: a real reader would stand still at the end that it sees.
    """
    left = [looks]
    ends, read = MemoryTopics.ends, MemoryRangeReader.read

    def lagging(self: MemoryTopics, topic: str) -> Positions:
        found = ends(self, topic)
        if topic != CHANGELOG or left[0] <= 0:
            return found
        left[0] -= 1
        return {partition: max(end - 3, 0) for partition, end in found.items()}

    def patient(
        self: MemoryRangeReader, ranges: Mapping[Partition, tuple[int, int]], **options: Any
    ) -> Iterator[Any]:
        is_early = left[0] > 0 and any(each.topic == CHANGELOG for each in ranges)
        assert not is_early, "it reads what is not decided"
        return read(self, ranges, **options)

    monkeypatch.setattr(MemoryTopics, "ends", lagging)
    monkeypatch.setattr(MemoryRangeReader, "read", patient)


def test_what_is_not_decided_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was committed is restored, whatever a reader saw of it at first."""
    world = fed()
    world.feed(*[b"b"] * 10)
    _delay(monkeypatch, 5)
    run(world, "two")
    world.check_complete()


def test_a_transaction_that_hangs_on_a_changelog_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the time in which the broker ends any: 69, and the tool to end it with."""
    world = fed()
    world.feed(b"b")
    _delay(monkeypatch, float("inf"))
    began_s = world.broker.clock.monotonic()
    ended = run(world, "two").ended
    assert isinstance(ended, OutageError)
    assert ended.exit_code == 69
    assert str(ended).startswith(f"A transaction on {CHANGELOG} is open for 60 s and more; find ")
    assert world.broker.clock.monotonic() - began_s > 60
