"""Starts that no record ended are not counted: who says itself why it ends is not dead."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.engine.test_attempts import died, noted
from tests.engine.test_halting import feed_alien, first, halting

from headwater.adapters.memory import LostCommit
from headwater.engine import BadRecordLimit
from headwater.engine.attempts import MAX_ATTEMPTS, Attempts
from headwater.errors import (
    AbortableError,
    HaltedError,
    RuleBrokenError,
    TooManyBadRecordsError,
    UnavailableError,
)
from headwater.model import Code, Partition
from headwater.ports import Records

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World

STARTS = MAX_ATTEMPTS + 2
HERE = Partition("in", 0)


def attempts_of(process: "Process") -> dict[int, int]:
    """The starts in vain that stand beside the positions."""
    return {index: note["attempts"] for index, note in noted(process).items() if "attempts" in note}


def stopped_after(process: "Process", turns: int) -> None:
    """A run that is asked to stop."""
    process.run(hook=lambda turn: process.loop.stop() if turn == turns else None)


def test_clean_stops_with_a_halted_partition_are_no_starts_in_vain(world: "World") -> None:
    """However often: nothing is searched, and what stands there counts nothing."""
    feed_alien(world)
    halting(world).run()
    for _ in range(STARTS):
        process = halting(world).begin()
        for _ in range(10):
            process.step()
        assert process.monitor.halts
        assert attempts_of(process)
        process.stop()
        assert attempts_of(process) == {}
        assert process.sandbox.searched == []
    world.check()


@pytest.mark.parametrize("on_incompatible", ["pause", "stop"])
def test_ends_at_a_halt_are_no_starts_in_vain(world: "World", on_incompatible: str) -> None:
    """The run to the end that is none, and the stop that was asked for."""
    feed_alien(world)
    for _ in range(STARTS):
        process = halting(world, on_incompatible)
        process.run()
        assert isinstance(process.ended, HaltedError)
        assert attempts_of(process) == {}
        assert process.sandbox.searched == []
    world.check()


@pytest.mark.parametrize("failure", [AbortableError("scripted"), *LostCommit])
def test_a_stop_at_a_halt_that_cannot_be_committed_is_tried_again(
    world: "World", failure: AbortableError | LostCommit
) -> None:
    """What came before the halt is out all the same, and the start is taken back."""
    feed_alien(world)
    for _ in range(2):
        process = halting(world, "stop", poll_size=7)
        world.broker.faults.script("commit", failure, after=1, times=2)
        process.run()
        assert isinstance(process.ended, HaltedError)
        assert attempts_of(process) == {}
        world.check()
        world.broker.faults.clear()


def test_ends_by_the_limit_are_no_starts_in_vain(world: "World") -> None:
    """What was staged is aborted, and the note is taken back."""
    world.limit = BadRecordLimit(share=0.3, window=300, at_least=10)
    world.feed(*[b"a"] * 5, *[b"bad"] * 30)
    for _ in range(STARTS):
        process = world.process(poll_size=8)
        process.run()
        assert isinstance(process.ended, TooManyBadRecordsError)
        assert attempts_of(process) == {}
        assert process.sandbox.searched == []
        world.check()


def test_ends_by_a_rule_are_no_starts_in_vain(world: "World") -> None:
    """A record that must not be there ends the run, not the process."""
    world.feed(*[b"a"] * 5)
    for _ in range(STARTS):
        process = world.process()

        def broken(*_: object) -> object:
            raise RuleBrokenError("rule says stop")

        process.task.process = broken  # type: ignore[method-assign,assignment]  # always raises
        process.run()
        assert isinstance(process.ended, RuleBrokenError)
        assert attempts_of(process) == {}


def test_an_abort_that_fails_hides_no_error(world: "World") -> None:
    """The start counts then, which costs a search at most."""
    world.limit = BadRecordLimit(share=0.3, window=300, at_least=10)
    world.feed(*[b"a"] * 5)
    world.feed(*[b"bad"] * 30)
    world.broker.faults.script("abort", UnavailableError("away"))
    process = world.process(poll_size=8)
    process.run()
    assert isinstance(process.ended, TooManyBadRecordsError)
    world.check()


@pytest.mark.parametrize("failure", [UnavailableError("away"), *LostCommit])
def test_a_drain_that_cannot_take_its_notes_back_is_a_drain(
    world: "World", failure: UnavailableError | LostCommit
) -> None:
    """They count one too many, and no position moves by it."""
    feed_alien(world)
    halting(world).run()
    process = halting(world).begin()
    for _ in range(10):
        process.step()
    world.broker.faults.script("commit", failure)
    process.stop()
    assert process.ended == "stopped"
    world.check()
    assert len(attempts_of(process)) <= 1
    world.process().run()
    world.check_complete()


def test_a_stop_in_a_search_keeps_what_led_to_it(world: "World") -> None:
    """Neither more nor less: the next start goes on searching, and finds."""
    for value in [b"a", b"kill", b"a"]:
        world.broker.append("in", value + b"#1", key=b"k0")
    died(world, MAX_ATTEMPTS)
    before = noted(world.processes[-1])
    for _ in range(STARTS):
        process = world.process()

        def asked(_: Records, keep_alive: Callable[[], None], process: "Process" = process) -> None:
            process.loop.stop()
            keep_alive()

        process.sandbox.guilty = asked  # type: ignore[method-assign,assignment]  # stops in it
        process.run()
        assert process.ended is None
        (index,) = before
        assert attempts_of(process) == {index: MAX_ATTEMPTS}
        assert noted(process)[index]["guarded_until"] == 3
    last = world.process()
    last.run()
    assert last.monitor.codes == {Code.PROCESS_DIED: 1}
    world.check_complete()


def test_deaths_count_across_clean_stops_between_them(world: "World") -> None:
    """A stop neither counts nor forgets."""
    world.feed(b"kill", *[b"a"] * 5)
    died(world, MAX_ATTEMPTS - 1)
    for _ in range(STARTS):
        process = world.process()
        process.task.away = 10**9
        _run_until_waiting(process)
        assert process.ended is None
        assert set(attempts_of(process).values()) == {MAX_ATTEMPTS - 1}
    died(world, 1)
    process = world.process()
    process.run()
    assert process.monitor.codes == {Code.PROCESS_DIED: 1}
    world.check_complete()


def _run_until_waiting(process: "Process") -> None:
    """It is asked to stop once it waits for the registry."""
    process.monitor.waiting = lambda _: process.loop.stop()  # type: ignore[method-assign,assignment]  # asks
    process.run()


def test_an_outage_of_the_registry_is_no_start_in_vain(world: "World") -> None:
    """The run gives up, and says so itself."""
    world.feed(*[b"a"] * 5)
    for _ in range(STARTS):
        process = world.process(outage_limit_s=1.0)
        process.task.away = 10**9
        process.run()
        assert isinstance(process.ended, UnavailableError)
        assert attempts_of(process) == {}
    again = world.process()
    again.run()
    assert again.sandbox.searched == []
    world.check_complete()


def test_a_partition_that_moves_between_processes_is_not_counted(world: "World") -> None:
    """Who lets go takes its note back; who dies does not."""
    feed_alien(world)
    alien = first(world, b"alien").partition
    halting(world).run()
    one = halting(world, instance="one").begin()
    for _ in range(10):
        one.step()
    assert attempts_of(one) == {alien.index: 1}
    for number in range(STARTS):
        other = halting(world, instance=f"other-{number}").begin()
        for _ in range(10):
            one.step()
            other.step()
        assert attempts_of(one) == {alien.index: 1}
        other.stop()
        world.broker.group("product").expire(other.instance)
        for _ in range(10):
            one.step()
    one.kill()
    again = halting(world, instance="one").begin()
    for _ in range(10):
        again.step()
    again.kill()
    assert attempts_of(one) == {alien.index: 2}


def test_what_is_staged_further_stays_staged(world: "World") -> None:
    """A drain with an open transaction commits its positions, not those where it began."""
    world.feed(*[b"a"] * 20)
    process = world.process(interval_s=3600.0)
    stopped_after(process, 1)
    assert process.ended is None
    world.check_complete()


def test_a_stretch_of_a_halted_partition_is_not_waited_for() -> None:
    """Nothing comes from there that could be searched."""
    attempts = Attempts(reach=4)
    attempts.assigned({HERE: 5}, {HERE: '{"attempts":3}'}, {HERE: 100})
    assert attempts.is_guarding({HERE: 5}, ())
    assert not attempts.is_guarding({HERE: 5}, {HERE})


def test_a_start_is_spared_under_the_membership_of_now(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thrown out of the group and in again, by a poll that failed: nobody else has our place."""
    feed_alien(world)
    halting(world).run()
    process = halting(world).begin()
    for _ in range(10):
        process.step()
    assert attempts_of(process)
    group = world.broker.group("product")
    group.expire(process.instance)
    with monkeypatch.context() as failing:
        failing.setattr(process.source, "_fetched", raising(AbortableError("scripted")))
        process.step()
    group.rebalance()
    process.step()
    assert process.is_running, process.ended
    process.stop()
    assert attempts_of(process) == {}


def raising(error: Exception) -> Callable[..., None]:
    """A function that does nothing else."""

    def refuse(*_: object) -> None:
        raise error

    return refuse
