"""Letters of a product with state come back through that state, exactly once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import polars as pl
import pytest
from tests.dead_letters.commands import LettersWorld
from tests.dead_letters.conftest import RAISING, REFUSING, SetAside
from tests.dead_letters.counted import CountedWorld, MendingCountTask, with_state
from tests.dead_letters.order import MendingTask
from tests.dead_letters.test_keep_order import Orders, run
from tests.dead_letters.world import EchoTask as PlainTask
from tests.engine import closing
from tests.engine.closing import WindowTask, WindowWorld
from tests.engine.conftest import DEAD, INPUT, OUTPUT, EchoTask
from tests.engine.test_exactly_once import run_histories
from tests.faults.harness import Bench

from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.letters.ledger import Beside
from headwater.assembly.letters.replay import Replayed
from headwater.assembly.letters.state import KeptState
from headwater.assembly.letters.work import Release
from headwater.engine import LetterWriter, StepStore, Stores, Watermarks, Work
from headwater.errors import RebuildError, RuleBrokenError, StartRefusedError, UnavailableError
from headwater.model import Code, Quarantine
from headwater.ports import Records, TopicSettings
from headwater.state import KeyedStore, StoreSettings

EXAMPLES: Final = 12


class Counts(Orders):
    """Replays and discards beside all that may happen to the processes of a product that counts."""

    world: CountedWorld  # type: ignore[assignment]  # of another state

    def all_is_out(self) -> None:
        """Nothing waits for letters."""


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("at_once")
def test_every_record_is_counted_once_whatever_is_set_aside_and_replayed() -> None:
    """Whatever fails, is replayed, discarded or killed, in any order: counts go up one by one."""
    run_histories(CountedWorld, examples=EXAMPLES, histories=Counts)


def set_aside(*values: bytes) -> CountedWorld:
    """A world whose product has read these and is stopped; every fifth has the same key."""
    world = CountedWorld()
    world.feed(*values)
    run(world)
    world.check()
    return world


@pytest.mark.usefixtures("at_once")
def test_a_replayed_record_finds_and_leaves_the_state_of_its_key() -> None:
    """It is counted behind the records before it, and those to come behind it."""
    world = set_aside(b"a", b"bad", b"a", b"a", b"a", b"a", b"a")
    world.is_mended = True
    done = world.replay()
    assert isinstance(done, Replayed)
    assert (done.replayed, done.written) == (1, {"out": 1})
    assert world.committed("out")[-1].value == b"2|out:bad#2"
    world.feed(*[b"a"] * 5)
    run(world)
    world.check_complete()
    assert sorted(world.folded().values()) == [2, 2, 2, 3, 3]


@pytest.mark.usefixtures("at_once")
def test_a_trial_changes_no_state() -> None:
    """What it says is what a replay comes to, and the next replay counts as if there was none."""
    world = set_aside(b"a", b"bad", b"a", b"a", b"a", b"a", b"bad")
    world.is_mended = True
    before = world.folded()
    tried = world.replay(is_dry=True)
    assert isinstance(tried, Replayed)
    assert (tried.replayed, tried.written) == (2, {"out": 2})
    assert world.folded() == before
    assert world.replay() == tried
    world.check()


@pytest.mark.usefixtures("at_once")
def test_what_is_left_open_changes_no_state() -> None:
    """Of letters whose keys have newer values nothing is counted, nor of those that fail again."""
    world = set_aside(b"bad", b"never", *[b"a"] * 8, b"bad")  # the first and the last have one key
    world.is_mended = True
    done = world.replay(if_newest=True)
    assert isinstance(done, Replayed)
    assert (done.replayed, done.left_newer, done.failed_again) == (1, 1, {"STEP_FAILED": 1})
    assert world.committed("out")[-1].value == b"2|out:bad#11"
    world.check()
    done = world.replay()
    assert isinstance(done, Replayed)
    assert world.committed("out")[-1].value == b"3|out:bad#1"
    world.check()


class TwoInputs(CountedWorld):
    """Reads another input too, whose letters come after; nothing is kept of that one."""

    other: Final = "other"

    def __init__(self) -> None:
        super().__init__()
        self.topics.create([TopicSettings(self.other, 1, "source")])

    def set_other_aside(self, value: bytes) -> None:
        """A record of the other input, and its letter."""
        self.broker.append(self.other, value, key=b"other")
        record = self.broker.visible(self.other)[-1]
        writer = LetterWriter(DEAD, "r1", self.broker.clock)
        records = MemoryRecords(self.other, [record])
        (letter,) = writer.letters(records, [Quarantine(0, Code.STEP_FAILED, "why", "step")])
        self.broker.append(DEAD, letter.value, key=letter.key, headers=tuple(letter.headers))

    def release(self) -> tuple[Release, Beside, Callable[[], None]]:
        release, beside, end = super().release()
        tasks = {self.other: PlainTask(DEAD), INPUT: release.task_of(INPUT)}
        return replace(release, task_of=tasks.get), beside, end


@pytest.mark.usefixtures("at_once")
def test_of_a_batch_that_is_left_open_as_a_whole_nothing_goes_along_with_the_next() -> None:
    """The next one is of another input, and its transaction takes what all inputs changed."""
    world = TwoInputs()
    world.feed(b"bad", *[b"a"] * 5)  # the first and the last have one key
    run(world)
    world.set_other_aside(b"v")
    world.is_mended = True
    before = world.folded()
    done = world.replay(if_newest=True)
    assert isinstance(done, Replayed)
    assert (done.replayed, done.left_newer) == (1, 1)
    assert world.folded() == before


@pytest.mark.usefixtures("at_once")
def test_the_letters_of_a_product_that_runs_are_not_replayed() -> None:
    """Its state is in its memory, and would miss what the letters change."""
    world = set_aside(b"a", b"bad")
    process = world.process().begin()
    for _ in range(5):
        process.step()
    world.is_mended = True
    outcome = world.replay()
    assert isinstance(outcome, StartRefusedError)
    assert outcome.code == "GROUP_ACTIVE"
    world.check()


@pytest.mark.usefixtures("at_once")
def test_state_found_damaged_is_thrown_away_and_the_next_replay_restores_it() -> None:
    """Of the task concerned alone; the command says that it is to be run again."""
    world = set_aside(b"a", b"bad", *[b"a"] * 5)
    world.is_mended = True
    (letter,) = (letter for letter, _ in world.letters().values())
    release, _, end = world.release()
    state = release.state
    assert isinstance(state, KeptState)

    def work() -> None:
        with state.held():
            state.open([letter])
            raise RebuildError("It is damaged.", task=letter.source.index)

    with pytest.raises(UnavailableError, match=r"It is damaged\. It was thrown away"):
        work()
    end()
    for task in range(3):
        store = world.disks["one"].open(task)
        assert bool(store.scan(b"", 1)[0]) == (task != letter.source.index)
        store.close()
    assert isinstance(world.replay(), Replayed)
    world.check()
    assert world.committed("out")[-1].value == b"2|out:bad#2"


class StrictCountTask(MendingCountTask):
    """The third of a key breaks a rule that stops."""

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        work = super().process(records, guilty)
        if any(value.startswith(b"3|") for value in work.publications[0].values if value):
            raise RuleBrokenError("a total breaks the rule, whose severity is stop")
        return work


class StrictWorld(CountedWorld):
    """Its totals may not reach three."""

    def task(self, stores: Stores) -> EchoTask:
        return StrictCountTask(self, stores)


@pytest.mark.usefixtures("at_once")
def test_of_letters_that_break_a_rule_together_the_first_ones_come_back() -> None:
    """None of them breaks it alone: each is asked behind those before it."""
    world = StrictWorld()
    for _ in range(4):
        world.broker.append(INPUT, b"bad", key=b"k")
    run(world)
    world.is_mended = True
    done = world.replay()
    assert isinstance(done, Replayed)
    assert (done.replayed, done.stopping) == (2, 2)
    assert done.failed_again == {"CONTRACT_VIOLATION": 2}
    world.check()


class MendingWindowTask(WindowTask, MendingTask):
    """Counts by windows; refuses what `MendingTask` does."""

    def __init__(self, world: LettersWorld, stores: Stores) -> None:
        MendingTask.__init__(self, world)
        self._store = stores.held[0].store
        self.watermarks = Watermarks(None)


class ClosedWorld(LettersWorld, WindowWorld):
    """A product that counts by windows of event time."""

    def task(self, stores: Stores) -> EchoTask:
        return MendingWindowTask(self, stores)

    def release(self) -> tuple[Release, Beside, Callable[[], None]]:
        settings = StoreSettings(self.topics.topic_id(closing.CHANGELOG))
        store = KeyedStore(closing.ROWS, MemoryStores(), settings, clock=self.broker.clock)
        stores = Stores([StepStore(OUTPUT, closing.STEP, INPUT, store)])
        return with_state(self, self.task(stores), stores)


def closed_world(*values: bytes) -> ClosedWorld:
    """A world whose product has read these, and is stopped; of one key."""
    world = ClosedWorld()
    for value in values:
        world.broker.append(INPUT, value, key=b"k")
    run(world)
    return world


@pytest.mark.usefixtures("at_once")
def test_a_replayed_record_ahead_of_all_others_moves_event_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it closes is published with it, and the note beside the position says how far it is."""
    world = closed_world(b"a@3#1", b"bad@25#2", b"a@8#3")
    (task,) = {each.index for each in world.positions()} & {
        record.partition.index for record in world.broker.visible(INPUT)
    }
    assert (json.loads(world.note(task))["watermark"], world.closed()) == (8, {})
    monkeypatch.setattr(closing, "is_sound", lambda value: value is not None)
    world.is_mended = True
    before = world.positions()
    assert isinstance(world.replay(is_dry=True), Replayed)
    assert (json.loads(world.note(task))["watermark"], world.closed()) == (8, {})
    assert isinstance(world.replay(), Replayed)
    assert (json.loads(world.note(task))["watermark"], world.closed()) == (25, {(task, 0): 2})
    assert world.positions() == before
    assert world.open() == {(task, 20): 1}


