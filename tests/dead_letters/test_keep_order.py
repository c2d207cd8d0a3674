"""Letters that keep the order of their keys: no record overtakes one that was set aside."""

import signal
from dataclasses import replace
from typing import Final

import polars as pl
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule
from tests.dead_letters.conftest import FIRST, SECOND, SetAside
from tests.dead_letters.order import CHANGELOG, OrderWorld
from tests.engine.conftest import DEAD, Process, World
from tests.engine.test_exactly_once import Histories, few_or_many, run_histories
from tests.faults.harness import END_S, Bench, until

from headwater.adapters.memory import MemoryTransactionalLog
from headwater.adapters.memory.faults import Operation
from headwater.assembly.letters import standing
from headwater.assembly.letters.box import Selection
from headwater.assembly.letters.replay import Replayed
from headwater.engine import Start
from headwater.errors import FencedError, StartRefusedError, UnavailableError, UnverifiableError
from headwater.model import Letter, Partition

VALUES: Final = [b"a", b"a", b"a", b"bad", b"never"]
SELECTIONS: Final = [
    Selection(),
    Selection(keys=frozenset({"k1"})),
    Selection(codes=frozenset({"PARKED"})),
]


class Orders(Histories):
    """Replays and discards beside all that may happen to the processes of a product."""

    world: OrderWorld

    @rule(values=st.lists(st.sampled_from(VALUES), min_size=3, max_size=12))
    def feed_bad_ones(self, values: list[bytes]) -> None:
        self.world.feed(*values)

    @rule()
    def another_release(self) -> None:
        self.world.is_mended = not self.world.is_mended

    @rule(
        meant=st.sampled_from(SELECTIONS),
        since_s=st.sampled_from([None, 0.0, 11.0]),
    )
    def replay(self, meant: Selection, since_s: float | None) -> None:
        """While the product runs, or so long after it was stopped."""
        if since_s is not None:
            self.stop_all(since_s)
        self.judge(self.world.replay(meant))
        self.go_on()

    @rule(place=st.integers(0, 20))
    def discard(self, place: int) -> None:
        self.stop_all()
        opened = [at for at, (_, status) in self.world.letters().items() if status == "open"]
        if opened:
            self.judge(self.world.discard(opened[place % len(opened)]))
        self.go_on()

    @rule(
        operation=st.sampled_from(["begin", "produce", "send_offsets", "commit"]),
        after=st.integers(0, 3),
        turns=st.integers(4, 20),
        is_gone=st.booleans(),
    )
    def start_within_a_replay(
        self, operation: Operation, after: int, turns: int, *, is_gone: bool
    ) -> None:
        """The product is started in the middle, and may be gone again before the replay goes on."""
        self.stop_all()

        def run() -> None:
            self.world.feed(b"a", b"bad", b"a")
            self.start("one")
            self.step("one", turns)
            if is_gone:
                self.stop_all()

        self.world.broker.faults.script(operation, run, after=after)
        self.judge(self.world.replay())
        self.go_on()

    def stop_all(self, seconds: float = 11.0) -> None:
        for process in list(self.running.values()):  # a fault of one may start another
            if process.is_running:
                process.stop()
        self.world.broker.clock.advance(seconds)
        self.forget_the_dead()

    def go_on(self) -> None:
        """With more records of every key, in a process that was stopped or was not."""
        self.world.feed(*[b"a"] * 5)
        if not any(process.is_running for process in self.running.values()):
            self.start("one")
        self.step("one", 8)

    def judge(self, outcome: object) -> None:
        """A command ends for a named reason only."""
        known = Replayed | UnavailableError | FencedError | UnverifiableError
        if isinstance(outcome, StartRefusedError):
            assert outcome.code in {"GROUP_ACTIVE", "OFFSETS_LOST"}
        else:
            assert outcome == "killed" or isinstance(outcome, known), outcome

    def teardown(self) -> None:
        """And when everything was replayed by a release that can, or discarded, no key waits."""
        super().teardown()
        world = self.world
        world.is_mended = True
        self.stop_all()
        for _ in range(30):
            assert isinstance(done := world.replay(), Replayed), done
            opened = [at for at, (_, status) in world.letters().items() if status == "open"]
            world.check()
            if not opened:
                break
            hopeless = [
                at
                for at, (letter, status) in world.letters().items()
                if status == "open" and letter.code != "PARKED"
            ]
            world.discard(*hopeless)
        self.all_is_out()
        world.check()

    def all_is_out(self) -> None:
        """No key is parked for nothing."""
        assert not self.world.parked()


