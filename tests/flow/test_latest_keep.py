"""`latest` with a time to live: what is forgotten, and that nobody sees when it is deleted."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stateful import World

from headwater import DataProduct, Flow
from headwater.errors import DeclarationError
from headwater.flow import Columns, Ground, Plan

START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS: Columns = {"id": pl.String(), "at": pl.Datetime("ms", "UTC"), "n": pl.Int64()}
KEEP_S = 10
Event = tuple[int, str, int]
"""Task, key, second."""


def latest(keep: str | None = f"{KEEP_S}s", by: str = "at") -> Flow:
    """A flow that keeps the latest of each id for ten seconds."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1).latest("id", by=by, keep=keep)


def world(unit: str = "ms") -> World:
    """The flow with a store in memory."""
    kind = pl.Datetime("ns", "UTC") if unit == "ns" else pl.Datetime("ms", "UTC")
    return World(latest(), {**COLUMNS, "at": kind})


def passed(world: World, events: list[Event], first: int = 0) -> list[int]:
    """The numbers of the rows of a batch that go on."""
    rows = [
        (key, START + timedelta(seconds=second), first + place)
        for place, (_, key, second) in enumerate(events)
    ]
    frame, refused = world.batch(rows, [task for task, _, _ in events])
    assert not refused
    return frame["n"].to_list()


def oracle(events: list[Event]) -> list[int]:
    """The same, one event at a time: what is over is deleted at once."""
    best: dict[tuple[int, str], int] = {}
    marks: dict[int, int] = {}
    found = []
    for number, (task, key, second) in enumerate(events):
        marks[task] = max(marks.get(task, second), second)
        best = {k: at for k, at in best.items() if k[0] != task or at + KEEP_S > marks[task]}
        if second >= best.get((task, key), second):
            best[task, key] = second
            found.append(number)
    return found


EVENTS = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from("ab"), st.integers(0, 40)), max_size=40
)


@pytest.mark.parametrize("unit", ["ms", "ns"])
@given(events=EVENTS, ends=st.lists(st.integers(0, 40), max_size=4))
def test_what_goes_on_does_not_depend_on_batches_or_on_cleaning(
    unit: str, events: list[Event], ends: list[int]
) -> None:
    """It is what one event at a time gives where everything over is gone at once."""
    kept = world(unit)
    found: list[int] = []
    for start, end in pairwise(sorted({0, len(events), *(e for e in ends if e < len(events))})):
        found += passed(kept, events[start:end], start)
        kept.commit()
    assert found == oracle(events)


def test_a_key_that_is_over_is_as_one_that_never_came() -> None:
    """Its late rows go on; a second before, they were dropped."""
    kept = world()
    assert passed(kept, [(0, "a", 5), (0, "b", 14), (0, "a", 4)]) == [0, 1]
    assert passed(kept, [(0, "b", 15), (0, "a", 4)]) == [0, 1]


def test_what_is_over_is_deleted_from_store_and_changelog() -> None:
    """In step with the rows that come, also of keys that never come again."""
    kept = world()
    passed(kept, [(0, f"key-{n}", 0) for n in range(100)])
    kept.commit()
    deleted = 0
    for second in range(20, 26):
        kept.attempt([("b", START + timedelta(seconds=second), n) for n in range(10)], [0] * 10)
        deleted += kept.store.keep().values.count(None)
        kept.commit()
    assert deleted == 100
    assert len(kept.local._tasks[0].entries) == 1


def refused(flow: Flow, event_time: str | None = "at") -> str:
    """Why a flow cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS, ground=Ground(("id",), event_time=event_time))
    (problem,) = caught.value.problems
    return f"{problem.code} {problem.message}"


def test_mistakes_are_told_without_data() -> None:
    """No duration, no time to count from, no event time of the stream."""
    wanted = "is no duration up to ten years; write such as '12h' or '30d'"
    for keep in ("a month", "0s", "9999d"):
        assert refused(latest(keep)) == f"INVALID_STEP latest-1: keep={keep!r} {wanted}"
    wanted = "keep counts from by='n', which is Int64; name a column of event times"
    assert refused(latest("1h", by="n")) == f"INVALID_STEP latest-1: {wanted}"
    assert refused(latest("1h"), None).startswith("NO_EVENT_TIME latest-1: works on event time")
