"""The loop with state that is damaged: found at work, made anew, and when that is no way on."""

from collections.abc import Sequence

import pytest
from tests.engine.conftest import EchoTask
from tests.engine.counting import CountingWorld
from tests.engine.test_state import fed, run

from headwater.adapters.memory.stores import MemoryStores
from headwater.engine import Stores, Work
from headwater.engine.transaction import MAX_FAILURES
from headwater.errors import FatalError, RebuildError, RetriableError
from headwater.model import Quarantine
from headwater.ports import Records


def damage(world: CountingWorld) -> None:
    """All rows but the first of each task, which is looked at when it is opened."""
    for task in range(3):
        store = world.disks["one"].open(task)
        keys = store.scan(b"", 10)[0][1:]
        store.write(keys, [b"\0"] * len(keys))
        store.close()


def test_damage_found_at_work_is_repaired_from_the_changelog() -> None:
    """The transaction is aborted, the task thrown away and restored, and nothing shows."""
    world = fed()
    damage(world)
    world.feed(*[b"b"] * 10)
    process = run(world)
    assert process.monitor.endings["committed"]
    assert len(process.monitor.restores) > 2, "once at the start, and again"
    world.check_complete()


def test_damage_on_a_disk_that_refuses_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is damaged cannot be thrown away yet: the reason is told, and it is not used either."""
    world = fed()
    damage(world)
    refused: list[int] = []
    discard = MemoryStores.discard

    def full(stores: MemoryStores, task: int) -> None:
        if len(refused) < 5:
            refused.append(task)
            raise RetriableError("The disk refuses the state: full.", code="STATE_STORAGE")
        discard(stores, task)

    monkeypatch.setattr(MemoryStores, "discard", full)
    world.feed(*[b"b"] * 10)
    process = run(world)
    assert len(refused) == 5
    assert "The disk refuses the state: full." in process.monitor.reasons
    world.check_complete()


class DamagedWorld(CountingWorld):
    """Work finds `found` damaged, one after another, as if they were partitions of its input."""

    found: Sequence[int] = ()

    def task(self, stores: Stores) -> EchoTask:
        task, left = super().task(stores), list(self.found)
        really = task.process

        def process(records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
            if left:
                raise RebuildError("The state is damaged.", task=left.pop())
            return really(records, guilty)

        task.process = process  # type: ignore[method-assign]  # of this one
        return task


def test_a_disk_that_damaged_every_task_is_mended() -> None:
    """Each task is found once: that is no loop that fails, however many there are."""
    world = DamagedWorld()
    world.found = range(3 * MAX_FAILURES)
    world.feed(*[b"a"] * 30)
    run(world)
    world.check_complete()


def test_a_task_that_is_damaged_again_and_again_ends_the_process() -> None:
    """What is made anew and found damaged at once is a cause that does not pass."""
    world = DamagedWorld()
    world.found = [1] * (2 + MAX_FAILURES)
    world.feed(*[b"a"] * 30)
    assert isinstance(run(world).ended, FatalError)
    world.check()
