"""`dedupe`: what goes on, what is dropped, what is refused."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stateful import World

from headwater import DataProduct, Flow
from headwater.errors import DeclarationError
from headwater.flow import ROW, Columns, Ground, Plan
from headwater.model import Code

COLUMNS: Columns = {"id": pl.String(), "n": pl.Int64(), "at": pl.Datetime("us", "UTC")}
EPOCH = datetime(2013, 1, 1, tzinfo=UTC)
WITHIN = 10
Event = tuple[int, str, int | None, int | None]
"""Task, key, number, time in minutes."""


def flow() -> Flow:
    """Of each id and number one within ten minutes."""
    stream = DataProduct("a.b", owner="me").stream("c.d", contract=1)
    return stream.dedupe(["id", "n"], within=f"{WITHIN}m")


def run(world: World, events: Sequence[Event]) -> list[int]:
    """The rows that went on."""
    rows = [
        (key, n, None if at is None else EPOCH + timedelta(minutes=at)) for _, key, n, at in events
    ]
    frame, refused = world.batch(rows, [task for task, *_ in events])
    assert all(each.code == Code.NO_EVENT_TIME for each in refused)
    assert world.duplicates == len(rows) - len(refused) - frame.height
    return frame[ROW].to_list()


def oracle(events: Sequence[Event]) -> list[int]:
    """The same, one event at a time."""
    last: dict[tuple[int, str, int], int] = {}
    marks: dict[int, int] = {}
    passed = []
    for row, (task, key, n, at) in enumerate(events):
        if at is None:
            continue
        marks[task] = max(marks.get(task, at), at)
        if n is not None:
            before = last.get((task, key, n))
            if before is not None and before + 2 * WITHIN <= marks[task]:
                before = None
            if before is not None and abs(at - before) < WITHIN:
                continue
            last[task, key, n] = at if before is None else max(at, before)
        passed.append(row)
    return passed


def test_the_first_of_equal_rows_goes_on_within_a_batch_and_across() -> None:
    """Others of the key, less than ten minutes before or behind it, are dropped."""
    world = World(flow(), COLUMNS)
    assert run(world, [(0, "a", 1, 5), (0, "a", 1, 6), (0, "a", 2, 6), (0, "b", 1, 6)]) == [0, 2, 3]
    assert run(world, [(0, "a", 1, 14), (0, "a", 1, 1), (0, "b", 1, 7)]) == []
    assert run(world, [(0, "a", 1, 15), (0, "b", 1, 15), (0, "b", 1, 16)]) == [0, 2]


def test_a_row_far_behind_goes_on_and_hides_nothing() -> None:
    """The latest that went on is what others are compared with, in a batch and across."""
    world = World(flow(), COLUMNS)
    for at, passed in ((30, [0]), (15, [0]), (35, []), (21, [])):
        assert run(world, [(0, "a", 1, at)]) == passed
    many = [(0, "b", 1, at) for at in (40, 25, 45, 31, 50)]
    assert run(world, many) == [0, 1, 4]


def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    """Each row twice, with its number and the next."""
    return pl.concat([frame, frame.with_columns(pl.col("n") + 1)]).sort(ROW, "n")


def test_rows_of_one_record_are_told_apart() -> None:
    """A record may have become several rows: one that is a duplicate takes no other along."""
    stream = DataProduct("a.b", owner="me").stream("c.d", contract=1)
    twice = stream.map(doubled)
    world = World(twice.dedupe(["id", "n"], within="10m"), COLUMNS)
    frame, refused = world.batch([("a", 1, EPOCH), ("a", 2, EPOCH)])
    assert not refused
    assert frame.select(ROW, "n").rows() == [(0, 1), (0, 2), (1, 3)]


def test_a_null_is_no_duplicate_of_another() -> None:
    """A row without an id cannot be told from others: it goes on."""
    assert run(World(flow(), COLUMNS), [(0, "a", None, 5), (0, "a", None, 5)]) == [0, 1]


def test_a_key_in_two_tasks_is_two_keys() -> None:
    """State belongs to the task."""
    assert run(World(flow(), COLUMNS), [(0, "a", 1, 5), (1, "a", 1, 5), (1, "a", 1, 5)]) == [0, 1]


def test_a_row_without_event_time_is_refused() -> None:
    """Nobody can say whether it is near another; the message holds no value."""
    world = World(flow(), COLUMNS)
    frame, (refused,) = world.batch([("a", 1, None), ("a", 1, EPOCH)])
    assert frame[ROW].to_list() == [1]
    assert refused.message == "step dedupe-1 works on event time, and the record has none"


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from("ab"),
        st.sampled_from([1, 1, 1, None]),
        st.none() | st.integers(0, 60),
    ),
    min_size=15,  # few are too few for any law to break
    max_size=40,
)


@given(events=EVENTS, ends=st.lists(st.integers(0, 40), max_size=5), commits=st.integers(0, 31))
def test_batches_and_cleaning_do_not_matter(
    events: list[Event], ends: list[int], commits: int
) -> None:
    """However records fall into batches, and whenever the store is cleaned."""
    world = World(flow(), COLUMNS)
    cuts = sorted({0, len(events), *(end for end in ends if end < len(events))})
    found: list[int] = []
    for place, (start, end) in enumerate(pairwise(cuts)):
        found += [start + row for row in run(world, events[start:end])]
        if commits >> place & 1:
            world.commit()
    assert found == oracle(events)


def test_the_store_is_bounded() -> None:
    """Keys that cannot come again within the span are deleted, while others come."""
    world = World(flow(), COLUMNS)
    for start in range(0, 4000, 100):
        assert len(run(world, [(0, "a", n, n) for n in range(start, start + 100)])) == 100
        world.commit()
    world.store.release(0)
    held = world.local.open(0).scan(b"", 10_000)[0]
    assert len(held) < 300


def refused(flow: Flow, key: tuple[str, ...] = ("id",), event_time: str | None = "at") -> list[str]:
    """The problems of a flow that cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS, ground=Ground(key, event_time=event_time))
    assert all(p.file == __file__ and p.line for p in caught.value.problems)
    return [f"{p.code} {p.message}" for p in caught.value.problems]


def test_mistakes_are_told_without_data() -> None:
    """A key that is not the stream's, a column that is not there, a span that is none."""
    stream = DataProduct("a.b", owner="me").stream("c.d", contract=1)
    assert refused(stream.dedupe("n", within="1h")) == [
        (
            "NOT_THE_KEY dedupe-1: asks for n, but the stream is keyed by id: rows of one key may"
            " be in several tasks; name id too"
        )
    ]
    assert refused(stream.dedupe("id", within="1h"), key=()) == [
        "NOT_THE_KEY dedupe-1: the contract of the stream has no key; state needs one"
    ]
    assert refused(stream.dedupe("idd", within="1h")) == [
        "UNKNOWN_COLUMN dedupe-1: no column 'idd' here; did you mean 'id'?"
    ]
    assert refused(stream.dedupe("id", within="1 hour")) == [
        (
            "INVALID_STEP dedupe-1: within='1 hour' is no duration up to ten years; write such as"
            " '10m' or '1h'"
        )
    ]
    assert refused(stream.dedupe("id", within="1h"), event_time=None) == [
        (
            "NO_EVENT_TIME dedupe-1: works on event time; name it in the contract of the"
            ' stream, "eventTime"'
        )
    ]
