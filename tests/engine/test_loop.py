"""The loop over the broker in memory: when all is well, and at each thing that fails."""

from typing import TYPE_CHECKING

import pytest

from headwater.adapters.memory import LostCommit
from headwater.engine import CommitPolicy
from headwater.errors import (
    AbortableError,
    FatalError,
    FencedError,
    RecycleError,
    RetriableError,
    UnavailableError,
)
from headwater.model import Code

if TYPE_CHECKING:
    from tests.engine.conftest import World

FAILURES = [AbortableError("scripted"), RecycleError("scripted"), RetriableError("scripted")]


def test_a_run_ends_when_the_ends_of_now_are_reached(world: "World") -> None:
    """Everything fed is out, once, and the committed positions are the ends."""
    world.feed(*[b"a", b"bad", b"drop"] * 20)
    process = world.process(poll_size=7)
    process.run()
    assert process.ended is None
    world.check_complete()
    assert process.monitor.read == {"in": 60}
    assert process.monitor.written == {"out": 20}
    assert process.monitor.codes == {Code.STEP_FAILED: 20}


def test_a_run_over_empty_inputs_ends(world: "World") -> None:
    """Nothing to do is done."""
    process = world.process()
    process.run()
    assert process.ended is None
    assert process.monitor.read == {}


def test_filtered_records_move_the_positions(world: "World") -> None:
    """A transaction without outputs commits its positions all the same."""
    world.feed(b"drop", b"drop", b"drop")
    world.process().run()
    assert world.outputs() == []
    world.check_complete()


def test_a_stop_drains(world: "World") -> None:
    """What is staged is committed, once, before the loop ends."""
    world.feed(*[b"a"] * 30)
    process = world.process(interval_s=3600.0, poll_size=5)
    process.run(hook=lambda turn: process.loop.stop() if turn == 4 else None)
    assert process.ended is None
    begun = 3  # per partition, where its work begins is noted first
    assert process.monitor.endings == {"committed": begun + 1}
    assert 0 < len(world.outputs()) < 30
    world.check()
    world.process().run()
    world.check_complete()


@pytest.mark.parametrize("operation", ["produce", "send_offsets", "commit"])
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_step_that_fails_once_is_repeated(
    world: "World", operation: str, error: Exception
) -> None:
    """The transaction is ended as the error asks, the inputs go back, and all comes out once."""
    world.feed(*[b"a", b"a", b"bad"] * 10)
    world.broker.faults.script(operation, error, after=1)  # type: ignore[arg-type]
    process = world.process(poll_size=4, max_records=8)
    process.run()
    assert process.ended is None
    world.check_complete()


@pytest.mark.parametrize("lost", list(LostCommit))
def test_an_unanswered_commit_is_resolved(world: "World", lost: LostCommit) -> None:
    """Taken or not: the new client learns it from the committed positions."""
    world.feed(*[b"a"] * 30)
    world.broker.faults.script("commit", lost, after=1)
    process = world.process(poll_size=4, max_records=8)
    process.run()
    assert process.ended is None
    world.check_complete()
    assert process.monitor.endings["recycled"] == (lost is LostCommit.REQUEST)
    assert process.monitor.read == {"in": 30}


@pytest.mark.parametrize("lost", list(LostCommit))
def test_records_at_hand_fall_with_the_commit_before_them(world: "World", lost: LostCommit) -> None:
    """A commit that falls due between polling and staging may rewind behind the batch polled."""
    world.feed(*[b"a"] * 30)
    world.broker.faults.script("commit", lost)
    process = world.process(poll_size=2).begin()
    for _ in range(60):
        process.step()
        world.check()
    world.check_complete()


def test_a_new_client_that_cannot_initialise_is_waited_for(world: "World") -> None:
    """Commit not answered, broker away: the loop waits, then learns how it ended."""
    world.feed(*[b"a"] * 20)
    world.broker.faults.script("commit", LostCommit.ANSWER)
    world.broker.faults.script("initialise", UnavailableError("away"), after=1, times=5)
    process = world.process()
    process.run()
    assert process.ended is None
    assert process.monitor.reasons[0] == "away"
    assert process.monitor.reasons[-1] is None
    world.check_complete()


