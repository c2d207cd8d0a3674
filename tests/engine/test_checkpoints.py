"""Checkpoints in a storage that takes its time: the loop goes on, and what is told is true."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from tests.engine.conftest import Process
from tests.engine.counting import CountingWorld, Inline

from headwater.adapters.memory import MemoryRangeReader
from headwater.engine import Checkpoints, Stores, checkpoints, restoring
from headwater.errors import RetriableError
from headwater.ports import Records


class Later(Inline):
    """While it is slow it calls nothing before it is told to."""

    def __init__(self) -> None:
        self.is_slow = False
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **kw: Any) -> Future[Any]:
        if not self.is_slow:
            return super().submit(call, *args, **kw)
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: call(*args, **kw)))
        return future

    def run(self) -> None:
        """Call what waits."""
        for future, call in self.waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(call())
        self.waiting.clear()


class SlowWorld(CountingWorld):
    """Its storage is slow when it is told so; the newest process's checkpoints are at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.later = Later()

    def checkpoints(self, stores: Stores) -> Checkpoints:
        self.made = Checkpoints(
            stores, self.storage, self.later, self.broker.clock, every_s=self.every_s
        )
        return self.made


def steps(process: Process, turns: int = 150) -> None:
    """So many turns of the loop, which go on."""
    for _ in range(turns):
        process.step()
    assert process.is_running


def committed(world: CountingWorld) -> int:
    """How many records of the input are committed."""
    return sum(world.positions().values())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long takes for ever: nothing is gained by waiting in real time."""
    monkeypatch.setattr(checkpoints, "WAIT_S", 0)


def test_the_loop_goes_on_while_a_checkpoint_is_put() -> None:
    """It counts as written when it is, not before; the next one waits for it."""
    world = SlowWorld()
    world.feed(*[b"a"] * 10)
    process = world.process("one", poll_size=3).begin()
    steps(process, 20)
    world.later.is_slow = True
    steps(process)
    assert len(world.later.waiting) == 1
    assert process.monitor.checkpoints == []
    before = committed(world)
    world.feed(*[b"b"] * 10)
    steps(process)
    assert committed(world) > before
    assert len(world.later.waiting) == 1
    world.later.run()
    process.step()
    assert [each.failure for each in process.monitor.checkpoints] == [None]
    process.stop()


def test_a_checkpoint_that_is_refused_is_tried_again_when_it_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though nothing changed meanwhile; nothing of the one that failed is left."""

    def refuse(*_: object) -> None:
        message = "s3://bucket refuses: it answers 503."
        raise RetriableError(message, code="STATE_STORAGE")

    world = CountingWorld()
    world.feed(*[b"a"] * 10)
    process = world.process("one", poll_size=3).begin()
    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "put", refuse)
        steps(process)
    told = {each.failure for each in process.monitor.checkpoints}
    assert told == {"s3://bucket refuses: it answers 503."}
    assert list(world.storage.workspace.iterdir()) == []
    steps(process, 300)
    assert {e.task for e in process.monitor.checkpoints if e.failure is None} == {
        e.task for e in process.monitor.checkpoints
    }
    process.stop()


def checkpointed(world: CountingWorld) -> None:
    """A process that wrote a checkpoint of every task with entries, and ended."""
    process = world.process("one", poll_size=3).begin()
    for _ in range(3):
        world.feed(*[b"a"] * 10)
        steps(process)
    process.stop()
    assert process.monitor.checkpoints


def test_inputs_are_polled_while_a_checkpoint_is_fetched() -> None:
    """Nothing is processed before it came, and where it came from is told."""
    world = SlowWorld()
    checkpointed(world)
    world.broker.group("product").members.clear()
    world.feed(b"b")
    world.later.is_slow = True
    process = world.process("two", poll_size=3).begin()
    before = committed(world)
    steps(process, 20)
    assert committed(world) == before
    assert len(world.later.waiting) == 1
    for _ in range(200):
        process.step()
        world.later.run()
    assert committed(world) > before
    assert process.monitor.restores[-1][0].loaded > 0
    taken = process.monitor.taken_checkpoints
    assert taken
    assert all(each.startswith(f"{world.storage.location}/") for each in taken)
    assert process.monitor.passed_over_checkpoints == []
    process.stop()
    world.check_complete()


def test_a_fetch_that_nobody_waits_for_leaves_no_file_open() -> None:
    """The assignment changes meanwhile: what comes then is closed. An open one would warn."""
    world = SlowWorld()
    checkpointed(world)
    world.broker.group("product").members.clear()
    world.later.is_slow = True
    process = world.process("two", poll_size=3).begin()
    steps(process, 20)
    world.later.run()
    steps(process, 1)
    process.loop._upkeep._restoring._begin()
    world.later.run()
    process.stop()


def test_a_restore_that_is_cut_short_lets_go_of_what_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of a process closes the reader next: a read that goes on would tell of it."""
    world = CountingWorld()
    world.feed(*[b"a"] * 10)
    world.process("one", poll_size=3).run()
    world.broker.group("product").members.clear()
    world.feed(*[b"b"] * 10)
    monkeypatch.setattr(restoring, "SLICE_S", -1)  # one piece a turn
    read, told = MemoryRangeReader.read, list[str]()

    def watched(self: MemoryRangeReader, *given: Any, **named: Any) -> Iterator[Records]:
        told.append("begins")
        try:
            yield from read(self, *given, **named)
        finally:
            told.append("ends")

    monkeypatch.setattr(MemoryRangeReader, "read", watched)
    process = world.process("two")
    process.run(hook=lambda _: process.loop.stop() if told[-1:] == ["begins"] else None)
    assert not process.monitor.restores[-1][0].is_done
    assert told[-2:] == ["begins", "ends"]


@pytest.mark.parametrize("call", ["names", "get"])
def test_a_storage_that_refused_is_not_asked_for_each_task(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each would wait for it, also where it lists what it does not give; the changelogs have it."""
    asked: list[str] = []

    def refuse(name: str) -> object:
        asked.append(name)
        message = "s3://bucket refuses: the store does not answer in time."
        raise RetriableError(message, code="STATE_STORAGE")

    world = CountingWorld()
    checkpointed(world)
    world.broker.group("product").members.clear()
    world.feed(b"b")
    process = world.process("two", poll_size=3)
    monkeypatch.setattr(world.storage, call, refuse)
    process.begin()
    steps(process, 20)
    assert len(asked) == 1
    reasons = [reason for _, reason in process.monitor.passed_over_checkpoints]
    assert reasons == [
        "s3://bucket refuses: the store does not answer in time.",
        *["the storage refused a moment ago"] * (len(reasons) - 1),
    ]
    assert len(reasons) > 1
    (done,) = process.monitor.restores[-1]
    assert (done.loaded, done.is_done) == (0, True)
    process.stop()
    world.check_complete()


def test_the_end_of_a_process_gives_up_what_waits() -> None:
    """Nothing is left in the workspace, and nothing is there under a name."""
    world = SlowWorld()
    world.feed(*[b"a"] * 10)
    process = world.process("one", poll_size=3).begin()
    steps(process, 20)
    world.later.is_slow = True
    steps(process)
    assert world.later.waiting
    assert list(world.storage.workspace.iterdir())
    process.stop()
    world.made.close()
    assert list(world.storage.workspace.iterdir()) == []
    assert world.storage.names("") == []
