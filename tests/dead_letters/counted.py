"""A product in memory that counts the records of each key, and replays of its letters."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from tests.dead_letters.commands import LettersWorld
from tests.dead_letters.order import MendingTask
from tests.dead_letters.world import StrictSandbox
from tests.engine.conftest import INPUT, OUTPUT, EchoTask, Process
from tests.engine.counting import CountingWorld, CountTask

from headwater.adapters.memory import MemoryRangeReader, MemoryStores
from headwater.assembly.letters.ledger import Beside
from headwater.assembly.letters.standing import Standstill
from headwater.assembly.letters.state import KeptState
from headwater.assembly.letters.work import Release
from headwater.clock import ManualClock
from headwater.engine import (
    EventTimes,
    Restoring,
    StartPositions,
    StateSources,
    Stores,
    Task,
)


class Passing:
    """Stands for the module `time` where a command waits: the clock of the last world goes on."""

    clock = ManualClock()

    def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)


PASSING: Final = Passing()


class MendingCountTask(CountTask, MendingTask):
    """Publishes `<how many of its key>|out:<value>`; refuses what `MendingTask` does."""

    def __init__(self, world: LettersWorld, stores: Stores) -> None:
        MendingTask.__init__(self, world)
        self._store = stores.held[0].store


def with_state(
    world: LettersWorld, task: Task, stores: Stores
) -> tuple[Release, Beside, Callable[[], None]]:
    """A release that has this task, with its state as a command has it."""
    PASSING.clock = world.broker.clock
    marks = {} if task.watermarks is None else {INPUT: task.watermarks}
    sources = StateSources(world.topics, MemoryRangeReader(world.broker))
    state = KeptState(
        Standstill(OUTPUT, [INPUT], world.source(), world.topics, why="it counts"),
        Restoring(stores, sources, world.broker.clock),
        EventTimes(marks, world.broker.clock),
        StartPositions(world.start, world.topics, MemoryRangeReader(world.broker)),
        partners={},
    )
    sandbox = StrictSandbox()
    release = Release(lambda topic: task if topic == INPUT else None, sandbox, state=state)
    held = ExitStack()
    held.enter_context(state.held())
    return release, state, held.close


class CountedWorld(LettersWorld, CountingWorld):
    """Replays use the disk of the process before them, where that is gone."""

    def checkpoints(self, stores: Stores) -> None:  # type: ignore[override]  # it has none
        """None: their files would be left open by what is killed here."""

    def ended(self, process: Process) -> None:
        """Nothing: a history goes on with processes when it has ended."""

    def task(self, stores: Stores) -> EchoTask:
        return MendingCountTask(self, stores)

    def release(self) -> tuple[Release, Beside, Callable[[], None]]:
        stores = self.opened(self.disks.left_by("one") or MemoryStores())
        return with_state(self, self.task(stores), stores)

    def check(self) -> None:
        """Every record read is published, or set aside and open or discarded; counted once."""
        if self.has_news():
            self.check_published(self.letters().values())
            self.check_counts()