@pytest.mark.usefixtures("at_once")
def test_a_replayed_record_of_a_closed_window_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is judged by event time as that stands."""
    world = closed_world(b"a@3#1", b"bad@8#2", b"a@25#3")
    monkeypatch.setattr(closing, "is_sound", lambda value: value is not None)
    world.is_mended = True
    assert isinstance(world.replay(), Replayed)
    assert [record.value for record in world.committed(closing.LATE)] == [b"bad@8#2"]
    assert list(world.closed().values()) == [1]


@pytest.mark.usefixtures("at_once")
def test_a_product_that_ran_within_a_replay_ends_it_although_no_position_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Idleness moves event time alone: the notes tell."""
    world = closed_world(b"a@3#1", b"bad@8#2")
    monkeypatch.setattr(closing, "is_sound", lambda value: value is not None)
    world.is_mended = True
    group = world.broker.group(OUTPUT)

    def moved() -> None:
        group.offsets |= {p: (at, '{"watermark":9}') for p, (at, _) in group.offsets.items()}

    world.broker.faults.script("produce", moved)
    outcome = world.replay()
    assert isinstance(outcome, StartRefusedError)
    assert outcome.code == "GROUP_ACTIVE"
    assert not world.committed(closing.LATE)


COUNTED: Final = """
from pydantic import BaseModel


class Flights(BaseModel):
    count: int = 0


def count(event: dict, flights: Flights) -> dict:
    flights.count += 1
    return {**event, "delay_minutes": float(flights.count)}


product.publish(delays.process(count, state=Flights), contract=1)
"""
COUNTING: Final = (
    RAISING.replace(
        "FLOW",
        'departures.map(strict("BAD")).latest("flight_id", by="sched_dep")'
        '.rekey("carrier").map(strict("WORSE"))',
    ).rpartition("product.publish")[0]
    + COUNTED
)


