"""The loop with event time: watermarks through commits, aborts, restarts and idleness."""

import json

import pytest
from tests.engine.closing import IdleWorld, WindowWorld
from tests.engine.test_exactly_once import few_or_many, run_histories

from headwater.adapters.memory import LostCommit


@pytest.mark.parametrize("world", [WindowWorld, IdleWorld])
@few_or_many(20, 400)
def test_every_history_closes_every_window_once(world: type[WindowWorld], examples: int) -> None:
    """Kills, zombies, rebalances, lost answers: each record in one window, late as recorded."""
    run_histories(world, examples=examples)


def run(world: WindowWorld) -> None:
    """One process from start to end."""
    world.broker.group("product").members.clear()
    process = world.process(poll_size=3)
    process.run()
    assert process.ended is None
    process.ended = "stopped"


def put(world: WindowWorld, *times: int, key: bytes = b"k") -> None:
    """Records of these event times, all in the partition of the key."""
    for time in times:
        world._fed += 1
        world.broker.append("in", b"a@%d#%d" % (time, world._fed), key=key)


def test_a_watermark_survives_a_restart() -> None:
    """What was late before it is late after it: the note beside the position says how far it is."""
    world = WindowWorld()
    put(world, 5, 25)
    run(world)
    put(world, 7, 26)
    run(world)
    assert [start for _, start in world.late()] == [0]
    (task, _), *_ = world.closed()
    assert json.loads(world.note(task))["watermark"] == 26


def quiet_for(world: WindowWorld, seconds: float) -> None:
    """A process that finds nothing for so long, and ends."""
    world.broker.group("product").members.clear()
    process = world.process().begin()
    for _ in range(int(seconds / 0.04)):
        process.step()
    process.stop()


def keys_of_two_partitions(world: WindowWorld) -> tuple[bytes, bytes]:
    """Two keys that the partitioner sends to different partitions."""
    found: dict[int, bytes] = {}
    for number in range(20):
        key = b"key-%d" % number
        put(world, 0, key=key)
        (where,) = [r.partition.index for r in world.broker.visible("in") if r.key == key]
        found.setdefault(where, key)
    first, second, *_ = found.values()
    return first, second


def test_an_idle_partition_goes_along_with_the_others() -> None:
    """Its windows close at the least of the active ones, and a restart knows that they did."""
    world = IdleWorld()
    slow, fast = keys_of_two_partitions(world)
    put(world, 31, key=slow)
    run(world)
    assert 30 not in {start for _, start in world.closed()}
    put(world, 99, key=fast)
    quiet_for(world, 1.0)
    (task,) = (task for task, start in world.closed() if start == 30)
    assert json.loads(world.note(task))["idle"]
    put(world, 32, key=slow)
    run(world)
    assert [start for _, start in world.late()] == [30]


@pytest.mark.parametrize("lost", list(LostCommit))
def test_a_lost_answer_to_a_commit_without_records_is_resolved(lost: LostCommit) -> None:
    """Positions that did not move tell nothing; the watermark in the note does."""
    world = IdleWorld()
    slow, fast = keys_of_two_partitions(world)
    put(world, 31, key=slow)
    put(world, 99, key=fast)
    run(world)
    world.broker.faults.script("commit", lost)
    quiet_for(world, 1.0)
    world.check()
    assert 30 in {start for _, start in world.closed()}
    assert world.open().total() == 1  # the record that is ahead of all


def test_a_pause_of_this_process_makes_no_partition_idle() -> None:
    """Nobody read meanwhile: what comes right behind the pause is not late."""
    world = IdleWorld()
    world.idle_after_s = 10.0
    slow, fast = keys_of_two_partitions(world)
    put(world, 31, key=slow)
    put(world, 99, key=fast)
    run(world)
    world.broker.group("product").members.clear()
    process = world.process().begin()
    for _ in range(30):
        process.step()
    world.broker.clock.advance(3600)
    process.step()  # what came meanwhile is still on its way
    put(world, 32, key=slow)
    for _ in range(5):
        process.step()
    assert world.late() == []
    assert process.is_running
    process.stop()
    quiet_for(world, 20.0)
    assert 30 in {start for _, start in world.closed()}, "idle in earnest"
    world.check()
