"""Partitions that stand still: what is before is out, the others go on, nothing is forgotten."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from headwater.adapters.memory import LostCommit
from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Decoded
from headwater.engine import LoopSettings, Work
from headwater.engine.halting import rows_before, unreadable
from headwater.engine.selection import Selection
from headwater.errors import AbortableError, HaltedError, UnavailableError
from headwater.model import Code, HaltCode, Partition, Positions, Quarantine, RawRecord
from headwater.ports import Records

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World

INPUT = "in"


class HaltingTask:
    """As the task it stands before, but no reader can read `alien…`."""

    is_internal = False

    def __init__(self, task: Any) -> None:
        self._task = task

    def process(self, records: Records, *rest: Any) -> Work:
        rows = [row for row, v in enumerate(records.values) if v and v.startswith(b"alien")]
        if not rows:
            return self._task.process(records, *rest)  # type: ignore[no-any-return]  # any task's
        refused = [Quarantine(row, Code.INCOMPATIBLE_SCHEMA, "schema 7: no") for row in rows]
        halts = unreadable(records, Decoded(None, refused, rows))  # type: ignore[arg-type]  # unused
        sound = Selection(records, rows_before(records, halts))
        work: Work = self._task.process(sound, *rest)
        return replace(work, halts=halts)


def halting(world: "World", on_incompatible: str = "pause", **settings: Any) -> "Process":
    """A process whose contract cannot read all."""
    process = world.process(**settings)
    process.loop._tasks = {INPUT: HaltingTask(process.task)}  # type: ignore[dict-item]  # as a task
    loop_settings: LoopSettings = process.loop._settings
    process.loop._settings = replace(
        loop_settings,
        on_incompatible=on_incompatible,  # type: ignore[arg-type]  # a word of the three
    )
    return process


def first(world: "World", start: bytes) -> RawRecord:
    """The first record fed that begins so."""
    return next(r for r in world.broker.visible(INPUT) if (r.value or b"").startswith(start))


def feed_alien(world: "World") -> Positions:
    """Sound records, an unreadable one in some partition, sound ones behind; where all must end."""
    world.feed(*[b"a", b"bad", b"a"] * 10)
    world.feed(b"alien")
    world.feed(*[b"a"] * 30)
    alien = first(world, b"alien")
    return {**world.topics.ends(INPUT), alien.partition: alien.offset}


@pytest.mark.parametrize("poll_size", [3, 7, 10_000])
def test_a_halt_lets_out_what_is_before_and_elsewhere(world: "World", poll_size: int) -> None:
    """Wherever batches end; the run to the end says that it is none."""
    ends = feed_alien(world)
    process = halting(world, poll_size=poll_size)
    process.run()
    assert isinstance(process.ended, HaltedError)
    assert process.ended.exit_code == 65
    assert process.ended.code == "INCOMPATIBLE_SCHEMA"
    assert world.positions() == ends
    assert [halt.offset for halt in process.monitor.halts] == [first(world, b"alien").offset]
    world.check()


def test_a_restart_halts_at_the_same_record(world: "World") -> None:
    """Nothing is remembered, all is found again; and a reader that can read goes on from there."""
    ends = feed_alien(world)
    for _ in range(2):
        process = halting(world)
        process.run()
        assert isinstance(process.ended, HaltedError)
        assert world.positions() == ends
    world.process().run()
    world.check_complete()


@pytest.mark.parametrize("operation", ["produce", "send_offsets", "commit"])
def test_a_transaction_that_fails_at_a_halt_is_repeated(world: "World", operation: Any) -> None:
    """The halted partition goes back with the others, and stands still at the same place."""
    ends = feed_alien(world)
    world.broker.faults.script(operation, AbortableError("scripted"), times=2)
    process = halting(world, poll_size=5)
    process.run()
    assert isinstance(process.ended, HaltedError)
    assert world.positions() == ends
    world.check()


@pytest.mark.parametrize("lost", list(LostCommit))
def test_an_unanswered_commit_at_a_halt_is_resolved(world: "World", lost: LostCommit) -> None:
    """Taken or not, the halt stays where it is."""
    ends = feed_alien(world)
    world.broker.faults.script("commit", lost)
    process = halting(world)
    process.run()
    assert isinstance(process.ended, HaltedError)
    assert world.positions() == ends
    world.check()


def test_a_rebalance_finds_the_halt_again(world: "World") -> None:
    """Whoever holds the partition next stands still there too."""
    ends = feed_alien(world)
    one, two = halting(world, instance="one").begin(), halting(world, instance="two")
    for _ in range(20):
        one.step()
    assert len(one.monitor.halts) == 1
    two.begin()
    for _ in range(40):
        one.step()
        two.step()
    assert sorted([len(one.monitor.halts), len(two.monitor.halts)]) == [0, 1]
    assert world.positions() == ends
    world.check()


def test_stop_ends_at_once_with_what_came_before(world: "World") -> None:
    """The transaction of the sound records is committed first."""
    ends = feed_alien(world)
    process = halting(world, "stop")
    process.run()
    assert isinstance(process.ended, HaltedError)
    partition = first(world, b"alien").partition
    assert world.positions()[partition] == ends[partition]
    world.check()


def test_an_end_before_the_halt_is_an_end(world: "World") -> None:
    """What came after the ends of then does not make the run fail."""
    world.feed(*[b"a"] * 20)
    targets = world.topics.ends(INPUT)
    world.feed(*[b"alien"] * 5)
    process = halting(world)
    process._guarded(lambda: process.loop.run(targets))
    assert process.ended is None
    assert len(world.outputs()) == 20


def test_other_partitions_go_on_while_one_is_halted(world: "World") -> None:
    """For as long as it takes; a drain with a halted partition is a drain."""
    feed_alien(world)
    process = halting(world).begin()
    for _ in range(10):
        process.step()
    before = len(world.outputs())
    world.feed(*[b"a"] * 30)
    for _ in range(10):
        process.step()
    assert len(world.outputs()) > before
    process.stop()
    assert process.ended == "stopped"
    world.check()


def test_a_corrupt_batch_halts_its_partition(world: "World") -> None:
    """In the same way, under a code of its own."""
    world.feed(*[b"a"] * 30)
    broken = Partition(INPUT, 1)
    world.broker.faults.damage(broken, 4)
    process = halting(world)
    process.run()
    assert isinstance(process.ended, HaltedError)
    assert process.ended.code == HaltCode.CORRUPT_RECORD
    assert "dead-letters skip" in str(process.ended)
    assert world.positions() == {**world.topics.ends(INPUT), broken: 4}
    world.broker.faults.clear()
    world.process().run()
    world.check_complete()


def test_a_halt_says_what_to_do() -> None:
    """One sentence: where, why, and the ways on."""
    halts = unreadable(
        Selection(_records(b"x", b"y"), [0, 1]),
        Decoded(None, [Quarantine(1, Code.INCOMPATIBLE_SCHEMA, "schema 7: no")], [1]),  # type: ignore[arg-type]  # the frame is not looked at
    )
    assert str(halts[0]).startswith("in[0] is halted at offset 6 (INCOMPATIBLE_SCHEMA): schema 7")
    assert "--on-incompatible dead-letter" in str(halts[0])


def _records(*values: bytes) -> Records:
    found = [
        RawRecord(Partition(INPUT, 0), 5 + i, 0, b"k", value) for i, value in enumerate(values)
    ]
    return MemoryRecords(INPUT, found)


def test_the_lag_of_a_halted_partition_is_told(world: "World") -> None:
    """A source that stands still hears of no end by itself: it is asked, and may fail."""
    feed_alien(world)
    process = halting(world).begin()
    for _ in range(10):
        process.step()
    world.broker.faults.script("ends", UnavailableError("away"))
    world.feed(*[b"a"] * 30)
    for _ in range(2):
        world.broker.clock.advance(6.0)
        process.step()
    partition = first(world, b"alien").partition
    assert process.monitor.known_ends == {partition: world.topics.ends(INPUT)[partition]}
    assert process.is_running
    world.check()
