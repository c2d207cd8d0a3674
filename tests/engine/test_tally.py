"""What is told of a transaction: nothing before it is committed, nothing twice."""

from collections import Counter
from dataclasses import replace

from tests.engine.witness import Witness

from headwater.engine.limit import BadRecordLimit, BadRecordWindow
from headwater.engine.tally import Tally
from headwater.engine.work import Work, joined
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


def test_rows_without_an_order_are_told_once_they_are_committed() -> None:
    """Those of all pieces of a batch and of all batches; what is aborted comes again."""
    witness = Witness()
    tally = Tally(BadRecordWindow(BadRecordLimit()), witness)
    piece = replace(work(skipped=0), unordered={"out.latest-1": 2})
    tally.add(piece)
    tally.discard()
    tally.add(joined([piece, piece]))
    tally.add(piece)
    tally.settle()
    tally.settle()
    assert witness.unplaced == {"out.latest-1": 6}