def test_a_rebalance_during_an_outage_is_survived(world: "World") -> None:
    """Partitions that move while the loop waits for the broker do not end it."""
    world.feed(*[b"a"] * 20)
    group = world.broker.group("product")
    world.broker.faults.script("commit", LostCommit.ANSWER)
    world.broker.faults.script("initialise", UnavailableError("away"), after=1, times=3)
    world.broker.faults.script("committed", UnavailableError("away"), after=2, times=2)
    process = world.process()
    process.run(hook=lambda turn: group.expire("one") if turn == 2 else None)
    assert process.ended is None
    world.check_complete()


def test_a_broker_away_for_too_long_ends_the_run(world: "World") -> None:
    """Beyond the outage limit the process says so and stops; nothing of it is half done."""
    world.feed(*[b"a"] * 20)
    world.broker.faults.script("send_offsets", UnavailableError("away"))
    world.broker.faults.script("initialise", UnavailableError("away"), after=1, times=1000)
    process = world.process(outage_limit_s=30.0)
    process.run()
    assert isinstance(process.ended, UnavailableError)
    assert process.ended.exit_code == 69
    assert 30 < world.broker.clock.at_s < 60
    world.broker.faults.clear()
    world.process().run()
    world.check_complete()


def test_a_stop_during_an_outage_ends_the_run_at_once(world: "World") -> None:
    """Waiting is no reason not to stop; a drain that cannot be done is not an error."""
    world.feed(*[b"a"] * 20)
    process = world.process()
    process.task.away = 1000
    world.broker.faults.script("poll", process.loop.stop, after=5)
    process.run()
    assert process.ended is None
    assert world.broker.clock.at_s < 30
    world.process().run()
    world.check_complete()


def test_a_failure_that_does_not_pass_ends_the_run(world: "World") -> None:
    """Ten transactions in a row that fail are a cause that somebody has to look at."""
    world.feed(b"a")
    world.broker.faults.script("produce", AbortableError("always"), times=1000)
    process = world.process()
    process.run()
    assert isinstance(process.ended, FatalError)
    assert "in a row failed, the last one: always" in str(process.ended)
    assert world.outputs() == []


def test_a_broker_that_takes_no_offsets_counts_as_away(world: "World") -> None:
    """It answers every recovery, so only the transactions it fails can tell."""
    world.feed(b"a")
    world.broker.faults.script("send_offsets", UnavailableError("no answer"), times=1000)
    process = world.process()
    process.run()
    assert isinstance(process.ended, UnavailableError)
    assert "in a row failed, the last one: no answer" in str(process.ended)
    assert world.outputs() == []


def test_while_the_registry_is_away_inputs_wait(world: "World") -> None:
    """Nothing is dead-lettered, the membership is kept, and work goes on afterwards."""
    world.feed(*[b"a", b"bad"] * 10)
    process = world.process(poll_size=3)
    process.task.away = 8
    process.run()
    assert process.ended is None
    assert process.monitor.reasons == ["the registry does not answer", None]
    world.check_complete()
    assert len(world.committed("out.dead-letters")) == 10


def test_what_is_staged_is_committed_before_a_wait(world: "World") -> None:
    """An open transaction would time out while the registry is away."""
    world.feed(*[b"a"] * 9)
    process = world.process(interval_s=3600.0, poll_size=3).begin()
    process.step()
    process.task.away = 3
    process.step()
    assert len(world.outputs()) == 3
    assert process.monitor.reasons == ["the registry does not answer", None]


def test_an_idle_loop_passes_control_records_once(world: "World") -> None:
    """The lag is zero when idle, and no transaction is spent on it again and again."""
    upstream = world.process("upstream").log
    upstream.initialise()
    for key in (b"a", b"b", b"c"):
        upstream.begin()
        upstream.produce("in", [key], [b"a#1"])
        upstream.commit()
    process = world.process().begin()
    for _ in range(20):
        process.step()
    assert world.positions() == world.topics.ends("in")
    # where the work begins, the records, then what lies behind them
    assert process.monitor.endings == {"committed": 3}