@pytest.mark.usefixtures("at_once")
@few_or_many(15, 300)
def test_no_record_overtakes_one_of_its_key_that_was_set_aside(examples: int) -> None:
    """Whatever fails, is replayed, discarded or killed, in any order, and at last all is out."""
    run_histories(OrderWorld, examples=examples, histories=Orders)


def run(world: World) -> Process:
    """One process from start to end, over several batches; its session is over at once."""
    process = world.process(poll_size=4)
    process.run()
    process.ended = process.ended or "stopped"
    world.broker.group("product").members.clear()
    return process


def codes(world: OrderWorld) -> dict[int, str]:
    """The codes of the open letters, by the numbers of their records."""
    numbers = {
        (record.partition, record.offset): int((record.value or b"").rpartition(b"#")[2])
        for record in world.broker.visible("in")
    }
    opened = [letter for letter, status in world.letters().values() if status == "open"]
    return {numbers[each.source, each.source_offset]: each.code for each in opened}


def set_aside(*values: bytes) -> OrderWorld:
    """A world whose product has read these; every fifth has the same key."""
    world = OrderWorld()
    world.feed(*values)
    run(world)
    world.check_complete()
    return world


def replayed(world: OrderWorld) -> Replayed:
    """What came of a replay that was not refused."""
    world.is_mended = True
    done = world.replay()
    assert isinstance(done, Replayed), done
    world.check()
    return done


@pytest.mark.usefixtures("at_once")
def test_followers_of_a_bad_record_are_parked_in_its_batch_and_in_later_ones() -> None:
    """They are letters of their own, no bad records, and say what they wait for."""
    world = set_aside(b"bad", *[b"a"] * 15)
    assert codes(world) == {1: "STEP_FAILED", 6: "PARKED", 11: "PARKED", 16: "PARKED"}
    assert world.processes[-1].monitor.waiting_keys == {"in": (1, 4)}
    assert world.processes[-1].window.counts() == (16, 1)
    waiting = [letter for letter, _ in world.letters().values() if letter.behind is not None]
    (first,) = {letter.behind for letter in waiting}
    at = f"{waiting[0].source}@{first}"
    assert {each.message for each in waiting} == {
        f"waits for {at}, a record of its key that was set aside"
    }
    done = replayed(world)
    assert (done.replayed, codes(world), world.parked()) == (4, {}, {})
    world.feed(*[b"a"] * 5)
    run(world)
    world.check_complete()
    assert codes(world) == {}


@pytest.mark.usefixtures("at_once")
def test_a_restart_that_reads_the_tail_again_counts_no_parked_records() -> None:
    """Promise 6: the window of bad records is rebuilt without those that merely wait."""
    world = set_aside(b"bad", *[b"a"] * 15)
    world.feed(b"a")
    assert run(world).window.counts() == (17, 1)


@pytest.mark.usefixtures("at_once")
def test_a_replay_comes_to_the_next_record_that_cannot_be_taken() -> None:
    """What follows it stays; without it, the rest comes."""
    world = set_aside(b"bad", *[b"a"] * 4, b"never", *[b"a"] * 9)
    done = replayed(world)
    assert (done.replayed, done.failed_again, done.left_behind) == (1, {"STEP_FAILED": 1}, 1)
    assert codes(world) == {6: "STEP_FAILED", 11: "PARKED"}
    (place,) = [at for at, (each, _) in world.letters().items() if each.attempts > 1]
    assert isinstance(world.discard(place), Replayed)
    world.check()
    assert replayed(world).replayed == 1
    assert (codes(world), world.parked()) == ({}, {})


@pytest.mark.usefixtures("at_once")
def test_a_product_that_runs_is_not_replayed() -> None:
    """It has the parked keys in memory: not even when it has nothing to do."""
    world = set_aside(b"bad", *[b"a"] * 9)
    process = world.process().begin()
    for _ in range(10):
        process.step()
    for outcome in (world.replay(), world.discard(next(iter(world.letters())))):
        assert isinstance(outcome, StartRefusedError)
        assert outcome.code == "GROUP_ACTIVE"
    assert codes(world) == {1: "STEP_FAILED", 6: "PARKED"}


