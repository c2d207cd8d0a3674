"""Promise 6: too many bad records stop the product, and a restart does not drip past it."""

from typing import TYPE_CHECKING

import pytest

from headwater.adapters.memory import LostCommit
from headwater.engine import BadRecordLimit, BadRecordWindow
from headwater.errors import TooManyBadRecordsError
from headwater.model import Code

if TYPE_CHECKING:
    from tests.engine.conftest import World

DEAD = "out.dead-letters"


@pytest.mark.parametrize(
    ("read", "bad", "is_exceeded"),
    [
        (10_000, 500, False),
        (10_000, 501, True),
        (99, 99, False),
        (100, 100, True),
        (5000, 99, False),
    ],
)
def test_the_limit_wants_both_a_share_and_a_number(read: int, bad: int, is_exceeded: bool) -> None:
    """A few bad records of few are no bad deployment."""
    assert BadRecordLimit().is_exceeded(read=read, bad=bad) is is_exceeded


def test_a_transaction_that_trips_the_limit_is_aborted(world: "World") -> None:
    """Exit 65, naming the dead letters; nothing of the transaction is visible."""
    world.limit = BadRecordLimit(share=0.5, window=100, at_least=10)
    world.feed(*[b"a"] * 8)
    world.process().run()
    world.feed(*[b"bad"] * 20)
    process = world.process()
    process.run()
    assert isinstance(process.ended, TooManyBadRecordsError)
    assert process.ended.exit_code == 65
    assert DEAD in str(process.ended)
    assert world.committed(DEAD) == []
    world.check()
    assert world.topics.ends(DEAD) == world.topics.high_watermarks(DEAD)


def test_a_restart_does_not_drip_past_the_limit(world: "World") -> None:
    """The window is rebuilt from the tail of the dead letters, so the count goes on."""
    world.limit = BadRecordLimit(share=0.3, window=300, at_least=10)
    world.feed(*[b"bad"] * 9)
    process = world.process()
    process.run()
    assert process.ended is None
    world.feed(b"bad", b"bad")
    again = world.process()
    again.run()
    assert isinstance(again.ended, TooManyBadRecordsError)
    assert len(world.committed(DEAD)) == 9


def test_records_that_come_again_are_counted_once(world: "World") -> None:
    """What a failed transaction counted is forgotten with it."""
    world.limit = BadRecordLimit(share=0.3, window=300, at_least=10)
    world.feed(*[b"bad"] * 9)
    world.broker.faults.script("commit", LostCommit.REQUEST, times=3)
    process = world.process()
    process.run()
    assert process.ended is None
    assert process.window.counts() == (9, 9)
    world.check_complete()


def test_records_without_outputs_that_come_again_are_counted_once(world: "World") -> None:
    """Also when no transaction was begun for them yet."""
    world.feed(*[b"drop"] * 12)
    process = world.process(interval_s=5.0).begin()
    process.step()
    world.broker.group("product").expire("one")
    for _ in range(6):
        process.step()
    world.check_complete()
    assert process.window.counts()[0] == 12
    assert process.monitor.read == {"in": 12}


def test_the_oldest_batches_leave_the_window() -> None:
    """It looks back on the last records only."""
    window = BadRecordWindow(BadRecordLimit(share=0.5, window=100, at_least=10))
    for bad in (9, 0, 0, 0):
        window.observe(read=40, codes={Code.STEP_FAILED: bad}, dead_letters=DEAD)
        window.settle()
    assert window.counts() == (100, 0)


@pytest.mark.parametrize("batches", [[(9_999, 0)], [(10_000, 0)] * 19])
def test_what_was_clean_before_does_not_hide_a_bad_deployment(
    batches: list[tuple[int, int]],
) -> None:
    """Neither a batch that reaches out of the window nor a long open transaction thins it out."""
    window = BadRecordWindow(BadRecordLimit())
    for read, bad in batches:
        window.observe(read=read, codes={Code.STEP_FAILED: bad}, dead_letters=DEAD)
    with pytest.raises(TooManyBadRecordsError, match="950 of the last 10000"):
        window.observe(read=10_000, codes={Code.BAD_MAGIC: 950}, dead_letters=DEAD)


def test_a_code_may_have_a_limit_of_its_own(world: "World") -> None:
    """It trips below the total, is named, and a restart does not drip past it."""
    world.code_limits = {Code.STEP_FAILED: BadRecordLimit(share=0.01, window=300, at_least=5)}
    world.feed(*[b"a"] * 40, *[b"bad"] * 4)
    process = world.process()
    process.run()
    assert process.ended is None
    assert process.monitor.used["STEP_FAILED"] == 0.8
    assert process.monitor.used["total"] == 0.04
    world.feed(b"bad", b"bad")
    for _ in range(2):
        again = world.process()
        again.run()
        assert isinstance(again.ended, TooManyBadRecordsError)
        assert "bad as STEP_FAILED" in str(again.ended)
        assert len(world.committed(DEAD)) == 4


def test_a_restart_does_not_thin_out_a_shorter_window(world: "World") -> None:
    """Each limit begins with its own past, and the metric says so before the first commit."""
    world.limit = BadRecordLimit(share=0.05, window=1_000, at_least=100)
    world.code_limits = {Code.STEP_FAILED: BadRecordLimit(share=0.05, window=100, at_least=5)}
    world.feed(*[b"a"] * 900)
    world.process().run()
    world.feed(*[b"bad"] * 4, *[b"a"] * 26)
    process = world.process()
    process.run()
    assert process.ended is None
    assert process.monitor.used["STEP_FAILED"] == 0.8
    again = world.process()
    again.run()
    assert again.monitor.endings == {}
    assert again.monitor.used == {"total": 0.04, "STEP_FAILED": 0.8}
    world.feed(b"bad", b"bad")
    last = world.process()
    last.run()
    assert isinstance(last.ended, TooManyBadRecordsError)
    assert "bad as STEP_FAILED" in str(last.ended)


def test_a_restart_counts_on_a_partition_that_has_all_the_records(world: "World") -> None:
    """Partitions without records take no part of the window."""
    world.limit = BadRecordLimit(share=0.05, window=90, at_least=50)
    for number in range(49):
        world.broker.append("in", b"bad#%d" % number, key=b"k0")
    world.process().run()
    again = world.process()
    again.run()
    assert again.window.counts() == (49, 49)
    assert again.monitor.used == {"total": 0.98}


def test_other_codes_do_not_count_for_a_code() -> None:
    """Its window looks back on all records, and on its own bad ones."""
    own = {Code.BAD_MAGIC: BadRecordLimit(share=0.01, window=100, at_least=5)}
    window = BadRecordWindow(BadRecordLimit(), own)
    window.observe(read=100, codes={Code.STEP_FAILED: 50, Code.BAD_MAGIC: 4}, dead_letters=DEAD)
    assert window.used() == {"total": 0.54, "BAD_MAGIC": 0.8}
    with pytest.raises(TooManyBadRecordsError, match="5 of the last 100 records were bad as BAD_M"):
        window.observe(read=1, codes={Code.BAD_MAGIC: 1}, dead_letters=DEAD)
