"""The loop with state: what is restored, from where, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from tests.engine.conftest import GROUP, INPUT, EchoTask, Process
from tests.engine.counting import CHANGELOG, CountingWorld
from tests.engine.test_exactly_once import few_or_many, run_histories

from headwater.adapters.memory.stores import MemoryStore
from headwater.contract import StateRows
from headwater.engine import Task
from headwater.engine.selection import NoRecords
from headwater.errors import (
    AbortableError,
    FencedError,
    OutageError,
    RetriableError,
    StartRefusedError,
)
from headwater.model import Partition
from headwater.ports import LocalStore, TopicSettings

(NOT_IN_THE_CHANGELOG,) = StateRows({"count": pl.Int64()}).encode(pl.DataFrame({"count": [7]}))


@few_or_many(80, 1_000)
def test_every_history_counts_every_record_once(examples: int) -> None:
    """Kills, zombies, rebalances, lost answers and outages in any order: no count is off."""
    run_histories(CountingWorld, examples=examples)


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
    assert [each.is_done for each in other.monitor.restores[0]] == [False]
    (done,) = other.monitor.restores[-1]
    assert (done.is_done, done.left, done.loaded, done.read) == (True, 0, 0, 18)


class MixedWorld(CountingWorld):
    """Beside the input that is counted it reads one of more partitions, which needs no state."""

    def __init__(self) -> None:
        super().__init__(inputs=(INPUT, "other"))
        self.start = replace(self.start, changelogs={CHANGELOG: [INPUT]})
        self.broker.grow("other", 4)

    def tasks(self, task: EchoTask) -> Mapping[str, Task]:
        return {INPUT: task, "other": EchoTask()}


def test_an_assignment_without_state_amid_a_restore_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was paused while state was restored goes on, though none is restored to its end."""
    world = MixedWorld()
    last = world.process("z").begin()
    monkeypatch.setattr(last.loop._restoring, "advance", lambda _: False)
    last.step()
    last.step()
    assert last.loop._restoring.is_needed
    processes = [*(world.process(name).begin() for name in "abc"), last]
    for number in range(20):
        world.broker.append("other", b"b#%d" % number, key=b"other %d" % number)
    for _ in range(150):
        for process in processes:
            process.step()
    assert last.loop._source.assignment() == {Partition("other", 3)}
    assert world.topics.group_offsets(GROUP, "other") == world.topics.ends("other")
    for process in processes:
        process.stop()


def test_a_full_disk_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed stays in memory, the reason is told, and it goes on when there is room."""
    world = CountingWorld()
    refused: list[MemoryStore] = []
    write = MemoryStore.write

    def full(store: MemoryStore, *args: Any) -> None:
        if len(refused) < 40:
            refused.append(store)
            raise RetriableError("The disk refuses the state: full.", code="STATE_STORAGE")
        write(store, *args)

    process = world.process("one", poll_size=3).begin()
    while process.loop._restoring.is_needed or not process.stores.partitions():
        process.step()
    monkeypatch.setattr(MemoryStore, "write", full)
    for turn in range(400):
        if turn % 100 == 0:
            world.feed(*[b"a"] * 10)
        process.step()
    assert process.is_running
    world.check_complete()
    assert len(refused) == 40
    assert "The disk refuses the state: full." in process.monitor.reasons
    assert process.monitor.reasons[-1] is None
    assert process.monitor.endings.keys() == {"committed"}
    process.stop()


def test_a_disk_that_is_full_at_the_end_costs_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be flushed is read from the changelog by the next one."""

    def full(*_: object) -> None:
        raise RetriableError("The disk refuses the state: full.", code="STATE_STORAGE")

    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    process = world.process("one").begin()
    for _ in range(20):
        process.step()
    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "write", full)
        process.stop()
    assert process.ended == "stopped"
    world.feed(*[b"b"] * 10)
    run(world)
    world.check_complete()


def test_a_disk_that_stays_full_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the limit on outages, with what was committed safe in the changelog."""

    def full(*_: object) -> None:
        raise RetriableError("The disk refuses the state: full.", code="STATE_STORAGE")

    world = CountingWorld()
    with monkeypatch.context() as patched:
        patched.setattr(MemoryStore, "write", full)
        world.feed(*[b"a"] * 30)
        process = world.process("one").begin()
        while process.is_running:
            process.step()
    ended = process.ended
    assert isinstance(ended, OutageError)
    assert ended.exit_code == 69
    run(world)
    world.check_complete()


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
    store.write([b"gone"], [NOT_IN_THE_CHANGELOG])
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
        store.write([b"gone"], [NOT_IN_THE_CHANGELOG], replace(mark, changelog_offset=offset))
        store.close()
        log = world.broker.partition(Partition(CHANGELOG, 0))
        log.beginning = 1 if offset == 0 else 0
        world.feed(b"b")
        run(world)
        store = world.disks["one"].open(0)
        assert b"gone" not in store.scan(b"", 10)[0]
        store.close()


def test_a_task_that_another_process_keeps_open_is_refused() -> None:
    """After the time of a hand-over; the code says that two share a directory."""
    world = fed()
    world.disks["one"].open(0)
    world.feed(b"a")
    ended = run(world).ended
    assert isinstance(ended, FencedError)
    assert ended.code == "STATE_IN_USE"


def test_state_is_let_go_of_before_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes its time to close keeps no other process waiting for a task."""
    world = CountingWorld()
    world.feed(*[b"a"] * 30)
    process = world.process("one", poll_size=3)
    close, held = process.source.close, []

    def closing() -> None:
        held.append(process.stores.partitions())
        close()

    monkeypatch.setattr(process.source, "close", closing)
    process.run()
    world.check_complete()
    assert held[0] == frozenset()


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

    def opening(task: int) -> LocalStore:
        store = really(task)
        opened.append(task)
        return store

    disk.open = opening  # type: ignore[method-assign]  # of this one
    return opened


def test_nothing_is_kept_for_a_transaction_that_is_lost() -> None:
    """Its partitions went, so it is aborted whatever joins it; the batch can still be dropped."""
    world = CountingWorld()
    process = world.process("one", interval_s=3600.0).begin()
    world.feed(*[b"a"] * 30)
    while process.loop._transaction.is_empty:
        process.step()
    held = sorted(process.source.assignment())
    process.loop._transaction.lost(held)
    store = process.stores.held[0].store
    row = pl.Series([0]), pl.Series([b"key"], dtype=pl.Binary), pl.DataFrame({"count": [1]})
    work = replace(process.task.process(NoRecords(INPUT)), ends={held[0]: 7})
    store.write(*row)
    with pytest.raises(AbortableError, match="partitions were lost"):
        process.loop._stage(work)
    assert store.keep().keys == [b"key"]


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
