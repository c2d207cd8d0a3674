"""Starts that come to nothing are counted beside the offset; the record that ends them is found."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.engine.attempts import MAX_ATTEMPTS, Attempts
from headwater.errors import UnavailableError
from headwater.model import Code, Partition

if TYPE_CHECKING:
    from tests.engine.conftest import Process, World

INPUT = [Partition("in", index) for index in range(3)]


def noted(process: "Process") -> dict[int, Mapping[str, int]]:
    """The notes beside the committed offsets, without the counts of the outputs."""
    notes = process.world.broker.group("product").offsets
    found = {p.index: json.loads(note) for p, (_, note) in notes.items() if note}
    return {
        index: {name: value for name, value in note.items() if name != "outputs"}
        for index, note in found.items()
    }


def died(
    world: "World", times: int, *, poll_size: int = 10_000, max_records: int = 200_000
) -> None:
    """So many starts that a record of the input ends."""
    for _ in range(times):
        process = world.process(poll_size=poll_size, max_records=max_records)
        process.run()
        assert process.ended == "killed"
        assert process.sandbox.searched == []


def test_a_record_that_ends_the_process_is_found_after_three_starts(world: "World") -> None:
    """It is quarantined once; all others are out once, and nothing is noted any more."""
    world.feed(*[b"a"] * 10, b"kill", *[b"a"] * 10)
    died(world, MAX_ATTEMPTS)
    process = world.process()
    process.run()
    assert process.ended is None
    assert process.monitor.codes == {Code.PROCESS_DIED: 1}
    assert process.sandbox.is_closed
    world.check_complete()
    assert set(map(str, noted(process).values())) == {"{}"}


def test_each_start_in_vain_counts_where_it_began(world: "World") -> None:
    """Only at the partitions whose records were being worked on."""
    world.broker.append("in", b"kill#1", key=b"k0")
    for count in range(1, MAX_ATTEMPTS + 1):
        process = world.process()
        process.run()
        assert process.ended == "killed"
        (found,) = noted(process).values()
        assert found == {"attempts": count}


def test_an_innocent_partition_is_not_counted(world: "World") -> None:
    """A batch without its records says nothing about it."""
    world.feed(*[b"a"] * 30)
    world.process().run()
    world.broker.append("in", b"kill#99", key=b"k1")
    died(world, 1)
    guilty = [index for index, note in noted(world.processes[-1]).items() if note]
    assert len(guilty) == 1


def test_progress_forgets_the_starts_before_it(world: "World") -> None:
    """Two deaths, a commit behind their position, two more: nothing is guarded."""
    world.feed(*[b"a"] * 3, b"kill")
    died(world, MAX_ATTEMPTS - 1)
    process = world.process(poll_size=1, max_records=1)
    process.run()  # the records before it are committed one by one
    assert process.ended == "killed"
    died(world, MAX_ATTEMPTS - 1, poll_size=1, max_records=1)
    assert all(found.get("attempts", 0) <= MAX_ATTEMPTS for found in noted(process).values())


def test_a_guarded_stretch_commits_each_batch_and_ends(world: "World") -> None:
    """It goes no further than the log went; what comes later is not searched."""
    world.feed(*[b"a"] * 10, b"kill", *[b"a"] * 10)
    died(world, MAX_ATTEMPTS)
    process = world.process(poll_size=5, interval_s=3600.0)
    process.run()
    assert process.ended is None
    searched = len(process.sandbox.searched)
    assert process.monitor.endings["committed"] >= searched > 1
    world.check_complete()
    world.feed(*[b"a"] * 10)
    again = world.process()
    again.run()
    assert again.sandbox.searched == []
    world.check_complete()


def test_a_death_in_a_guarded_stretch_stays_guarded(world: "World") -> None:
    """However far it came: the note says up to where, and the culprit ends nobody any more."""
    for value in [b"a"] * 10 + [b"kill"] + [b"a"] * 10:
        world.broker.append("in", value + b"#1", key=b"k0")
    died(world, MAX_ATTEMPTS)
    process = world.process(poll_size=2)
    process.run(hook=lambda turn: world.kill_current() if turn == 3 else None)
    assert process.ended == "killed"
    assert 0 < len(process.sandbox.searched) <= 3
    again = world.process(poll_size=2)
    again.run()
    assert again.ended is None
    assert again.monitor.codes == {Code.PROCESS_DIED: 1}
    world.check_complete()


def test_the_guard_reaches_as_far_as_a_start_may_have_come(world: "World") -> None:
    """What was staged and the batch behind it, even when batches are smaller now."""
    for value in [b"a"] * 9 + [b"kill"]:
        world.broker.append("in", value + b"#1", key=b"k0")
    died(world, MAX_ATTEMPTS, poll_size=5, max_records=6)
    process = world.process(poll_size=2, max_records=8)
    process.run()
    assert process.ended is None
    world.check_complete()


def test_a_stretch_is_guarded_up_to_its_last_record() -> None:
    """The batch that begins there included, and after a start in between as well."""
    here = INPUT[0]
    attempts = Attempts(reach=4)
    attempts.assigned({here: 5}, {here: '{"attempts":3}'}, {here: 100})
    assert attempts.note(here, 8) == {"guarded_until": 9}
    assert attempts.note(here, 9) == {}
    for each in (attempts, Attempts(reach=4)):
        each.assigned({here: 8}, {here: '{"guarded_until":9}'}, {here: 100})
        assert each.is_guarded([here], {here: 8})
        assert each.is_guarding({here: 8}, ())
        assert not each.is_guarded([here], {here: 9})
        assert not each.is_guarded([INPUT[1]], {here: 8, INPUT[1]: 0})


def test_kills_from_outside_cost_a_search_and_nothing_else(world: "World") -> None:
    """No record ended those starts: none is set aside."""
    world.feed(*[b"a"] * 20)
    for _ in range(MAX_ATTEMPTS):
        process = world.process(interval_s=3600.0, poll_size=5)
        process.run(hook=lambda turn: world.kill_current() if turn == 4 else None)
        assert process.ended == "killed"
    process = world.process()
    process.run()
    assert process.sandbox.searched
    assert process.monitor.codes == {}
    world.check_complete()


def test_a_search_waits_for_the_registry(world: "World") -> None:
    """What the sandbox cannot look up now is no bad record."""
    world.feed(b"kill", *[b"a"] * 20)
    died(world, MAX_ATTEMPTS)
    process = world.process(poll_size=2)  # more to come: it must not, while a search is waited for
    search = process.sandbox.guilty
    answers = iter([UnavailableError("no registry")] * 30)  # more than failures are allowed

    def away(*given: object) -> object:
        for error in answers:
            raise error
        return search(*given)  # type: ignore[arg-type]  # as the sandbox was asked

    process.sandbox.guilty = away  # type: ignore[method-assign,assignment]  # fails at first
    process.run()
    assert process.ended is None
    assert process.monitor.reasons == ["no registry", None]  # one wait, and nothing is begun anew
    world.check_complete()


def test_a_broker_that_loses_a_note_loses_a_count_only(world: "World") -> None:
    """The commit that notes may fail like any other."""
    world.feed(*[b"a"] * 10)
    world.broker.faults.script("commit", UnavailableError("no answer"), times=3)
    process = world.process()
    process.run()
    assert process.ended is None
    world.check_complete()


def test_notes_of_older_releases_say_nothing_of_attempts() -> None:
    """Neither does a note of somebody else."""
    attempts = Attempts(reach=10)
    notes = {INPUT[0]: '{"outputs":{"out":2}}', INPUT[1]: "by hand"}
    attempts.assigned(dict.fromkeys(INPUT, 5), notes, dict.fromkeys(INPUT, 9))
    assert attempts.due(INPUT, dict.fromkeys(INPUT, 5)) == dict.fromkeys(INPUT, 5)
    assert [attempts.note(each, 5) for each in INPUT] == [{"attempts": 1}] * 3
    assert [attempts.note(each, 6) for each in INPUT] == [{}] * 3
    assert not attempts.is_guarding({}, ())


def test_a_partition_that_comes_back_unmoved_is_counted_once() -> None:
    """A rebalance is no death."""
    attempts, here = Attempts(reach=10), {INPUT[0]: 5}
    attempts.assigned(here, {}, {INPUT[0]: 9})
    attempts.begun(attempts.due(INPUT[:1], here))
    attempts.assigned(here, {INPUT[0]: '{"attempts":1}'}, {INPUT[0]: 9})
    assert attempts.due(INPUT[:1], here) == {}
    assert attempts.note(INPUT[0], 5) == {"attempts": 1}
    attempts.assigned({INPUT[0]: 7}, {INPUT[0]: '{"attempts":2}'}, {INPUT[0]: 9})
    assert attempts.due(INPUT[:1], {INPUT[0]: 7}) == {INPUT[0]: 7}
    assert attempts.note(INPUT[0], 7) == {"attempts": 3}


@given(st.lists(st.integers(0, 3), max_size=30))
@settings(deadline=None)
def test_the_count_is_the_starts_since_the_last_progress(progress: list[int]) -> None:
    """Each start commits so many records before it dies; three in a row without any are guarded."""
    here, end = INPUT[0], 1_000
    position, note, in_vain, guarded_until = 0, "", 0, 0
    for records in progress:
        attempts = Attempts(reach=2)
        attempts.assigned({here: position}, {here: note}, {here: end})
        if in_vain >= MAX_ATTEMPTS and guarded_until <= position:
            guarded_until = position + 2
        assert attempts.is_guarding({here: position}, ()) == (position < guarded_until)
        attempts.begun(attempts.due([here], {here: position}))
        in_vain = 0 if records else in_vain + 1
        position += records
        note = json.dumps(attempts.note(here, position))
        assert json.loads(note).get("attempts", 0) == in_vain
