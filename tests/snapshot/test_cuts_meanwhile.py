"""Laws of cuts that another handle makes meanwhile, which every adapter of the port Table obeys."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS, IN_BUCKETS, opener
from tests.snapshot.test_table_laws import Opener, everything, record, rows

from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.errors import OvertakenError
from headwater.ports import Change, DaysClosed, NewFile


@pytest.fixture(params=["memory", *FORMATS, *IN_BUCKETS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one more handle on a table that ends at 0@2."""
    storage = MemoryStorage()
    begun: Opener = partial(MemoryTable, storage)
    if request.param != "memory":
        begun = opener(request, tmp_path / "snapshot", "shop.orders")
    begun().commit(change(rows((0, 0), (0, 1)), record((0, 0, 2))))
    return begun


def closing(day: str) -> Change:
    """A cut that closes a day without rows: it moves no offset."""
    return Change((), replace(record((0, 2, 2)), mode="daily", days=DaysClosed(day)))


@pytest.mark.parametrize("looks_again", [True, False])
def test_a_cut_that_moves_no_offset_is_one_that_was_first(
    opened: Opener, looks_again: bool
) -> None:
    """Two that close the same day, or one that takes rows of it: only one commits."""
    for late in (closing("2026-01-02"), change(rows((0, 2)), record((0, 2, 3)))):
        one, other = opened(), opened()
        assert one.offsets("one") == other.offsets("one") == {0: 2}
        one.commit(closing("2026-01-02"))
        if looks_again:
            other.version()  # moves the handle, and not what the cut was made of
        with pytest.raises(OvertakenError) as refused:
            other.commit(late)
        assert refused.value.code == "SNAPSHOT_TAKEN"
    assert everything(opened(), 0) == [0, 1]
    assert len(opened().commits()) == 3


def test_what_upkeep_does_is_no_cut(opened: Opener) -> None:
    """A cut goes behind it, whether its handle saw that or not."""
    for looks_again in (True, False):
        one, other = opened(), opened()
        (end,) = other.offsets("one").values()
        (merged,) = [each.name for each in one.files()]
        whole = rows(*((0, offset) for offset in range(end)))
        one.commit(Change([NewFile(f"part-0-0-{end}", whole)], None, removed=[merged]))
        if looks_again:
            other.version()
        other.commit(change(rows((0, end)), record((0, end, end + 1))))
        last = opened()
        added = [each.name for each in last.files()]
        both = rows(*((0, offset) for offset in range(end + 1)))
        last.commit(Change([NewFile(f"part-0-0-{end + 1}", both)], None, removed=added))
    assert everything(opened(), 0) == [0, 1, 2, 3]


def test_a_handle_has_seen_its_own_cuts(opened: Opener) -> None:
    """One behind the other, with a look between or without."""
    table = opened()
    table.offsets("one")
    table.commit(closing("2026-01-02"))
    table.offsets("one")
    table.commit(closing("2026-01-03"))
    assert len(opened().commits()) == 3
