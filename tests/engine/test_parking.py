"""Records that wait behind one of their key, with the real codec: nobody looks into them."""

from collections.abc import Sequence
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.suspected import rules
from tests.engine.test_task import CONTRACT, encoded, stream, task

from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.reader import MemoryRecords
from headwater.engine import InputPolicy, ParkingTask, Watermarks, Work, parked_rows
from headwater.engine.dead_letters import PREFIX
from headwater.errors import RuleBrokenError
from headwater.model import Code, Partition, Quarantine, RawRecord
from headwater.state import KeyedStore, StoreSettings

TOPIC = "shop.orders"
SOUND = encoded(*range(20))
Given = tuple[int, bytes | None, bool]
"""Partition, key, and whether it is bad."""


class Parking:
    """A task that parks, over two partitions, and what it told."""

    def __init__(self, *, skip_tombstones: bool = False, stopping: int | None = None) -> None:
        self.store = KeyedStore(parked_rows(), MemoryStores(), StoreSettings("changelog#1"))
        for partition in range(2):
            self.store.assign(partition)
        self.told: list[tuple[int, int]] = []
        output = CONTRACT if stopping is None else rules(stop=f"n <> {stopping}")
        policy = InputPolicy(skip_tombstones=skip_tombstones)
        inner = task(stream(), policy=policy, output=output)
        self.task = ParkingTask(inner, self.store, lambda keys, n: self.told.append((keys, n)))

    def process(self, rows: Sequence[RawRecord], guilty: Sequence[Quarantine] = ()) -> Work:
        """One batch, as the loop stages it."""
        work = self.task.process(MemoryRecords(TOPIC, rows), guilty)
        self.store.keep()
        return work


def rows_of(given: Sequence[Given]) -> list[RawRecord]:
    """Records one offset after another; a bad one has bytes that are no frame."""
    return [
        RawRecord(Partition(TOPIC, index), offset, 5, key, b"?" if bad else SOUND[offset])
        for offset, (index, key, bad) in enumerate(given)
    ]


def letters(work: Work) -> list[tuple[str, int, str]]:
    """Code, offset, and what is waited for, of each letter."""
    found = [{k: (v or b"").decode() for k, v in letter.headers} for letter in work.letters]
    return [
        (each[f"{PREFIX}code"], int(each[f"{PREFIX}offset"]), each.get(f"{PREFIX}behind", ""))
        for each in found
    ]


def published(work: Work) -> list[bytes]:
    """The values of the only output."""
    (publication,) = work.publications
    return list(publication.values)


def test_what_follows_a_bad_record_waits_be_it_good_or_bad() -> None:
    """In its batch and in the next; other keys and other partitions go on."""
    parking = Parking()
    first = parking.process(
        rows_of(
            [(0, b"a", True), (0, b"b", False), (1, b"a", False), (0, b"a", True), (0, b"a", False)]
        )
    )
    assert letters(first) == [("BAD_MAGIC", 0, ""), ("PARKED", 3, "0"), ("PARKED", 4, "0")]
    assert published(first) == SOUND[1:3]
    assert first.codes == {Code.BAD_MAGIC: 1, Code.PARKED: 2}
    second = parking.process(rows_of([(0, b"a", False), (1, b"a", False)]))
    assert letters(second) == [("PARKED", 0, "0")]
    assert parking.told == [(1, 3), (1, 4)]


def test_records_without_a_key_wait_for_none() -> None:
    """A null key is no key."""
    work = Parking().process(rows_of([(0, None, True), (0, None, False)]))
    assert letters(work) == [("BAD_MAGIC", 0, "")]
    assert published(work) == SOUND[1:2]


def test_what_ends_a_process_is_waited_for_too() -> None:
    """A record that a sandbox found guilty is set aside like any other; one that waits is not."""
    parking = Parking()
    rows = rows_of([(0, b"a", False), (0, b"a", False), (0, b"b", False)])
    deadly = [Quarantine(row, Code.PROCESS_DIED, "it died", "map-1") for row in (0, 1)]
    work = parking.process(rows, deadly)
    assert letters(work) == [("PROCESS_DIED", 0, ""), ("PARKED", 1, "0")]
    assert published(work) == SOUND[2:3]


def test_a_tombstone_that_is_skipped_is_no_letter() -> None:
    """Nor does it wait for one."""
    parking = Parking(skip_tombstones=True)
    bad, _ = rows_of([(0, b"a", True), (0, b"a", False)])
    work = parking.process([bad, RawRecord(Partition(TOPIC, 0), 1, 5, b"a", None)])
    assert letters(work) == [("BAD_MAGIC", 0, "")]
    assert (work.skipped, parking.told) == (1, [(1, 1)])


def test_a_record_that_waits_stops_nothing() -> None:
    """It breaks a rule of severity stop, and nobody looks into it: in its batch as in the next."""
    rows = rows_of([(0, b"b", False), (0, b"a", True), (0, b"a", False), (0, b"b", False)])
    for cuts in ([0, 4], [0, 2, 4]):
        parking = Parking(stopping=2)
        works = [parking.process(rows[begin:end]) for begin, end in pairwise(cuts)]
        found = [each for work in works for each in letters(work)]
        assert found == [("BAD_MAGIC", 1, ""), ("PARKED", 2, "1")]
        assert [each for work in works for each in published(work)] == [SOUND[0], SOUND[3]]
        assert sum(work.read for work in works) == len(rows)
    with pytest.raises(RuleBrokenError, match=r"@3 breaks"):
        Parking(stopping=3).process(rows)


def test_products_with_state_do_not_park() -> None:
    """Nobody parks records of a product with state: it is refused where it is declared."""
    inner = task(stream())
    inner.watermarks = Watermarks(None)  # which a task has when a step has state
    store = KeyedStore(parked_rows(), MemoryStores(), StoreSettings("changelog#1"))
    with pytest.raises(TypeError, match="without state only"):
        ParkingTask(inner, store, lambda _keys, _letters: None)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([b"a", b"b", None]), st.booleans()),
        min_size=1,
        max_size=20,
    ),
    st.sets(st.integers(1, 19)),
)
def test_where_a_batch_ends_makes_no_difference(given: list[Given], cuts: set[int]) -> None:
    """The same letters, outputs and numbers of one batch and of many."""
    rows, whole, pieces = rows_of(given), Parking(), Parking()
    at_once = whole.process(rows)
    bounds = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    works = [pieces.process(rows[begin:end]) for begin, end in pairwise(bounds)]
    assert [each for work in works for each in letters(work)] == letters(at_once)
    assert [each for work in works for each in published(work)] == published(at_once)
    assert pieces.told[-1] == whole.told[-1]
    asked = pl.Series([0, 0, 1, 1]), pl.Series([b"ka", b"kb"] * 2)
    assert pieces.store.read(*asked).equals(whole.store.read(*asked))
