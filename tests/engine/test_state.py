"""The loop with state: what is restored, from where, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.engine.conftest import INPUT, Process
from tests.engine.counting import CHANGELOG, CountingWorld
from tests.engine.test_exactly_once import STEPS, Histories

from headwater.adapters.memory.stores import MemoryStore
from headwater.errors import FencedError, StartRefusedError
from headwater.model import Partition
from headwater.ports import TopicSettings

EXAMPLES = 150


@pytest.mark.timeout(120)
def test_every_history_counts_every_record_once() -> None:
    """Kills, zombies, rebalances, lost answers and outages in any order: no count is off."""
    machine = type("Machine", (Histories,), {"new_world": staticmethod(CountingWorld)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.generate],  # shrinking a history takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


def run(world: CountingWorld, name: str = "one") -> Process:
    """One process from start to end; the next of its name finds its disk."""
    world.broker.group("product").members.clear()
    process = world.process(name, poll_size=3)
    process.run()
    process.ended = process.ended or "stopped"
    return process


def fed() -> CountingWorld:
    """A world in which one process came to the end of thirty records."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    run(world)
    world.check_complete()
    return world


def test_an_empty_disk_is_filled_from_the_changelog() -> None:
    """Counting goes on where it was; how much is left is told until nothing is."""
    world = fed()
    world.feed(*[b"b"] * 10)
    other = run(world, "two")
    world.check_complete()
    assert other.monitor.restoring_left[-1] is None


def test_a_disk_from_before_is_brought_up_to_date() -> None:
    """What another process counted meanwhile is read from the changelog, behind the mark."""
    world = fed()
    for name in ("two", "one", "two"):
        world.feed(*[b"b"] * 10)
        run(world, name)
        world.check_complete()


def test_a_mark_that_is_too_old_is_thrown_away() -> None:
    """Deletions are kept for a time only: a store older than that may hold what is long gone."""
    world = fed()
    store = world.disks["one"].open(0)
    store.write([b"gone"], [b"not in the changelog"])
    store.close()
    world.broker.clock.advance(25 * 60 * 60)
    world.feed(b"b")
    run(world)
    assert b"gone" not in world.disks["one"].open(0).scan(b"", 10)[0]
    world.check_complete()


def test_a_mark_the_changelog_does_not_reach_is_thrown_away() -> None:
    """The changelog is the truth: a store that is ahead of it, or behind what is left, is none."""
    world = fed()
    for offset in (0, 10**6):
        store = world.disks["one"].open(0)
        mark = store.mark()
        assert mark is not None
        store.write([b"gone"], [b"not in the changelog"], replace(mark, changelog_offset=offset))
        store.close()
        log = world.broker.partition(Partition(CHANGELOG, 0))
        log.beginning = 1 if offset == 0 else 0
        world.feed(b"b")
        run(world)
        store = world.disks["one"].open(0)
        assert b"gone" not in store.scan(b"", 10)[0]
        store.close()


def test_damage_found_at_work_is_repaired_from_the_changelog() -> None:
    """The transaction is aborted, the task thrown away and restored, and nothing shows."""
    world = fed()
    for task in range(3):
        store = world.disks["one"].open(task)
        keys, _ = store.scan(b"", 10)
        store.write(keys, [b"\0"] * len(keys))
        store.close()
    world.feed(*[b"b"] * 10)
    assert run(world).monitor.endings["committed"]
    world.check_complete()


def test_a_task_that_another_process_keeps_open_is_refused() -> None:
    """After the time of a hand-over; the code says that two share a directory."""
    world = fed()
    world.disks["one"].open(0)
    world.feed(b"a")
    ended = run(world).ended
    assert isinstance(ended, FencedError)
    assert ended.code == "STATE_IN_USE"


def test_only_moved_tasks_are_opened_anew() -> None:
    """A member joins: what stays is not closed, what goes is, and both count on."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    one = world.process("one").begin()
    _work(world, one)
    opened = _recorded(world, "one")
    world.feed(*[b"b"] * 30)
    two = world.process("two")
    world.disks["two"] = world.disks["one"]  # one machine: a task finds its store there
    two.stores.held[0].store._stores = world.disks["one"]
    _work(world, one, two.begin())
    shares = [{p.index for p in each.source.assignment()} for each in (one, two)]
    assert shares == [{0, 1}, {2}]
    assert opened == [2], "only by the other one"
    assert [each.stores.held[0].store.tasks for each in (one, two)] == [{0, 1}, {2}]
    world.check_complete()
    one.stop()
    two.stop()


def _work(world: CountingWorld, *processes: Process) -> None:
    """Turns of all in turn, until all that was fed is committed and nobody restores."""
    for _ in range(500):
        for each in processes:
            each.step()
            assert each.ended is None
        held = sum(len(each.source.assignment()) for each in processes)
        if held == 3 and world.positions() == world.topics.ends(INPUT):
            return
    raise AssertionError("no progress")


def _recorded(world: CountingWorld, name: str) -> list[int]:
    """The tasks that are opened from here on."""
    opened: list[int] = []
    disk = world.disks[name]
    really = disk.open

    def opening(task: int) -> MemoryStore:
        store = really(task)
        opened.append(task)
        return store

    disk.open = opening  # type: ignore[method-assign]  # of this one
    return opened


def test_a_changelog_made_anew_is_refused() -> None:
    """The state of what was committed is gone: going on would publish nonsense."""
    world = fed()
    world.broker.create(TopicSettings(CHANGELOG, 3, "table"))
    world.feed(b"a")
    ended = run(world).ended
    assert isinstance(ended, StartRefusedError)
    assert ended.code == "CHANGELOG_LOST"


def test_a_changelog_without_a_partition_for_a_task_is_refused() -> None:
    """An input that grew sends keys elsewhere than their state is."""
    world = fed()
    world.broker.grow("in", 4)
    world.feed(b"a")
    ended = run(world).ended
    assert isinstance(ended, StartRefusedError)
    assert ended.code == "PARTITIONS_CHANGED"


def test_the_local_store_holds_the_changelog_up_to_its_mark() -> None:
    """After a clean end: every entry, and a mark behind the last of them."""
    world = fed()
    ends, entries = world.topics.ends(CHANGELOG), 0
    for task in range(3):
        store = world.disks["one"].open(task)
        mark = store.mark()
        assert mark is not None
        # behind the last change stands the control record of its transaction
        assert ends[Partition(CHANGELOG, task)] - mark.changelog_offset in {0, 1}
        entries += store.size().keys
    assert entries == len(world.folded())
