"""A product in memory that counts the records of each key, and replays of its letters."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import polars as pl
from tests.dead_letters.commands import LettersWorld
from tests.dead_letters.order import MendingTask
from tests.dead_letters.world import StrictSandbox
from tests.engine.conftest import DEAD, INPUT, OUTPUT, EchoTask, Process
from tests.engine.counting import CHANGELOG, STEP, CountingWorld, CountTask, power_off

from headwater.adapters.memory import MemoryRangeReader, MemoryStores
from headwater.assembly import audit
from headwater.assembly.letters_ledger import Beside
from headwater.assembly.letters_standing import Standstill
from headwater.assembly.letters_state import KeptState
from headwater.assembly.letters_work import Release
from headwater.clock import ManualClock
from headwater.contract import StateRows
from headwater.engine import (
    EventTimes,
    Restoring,
    StartPositions,
    StateSources,
    StepStore,
    Stores,
    Task,
)
from headwater.ports import LocalStores
from headwater.state import KeyedStore, StoreSettings


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
    return release, state, lambda: state.__exit__(None, None, None)


class CountedWorld(LettersWorld, CountingWorld):
    """Replays use the disk of the process before them, where that is gone."""

    _checked: object = None

    def checkpoints(self, stores: Stores) -> None:  # type: ignore[override]  # it has none
        """None: their files would be left open by what is killed here."""

    def ended(self, process: Process) -> None:
        """Nothing: a history goes on with processes when it has ended."""

    def task(self, stores: Stores) -> EchoTask:
        return MendingCountTask(self, stores)

    def release(self) -> tuple[Release, Beside, Callable[[], None]]:
        stores = self._opened(self._free_disk())
        return with_state(self, self.task(stores), stores)

    def _free_disk(self) -> LocalStores:
        last = self._last.get("one")
        if last is None or last.is_running:
            return MemoryStores()
        power_off(last)
        return self.disks["one"]

    def _opened(self, disk: LocalStores) -> Stores:
        settings = StoreSettings(self.topics.topic_id(CHANGELOG))
        rows = StateRows({"count": pl.Int64()})
        store = KeyedStore(rows, disk, settings, clock=self.broker.clock)
        return Stores([StepStore(OUTPUT, STEP, INPUT, store)])

    def check(self) -> None:
        """Every record read is published, or set aside and open or discarded; counted once."""
        topics = (INPUT, OUTPUT, DEAD, CHANGELOG, audit.TOPIC)
        seen = self.positions(), [self.topics.ends(topic) for topic in topics]
        if seen == self._checked:
            return
        self._checked = seen
        letters, positions = self.letters(), self.positions()
        away = Counter(
            (letter.source, letter.source_offset)
            for letter, status in letters.values()
            if status in {"open", "discarded"}
        )
        assert set(away.values()) <= {1}
        wanted = [
            b"out:" + (each.value or b"")
            for each in self.broker.visible(INPUT)
            if each.offset < positions[each.partition] and (each.partition, each.offset) not in away
        ]
        assert Counter(self.outputs()) == Counter(wanted)
        self.check_counts()
