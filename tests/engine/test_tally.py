"""What is told of a transaction: nothing before it is committed, nothing twice."""

from collections import Counter

from tests.engine.witness import Witness

from headwater.engine.limit import BadRecordLimit, BadRecordWindow
from headwater.engine.tally import Tally
from headwater.engine.work import Work
from headwater.model import Partition


def work(skipped: int) -> Work:
    """Ten records read, some of them passed over."""
    ends = {Partition("in", 0): 10}
    return Work("in", 10, 100, ends, (), "dead", (), Counter(), skipped=skipped)


def test_what_is_passed_over_is_told_once_it_is_committed() -> None:
    """Tombstones and unwanted types of events: read, not lost, and counted."""
    witness = Witness()
    tally = Tally(BadRecordWindow(BadRecordLimit()), witness)
    tally.add(work(skipped=3))
    tally.discard()
    assert (witness.passed_over, witness.read) == ({}, {})
    tally.add(work(skipped=3))
    tally.add(work(skipped=1))
    tally.settle()
    tally.settle()
    assert (witness.passed_over, witness.read) == ({"in": 4}, {"in": 20})