def test_a_transaction_is_ended_while_its_partitions_are_held(world: "World") -> None:
    """A rebalance commits inside the callback, so the next owner repeats nothing."""
    world.feed(*[b"a"] * 12)
    one = world.process("one", interval_s=3600.0).begin()
    one.step()
    assert world.outputs() == []
    two = world.process("two").begin()
    one.step()
    assert len(world.outputs()) == 12
    for _ in range(5):
        two.step()
    assert two.source.assignment()
    assert two.monitor.read == {}
    world.check_complete()


def test_a_member_between_two_assignments_has_not_reached_the_end(world: "World") -> None:
    """Holding nothing for a moment is not being done."""
    world.feed(*[b"a"] * 12)
    group = world.broker.group("product")
    one = world.process("one", poll_size=2)

    def hook(turn: int) -> None:
        if turn == 2:
            group.join("slow", ["in"])
            group.rebalance()  # which waits for a member that never polls
        if 3 < turn < 20:
            assert not one.source.assignment()
        if turn == 20:
            group.expire("slow")

    one.run(hook=hook)
    assert one.ended is None
    world.check_complete()


def test_an_evicted_member_commits_nothing_of_what_it_held(world: "World") -> None:
    """The session ended in an open transaction: it is aborted, another does the work."""
    world.feed(*[b"a"] * 12)
    one = world.process("one", interval_s=5.0).begin()
    one.step()
    world.broker.group("product").expire("one")
    two = world.process("two").begin()
    for _ in range(4):
        two.step()
    for _ in range(4):
        one.step()
        two.step()
        world.check()
    assert one.is_running
    assert one.monitor.endings["aborted"] == 1
    world.check_complete()


def test_a_zombie_ends_with_75_and_publishes_nothing(world: "World") -> None:
    """Another process took its id in the middle of a transaction."""
    world.feed(*[b"a"] * 12)
    zombie = world.process("one", interval_s=0.5).begin()
    zombie.step()
    successor = world.process("one").begin()
    for _ in range(4):
        successor.step()
    world.broker.clock.advance(30.0)  # older than its own timeout: the group still says no
    zombie.step()
    assert isinstance(zombie.ended, FencedError)
    assert zombie.ended.exit_code == 75
    assert successor.is_running
    world.check_complete()


@pytest.mark.parametrize("noticed", ["in a commit", "while revoked", "in an abort"])
def test_an_own_transaction_that_timed_out_is_recycled(world: "World", noticed: str) -> None:
    """The broker fences it like a zombie's, but nobody took its place: it goes on."""
    world.feed(*[b"a"] * 12)
    process = world.process("one", interval_s=0.5, poll_size=4).begin()
    process.step()
    world.broker.clock.advance(11.0)
    if noticed == "while revoked":
        world.broker.group("product").rebalance()
    if noticed == "in an abort":
        world.broker.group("product").expire("one")
    for _ in range(60):
        process.step()
        world.check()
    assert process.is_running, process.ended
    assert process.monitor.endings["recycled"] == 1
    world.check_complete()


def test_a_killed_process_leaves_nothing_visible_and_blocks_nobody(world: "World") -> None:
    """Its successor of the same id ends what it left open and repeats it."""
    world.feed(*[b"a"] * 12)
    world.broker.faults.script("commit", world.kill_current)
    world.process("one").run()
    assert world.outputs() == []
    world.process("one").run()
    world.check_complete()
    assert world.broker.clock.at_s < 5  # nobody waited for a timeout


@pytest.mark.parametrize(
    ("elapsed_s", "records", "size", "is_due"),
    [
        (0.09, 1, 1, False),
        (0.1, 1, 1, True),
        (0.0, 100, 1, True),
        (0.0, 99, 1, False),
        (0.0, 1, 1000, True),
        (0.0, 1, 999, False),
    ],
)
def test_a_commit_is_due_by_time_records_or_bytes(
    elapsed_s: float, records: int, size: int, is_due: bool
) -> None:
    """Whichever comes first."""
    policy = CommitPolicy(interval_s=0.1, max_records=100, max_bytes=1000)
    assert policy.is_due(elapsed_s=elapsed_s, records=records, size=size) is is_due
