"""The loop with state: an empty disk is filled from a checkpoint, or from the changelog."""

from errno import ENOSPC
from unittest.mock import patch

import pytest
from tests.engine.conftest import OUTPUT, Process
from tests.engine.counting import CHANGELOG, STEP, CountingWorld
from tests.engine.test_state import run

from headwater.ports import TopicSettings


def checkpointed(world: CountingWorld) -> Process:
    """A process that wrote a checkpoint of every task with entries, and ended."""
    process = world.process("one", poll_size=3).begin()
    for turn in range(450):
        if turn % 150 == 0:
            world.feed(*[b"a"] * 10)
        process.step()
    process.stop()
    assert {each.task for each in process.monitor.checkpoints} == {0, 1, 2}
    assert not any(each.failure for each in process.monitor.checkpoints)
    return process


def test_an_empty_disk_is_filled_from_a_checkpoint_and_the_tail() -> None:
    """What the checkpoint holds is loaded, what came behind its mark is read."""
    world = CountingWorld()
    checkpointed(world)
    world.feed(*[b"b"] * 10)
    run(world)
    world.feed(b"b")
    (done,) = run(world, "two").monitor.restores[-1]
    world.check_complete()
    assert done.loaded == len(world.folded())
    assert 0 < done.read < 20
    assert done.is_done


def test_a_checkpoint_that_cannot_be_used_is_told_and_passed_over() -> None:
    """Damaged, of a later format or behind the changelog: an older one or the changelog will do."""
    world = CountingWorld()
    checkpointed(world)
    names = world.storage.names(f"{OUTPUT}/{STEP}/")
    for name in names:
        path = world.folder / name
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    world.feed(b"b")
    other = run(world, "two")
    world.check_complete()
    (done,) = other.monitor.restores[-1]
    assert done.loaded == 0
    assert sorted(name for name, _ in other.monitor.passed_over_checkpoints) == names


def test_a_checkpoint_behind_the_changelog_is_not_loaded() -> None:
    """Between its mark and what the changelog still holds something may be missing; it is told."""
    world = CountingWorld()
    checkpointed(world)
    for log in world.broker.topic(CHANGELOG).logs:
        log.beginning = log.end
    world.feed(b"b")
    other = run(world, "two")
    (done,) = other.monitor.restores[-1]
    assert (done.loaded, done.is_done) == (0, True)
    names = world.storage.names(f"{OUTPUT}/{STEP}/")
    told = other.monitor.passed_over_checkpoints
    assert sorted(name for name, _ in told) == names
    assert all(reason.startswith("the changelog does not go on") for _, reason in told)


def test_checkpoints_of_a_changelog_that_is_no_more_are_not_fetched() -> None:
    """Who begins anew has topics of the same name; each was as large as all the state."""
    world = CountingWorld()
    checkpointed(world)
    before = set(world.storage.names(f"{OUTPUT}/{STEP}/"))
    world.broker.groups.clear()
    world.broker.create(TopicSettings(CHANGELOG, 3, "table"))
    world.broker.create(TopicSettings(OUTPUT, 3, "log"))
    with patch.object(world.storage, "get", wraps=world.storage.get) as fetched:
        checkpointed(world)
        world.feed(b"b")
        (done,) = run(world, "two").monitor.restores[-1]
    world.check_complete()
    assert done.loaded > 0
    assert fetched.call_count == 3
    assert not before.intersection(call.args[0] for call in fetched.call_args_list)


def test_checkpoints_are_found_whatever_the_id_of_the_changelog_is_made_of() -> None:
    """The client writes it in base64 with slashes; a storage takes two in a row for one, or none.

    So it stands in names as Kafka's own tools show it.
    """
    world = CountingWorld()
    world.broker.topic(CHANGELOG).topic_id = "/w//+A"
    checkpointed(world)
    names = world.storage.names(f"{OUTPUT}/{STEP}/_w__-A/")
    assert names == world.storage.names(f"{OUTPUT}/{STEP}/") != []
    world.feed(b"b")
    (done,) = run(world, "two").monitor.restores[-1]
    world.check_complete()
    assert done.loaded > 0


def test_a_checkpoint_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, nothing of it is left, and the next one is tried when it is due."""

    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    world = CountingWorld()
    process = world.process("one").begin()
    with monkeypatch.context() as patched:
        patched.setattr("headwater.state.checkpoint._DigestedFile.sync", full)
        world.feed(*[b"a"] * 30)
        for _ in range(300):
            process.step()
    world.check_complete()
    assert process.is_running
    failures = {each.failure for each in process.monitor.checkpoints}
    assert all("No space left on device" in (failure or "") for failure in failures)
    assert failures
    for _ in range(300):
        process.step()
    assert not process.monitor.checkpoints[-1].failure
    process.stop()
    assert list(world.storage.workspace.iterdir()) == []


def test_a_checkpoint_that_was_broken_off_is_tried_again() -> None:
    """Also when nothing changes any more: what it lacks, another machine would have to read."""
    world = CountingWorld()
    process = world.process("one", poll_size=3).begin()
    world.feed(*[b"a"] * 10)
    held = process.loop._restoring.checkpoints
    assert held is not None
    while held._underway is None:
        process.step()
    held._underway.writer.abandon()
    for _ in range(300):
        process.step()
    assert {each.task for each in process.monitor.checkpoints} == {0, 1, 2}
    process.stop()