@pytest.mark.kafka
def test_letters_of_both_sides_of_a_change_of_key_come_back(
    bench: Bench, flights: pl.DataFrame
) -> None:
    """Through the state before it at once, through that behind it when the product runs again."""
    at = pl.int_range(pl.len()) % 10
    carrier = pl.when(at == 3).then(pl.lit("BAD")).when(at == 7).then(pl.lit("WORSE"))
    fed = flights.head(60).with_columns(carrier=carrier.otherwise("carrier"))
    world = SetAside(bench, "counted", fed)
    world.release(COUNTING)
    world.run()
    assert world.answer("list")["totals"] == {"STEP_FAILED": 12}
    assert len(world.outputs()) == 48
    world.release(COUNTING.replace(REFUSING, "pass"))
    done = world.answer("replay")
    assert (done["replayed"], done["refused"], done["written"]) == (12, [], {})
    assert list(done["moved"].values()) == [12]
    assert len(world.outputs()) == 48
    world.run()
    assert world.outputs() == sorted(fed["flight_id"])
    assert world.statuses() == {"replayed": 12}
    counted = bench.visible(world.product).group_by("carrier").agg(pl.col("delay_minutes").sort())
    for minutes in counted["delay_minutes"]:
        assert minutes.to_list() == list(range(1, len(minutes) + 1))
    assert counted["delay_minutes"].list.len().sum() == 60