@pytest.mark.usefixtures("at_once")
def test_letters_behind_an_open_transaction_are_not_overlooked() -> None:
    """A process that was killed may have left one open; a replay waits for its end."""
    world = set_aside(b"bad", *[b"a"] * 9)
    killed = MemoryTransactionalLog(world.broker, transactional_id="killed")
    killed.initialise()
    killed.begin()
    killed.produce_letters(DEAD, [Letter(None, b"", [])])
    assert isinstance(world.replay(), UnavailableError)
    world.broker.clock.advance(11.0)
    assert replayed(world).replayed == 2


@pytest.mark.usefixtures("at_once")
def test_a_key_whose_letters_are_gone_is_free_after_a_replay() -> None:
    """Letters are kept for thirty days; nothing waits for what can never come."""
    world = set_aside(b"bad", *[b"a"] * 9)
    letters = world.broker.partition(Partition(DEAD, 0))
    letters.beginning = letters.end
    assert isinstance(world.replay(), Replayed)
    assert not world.parked()


@pytest.mark.usefixtures("at_once")
def test_positions_and_their_notes_are_as_they_were() -> None:
    """A replay puts them into its transactions, and says nothing new with them."""
    world = set_aside(b"bad", *[b"a"] * 9)
    before = dict(world.broker.group("product").offsets)
    assert any(note for _, note in before.values())
    replayed(world)
    assert world.broker.group("product").offsets == before


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_keys_stay_parked_where_an_operator_begins_without_offsets(start: Start) -> None:
    """What is parked is no count of what was read: it holds wherever the product goes on."""
    world = set_aside(b"bad", *[b"a"] * 9)
    world.broker.group("product").offsets.clear()
    world.start = replace(world.start, explicit=start, parked=[CHANGELOG])
    assert run(world).ended == "stopped"
    world.feed(*[b"a"] * 5)
    run(world)
    assert codes(world).keys() == {1, 6, 11}
    world.is_mended = True
    assert isinstance(world.replay(), Replayed)
    assert (codes(world), world.parked()) == ({}, {})


def in_order(release: str) -> str:
    """A release of the product that keeps the order of its letters."""
    return release.replace("import DataProduct", "import DataProduct, DeadLetters").replace(
        'owner="tests@airport.example"',
        'owner="tests@airport.example", dead_letters=DeadLetters(keep_order=True)',
    )


def delays(world: SetAside) -> dict[str, list[float]]:
    """What was published of each flight, in the order of the log."""
    found = world.published()
    return dict(found.group_by("flight_id", maintain_order=True).agg("delay_minutes").iter_rows())


@pytest.mark.kafka
def test_parked_records_come_back_in_order_and_their_key_is_free_again(
    bench: Bench, flights: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set aside, parked over a restart, refused while the group has members, replayed, free."""
    fed = flights.head(30).with_columns(dep_delay=pl.lit(1.0))
    is_bad = pl.int_range(pl.len()) < 3
    bad = pl.when(is_bad).then(pl.lit("BAD")).otherwise("carrier")
    world = SetAside(bench, "in-order", fed.with_columns(carrier=bad))
    world.release(in_order(FIRST))
    world.run()
    with bench.run(world.product, until_end=False) as run:
        for delay in (2.0, 3.0):
            world.publish(fed.head(6).with_columns(dep_delay=pl.lit(delay)))
        until(lambda: run.metric("headwater_parked_letters") == 9, END_S, "six more letters")
        with monkeypatch.context() as patch:
            patch.setattr(standing, "EMPTY_GROUP_S", 0.0)
            refused = world.command("replay")
        run.send(signal.SIGTERM)
        assert run.exit_code() == 0
    assert (refused.returncode, refused.stderr[:13]) == (78, "GROUP_ACTIVE:")
    assert world.answer("list")["totals"] == {"STEP_FAILED": 3, "PARKED": 6}
    ids = fed["flight_id"].to_list()
    early = {flight: [1.0, 2.0, 3.0] for flight in ids[3:6]}
    assert delays(world) == early | {flight: [1.0] for flight in ids[6:]}
    world.release(in_order(SECOND))
    first, *_ = world.answer("list", "--code", "STEP_FAILED")["letters"]
    done = world.answer("replay", "--at", first["at"])
    assert (done["replayed"], done["left_behind"]) == (3, 0)
    assert world.statuses() == {"replayed": 3, "open": 6}
    assert world.answer("replay")["replayed"] == 6
    world.feed(fed.head(6).with_columns(dep_delay=pl.lit(4.0)))
    assert world.statuses() == {"replayed": 9}
    after = {flight: [1.0, 2.0, 3.0, 4.0] for flight in ids[:6]}
    assert delays(world) == after | {flight: [1.0] for flight in ids[6:]}
