"""Tables of the latest row of each key while others commit, or the log drops records."""

from pathlib import Path
from typing import Any

import pytest
from tests.snapshot.ledger import Ledger
from tests.snapshot.test_latest import DAY_S, ledger, numbered

from headwater.adapters.memory import MemoryRangeReader
from headwater.errors import AbortableError

__all__ = ["ledger"]


@pytest.mark.parametrize("begun", [False, True], ids=["the first", "a later one"])
@pytest.mark.parametrize("look", ["beginnings", "offsets"])
def test_a_commit_between_two_looks_is_not_taken_for_the_one_before(
    ledger: Ledger, look: str, *, begun: bool
) -> None:
    """Whoever goes on from offsets goes on from their record: else neither rows nor hash are so."""
    if begun:
        ledger.publish(numbered(0, 10))
        ledger.take()
    slow, wins = ledger.snapshotter(), [ledger.snapshotter()]
    asked = slow.table if look == "offsets" else slow.topics
    original = getattr(asked, look)

    def overtaken(name: str) -> object:
        while wins:
            ledger.publish(numbered(5, 15, 50.0))
            wins.pop().take()
            ledger.publish(numbered(12, 20, 90.0))
        return original(name)

    setattr(asked, look, overtaken)
    with pytest.raises(AbortableError) as lost:
        slow.take()
    assert lost.value.code == "SNAPSHOT_TAKEN"
    ledger.take()
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"


def test_a_tombstone_that_may_go_while_the_log_is_read_leaves_its_key_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How old a cut is, is asked behind the log and not before it."""
    proved = Ledger(tmp_path / "orders", policy="compact")
    proved.publish(numbered(0, 30))
    proved.take()
    asked = MemoryRangeReader.read

    def slowly(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(MemoryRangeReader, "read", asked)
        proved.delete(["order-3"])
        proved.compact(with_tombstones=True)
        proved.clock.advance(DAY_S)
        return asked(*given, **named)

    monkeypatch.setattr(MemoryRangeReader, "read", slowly)
    assert proved.verify().outcome == "unverifiable"
