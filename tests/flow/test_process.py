"""`process`: state of a key, timers in event time, what is refused, any batching the same."""

import dataclasses
import heapq
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from tests.flow.stateful import World

from headwater import DataProduct, Flow, ProcessContext
from headwater.errors import DeclarationError, FatalError
from headwater.flow import ROW, Columns
from headwater.model import Code

COLUMNS: Columns = {"id": pl.String(), "n": pl.Int64(), "at": pl.Datetime("us", "UTC")}
EPOCH = datetime(2013, 1, 1, tzinfo=UTC)
GAP = timedelta(minutes=5)
Event = tuple[int, str, int, int | None]
"""Task, key, number, time in minutes."""


class Visit(BaseModel):
    """What is kept of a key."""

    numbers: list[int] = []
    last: datetime | None = None


class Told(BaseModel):
    """What comes out."""

    id: str
    numbers: list[int]
    closed: datetime | None = None


def collect(event: dict[str, Any], state: Visit, context: ProcessContext) -> Told:
    """Tells the numbers so far; a visit ends when nothing comes for five minutes."""
    state.numbers.append(event["n"])
    if event["at"] is not None:
        state.last = max(state.last or event["at"], event["at"])
        context.set_timer(state.last + GAP)
    if event["n"] == 3:
        raise ValueError(event)
    return Told(id=event["id"], numbers=state.numbers)


def close(state: Visit, at: datetime, context: ProcessContext) -> Told | None:
    """Tells the visit when it ended, and forgets it; asks again when it has grown."""
    if state.last is None or state.last + GAP != at:
        return None
    context.forget()
    return Told(id=context.key["id"], numbers=state.numbers, closed=at)


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def visits() -> Flow:
    """Visits of each id; what has the number 0 moves the watermark alone."""
    return stream().filter(pl.col("n") != 0).process(collect, state=Visit, on_timer=close)


def minute(at: int | None) -> datetime | None:
    """A time of the tests."""
    return None if at is None else EPOCH + timedelta(minutes=at)


def oracle(events: Sequence[Event]) -> dict[int, list[dict[str, Any]]]:
    """What comes out of each task, one event at a time."""
    out: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    state: dict[tuple[int, str], tuple[list[int], datetime | None]] = {}
    due: dict[int, list[tuple[datetime, str]]] = {0: [], 1: []}
    marks: dict[int, datetime] = {}
    for task, key, n, minutes in events:
        at = minute(minutes)
        if n == 3:
            continue
        if at is not None:
            marks[task] = max(marks.get(task, at), at)
        if n:
            numbers, last = state.get((task, key), ([], None))
            if at is not None:
                last = max(last or at, at)
                heapq.heappush(due[task], (last + GAP, key))
            state[task, key] = ([*numbers, n], last)
            out[task].append({"id": key, "numbers": [*numbers, n], "closed": None})
        while due[task] and task in marks and due[task][0][0] <= marks[task]:
            when, name = heapq.heappop(due[task])
            numbers, last = state.get((task, name), ([], None))
            if last is not None and last + GAP == when:
                del state[task, name]
                out[task].append({"id": name, "numbers": numbers, "closed": when})
    return out


def run(world: World, events: Sequence[Event]) -> dict[int, list[dict[str, Any]]]:
    """What comes out of each task; a timer's task is told by the key."""
    rows = [(key + str(task), n, minute(at)) for task, key, n, at in events]
    frame, refused = world.batch(rows, [task for task, *_ in events])
    assert [each.row for each in refused] == [r for r, (*_, n, _) in enumerate(events) if n == 3]
    out: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for each in frame.drop(ROW).to_dicts():
        out[int(each["id"][-1])].append({**each, "id": each["id"][:-1]})
    return out


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from("ab"),
        st.sampled_from([0, 1, 1, 2, 3]),
        st.none() | st.integers(0, 40),
    ),
    min_size=12,  # few are too few for any law to break
    max_size=30,
)


@given(
    events=EVENTS,
    ends=st.lists(st.integers(0, 30), max_size=5),
    endings=st.lists(st.sampled_from(["keep", "commit", "abort", "restart"]), min_size=6),
)
def test_batches_aborts_and_restarts_do_not_matter(
    events: list[Event], ends: list[int], endings: list[str]
) -> None:
    """What comes out, and in which order, is what one record at a time would give."""
    world, begun = World(visits(), COLUMNS), 0
    cuts = sorted({0, len(events), *(end for end in ends if end < len(events))})
    found: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    marks = world.marks
    staged: list[dict[int, list[dict[str, Any]]]] = []
    for place, (start, end) in enumerate(pairwise(cuts)):
        staged.append(run(world, events[start:end]))
        if endings[place] == "abort":
            world.store.aborted()
            world.marks = marks
            staged = [run(world, events[begun:end])]
        if endings[place] in {"commit", "restart"}:
            world.commit()
            begun, marks = end, world.marks
            for each in staged:
                found[0] += each[0]
                found[1] += each[1]
            staged = []
        if endings[place] == "restart":
            for task in world.store.tasks:
                world.store.release(task)
            world = World(visits(), COLUMNS, local=world.local)
            world.marks = marks
    for each in staged:
        found[0] += each[0]
        found[1] += each[1]
    assert found == oracle(events)


def test_a_timer_comes_between_the_records_it_lies_between() -> None:
    """In one batch as in two; its row is of no record."""
    world = World(visits(), COLUMNS)
    frame, _ = world.batch(
        [("a", 1, EPOCH), ("b", 1, EPOCH), ("a", 2, minute(20)), ("a", 1, minute(21))]
    )
    assert frame.select(ROW, "id", "numbers").rows() == [
        (0, "a", [1]),
        (1, "b", [1]),
        (2, "a", [1, 2]),
        (4, "b", [1]),
        (3, "a", [1, 2, 1]),
    ]


def test_a_timer_is_due_without_records_too() -> None:
    """A watermark that moves alone is enough."""
    world = World(visits(), COLUMNS)
    world.batch([("a", 1, EPOCH)])
    frame, _ = world.batch([], reached={0: round(EPOCH.timestamp() * 1000) + 300_000})
    assert frame.drop(ROW).rows() == [("a", [1], minute(5))]


def test_steps_behind_see_rows_of_records_and_of_none() -> None:
    """Numbered anew for an author's `map`; what they refuse is led back."""
    seen: list[list[int]] = []

    def picky(frame: pl.DataFrame) -> pl.DataFrame:
        seen.append(frame[ROW].to_list())
        if frame["id"].is_in(["bad"]).any() or (frame["closed"] > minute(6)).any():
            raise ValueError
        return frame.with_columns(pl.col("id") + "!")

    world = World(visits().map(picky), COLUMNS)
    frame, refused = world.batch(
        [("a", 1, EPOCH), ("b", 1, EPOCH), ("bad", 2, minute(1)), ("c", 1, minute(6))]
    )
    assert [(each.row, each.code) for each in refused] == [(2, Code.STEP_FAILED)]
    assert seen[-1] == [0, 1, 2, 3, 4]
    assert frame.select(ROW, "id").rows() == [(0, "a!"), (1, "b!"), (3, "c!"), (4, "a!"), (4, "b!")]
    _, (of_none,) = world.batch([("d", 1, minute(40))])
    assert (of_none.row, of_none.step) == (1, "map-1")


def test_a_timer_that_raises_refuses_the_row_of_no_record() -> None:
    """Nothing is stored of the batch by whoever looks at it; no value is told."""

    def fail(state: Visit, at: datetime) -> None:
        raise ValueError(state, at)

    world = World(stream().process(collect, state=Visit, on_timer=fail), COLUMNS, output=COLUMNS)
    _, (refused,) = world.batch([("a", 1, EPOCH), ("b", 1, minute(9))])
    assert (refused.row, refused.code, refused.step) == (2, Code.STEP_FAILED, "process-1")
    assert refused.message.startswith("ValueError in step process-1 (fail) at ")


def test_a_timer_without_end_is_refused() -> None:
    """`on_timer` may ask for later times only."""

    def again(state: Visit, at: datetime, context: ProcessContext) -> None:
        context.set_timer(at)

    world = World(stream().process(collect, state=Visit, on_timer=again), COLUMNS)
    _, (refused,) = world.batch([("a", 1, EPOCH), ("b", 1, minute(9))])
    assert refused.message.startswith("NotLaterError in step process-1 (again)")


def test_a_state_with_lists_is_put_back_whole() -> None:
    """What a refused record added to a list is gone; so is a timer with what was forgotten."""

    def once(event: dict[str, Any], state: Visit) -> dict[str, Any]:
        if 3 in state.numbers:
            raise RuntimeError
        state.numbers.append(event["n"])
        if event["n"] == 3:
            raise ValueError
        return {"id": event["id"], "numbers": state.numbers}

    told: Columns = {"id": pl.String(), "numbers": pl.List(pl.Int64())}
    world = World(stream().process(once, state=Visit), COLUMNS, output=told)
    frame, refused = world.batch([("a", n, None) for n in (1, 3, 2, 4)])
    assert frame["numbers"].to_list() == [[1], [1, 2], [1, 2, 4]]
    assert [each.row for each in refused] == [1]


def test_what_is_forgotten_has_no_timer() -> None:
    """Also when the key comes again in the same batch."""

    def toggle(event: dict[str, Any], state: Total, context: ProcessContext) -> None:
        context.set_timer(event["at"] + GAP)
        if event["n"]:
            context.forget()

    def tell(state: Total, at: datetime) -> dict[str, Any]:
        return {"id": f"{at:%M}", "total": 0}

    world = World(stream().process(toggle, state=Total, on_timer=tell), COLUMNS, output=SUMS)
    rows = [("a", 0, EPOCH), ("a", 1, minute(1)), ("a", 0, minute(2)), ("b", 1, minute(30))]
    assert world.batch(rows)[0]["id"].to_list() == ["07"]


def test_timers_are_called_in_the_order_of_time_and_key() -> None:
    """Whichever was set first."""

    def wait(event: dict[str, Any], state: Total, context: ProcessContext) -> None:
        for minutes in (9, 3, 6):
            context.set_timer(event["at"] + timedelta(minutes=minutes))

    def tell(state: Total, at: datetime, context: ProcessContext) -> dict[str, Any]:
        return {"id": context.key["id"] + f"{at:%M}", "total": 0}

    world = World(stream().process(wait, state=Total, on_timer=tell), COLUMNS, output=SUMS)
    world.batch([("b", 0, EPOCH), ("a", 0, EPOCH)])
    found = [world.batch([("c", 0, minute(at))])[0]["id"].to_list() for at in (4, 30)]
    assert found == [["a03", "b03"], ["a06", "b06", "c07", "a09", "b09", "c10", "c13"]]


@dataclasses.dataclass
class Total:
    """A state without nested fields."""

    total: int = 0


def add(event: dict[str, Any], state: Total) -> dict[str, Any]:
    """The sum of a key so far."""
    state.total += event["n"]
    if event["n"] < 0:
        raise ValueError
    return {"id": event["id"], "total": state.total}


SUMS: Columns = {"id": pl.String(), "total": pl.Int64()}


def test_a_record_that_raises_leaves_nothing_in_the_state() -> None:
    """All others of its key go on as if it had never come; a state may be a dataclass."""
    world = World(stream().process(add, state=Total), COLUMNS, output=SUMS)
    frame, refused = world.batch([("a", n, None) for n in (1, -5, 2, -7, 4)])
    assert frame["total"].to_list() == [1, 3, 7]
    assert [each.row for each in refused] == [1, 3]
    assert world.batch([("a", 1, None), ("b", 1, None)])[0]["total"].to_list() == [8, 1]


def test_a_state_that_fits_no_column_refuses_its_record() -> None:
    """An integer beyond 64 bits, a text where a number is declared: told by the field."""

    def spoil(event: dict[str, Any], state: Total) -> dict[str, Any]:
        state.total = {1: 2**70, 2: "two"}.get(event["n"], state.total + 1)  # type: ignore[assignment]  # what is tested
        return {"id": event["id"], "total": event["n"]}

    world = World(stream().process(spoil, state=Total), COLUMNS, output=SUMS)
    frame, refused = world.batch([("a", 5, None), ("a", 1, None), ("b", 2, None), ("a", 5, None)])
    assert frame["total"].to_list() == [5, 5]
    assert [each.row for each in refused] == [1, 2]
    assert refused[0].message.startswith("StateMisfitError (total) in step process-1 (spoil)")


def test_a_function_may_change_its_event_where_another_record_spoils_the_state() -> None:
    """Each call gets the event as it came, also when the batch is gone through again."""

    def take(event: dict[str, Any], state: Total) -> dict[str, Any]:
        n = event.pop("n")
        state.total = 0.5 if n == 13 else state.total + n  # type: ignore[assignment]  # what is tested
        return {"id": event["id"], "total": n}

    world = World(stream().process(take, state=Total), COLUMNS, output=SUMS)
    frame, refused = world.batch([("a", 1, None), ("b", 2, None), ("c", 13, None), ("d", 4, None)])
    assert frame["total"].to_list() == [1, 2, 4]
    assert [each.row for each in refused] == [2]


def test_a_state_of_other_fields_is_not_read_as_another() -> None:
    """A changed type is refused, never guessed."""
    world = World(stream().process(add, state=Total), COLUMNS, output=SUMS)
    world.batch([("a", 1, None)])
    world.commit()
    for task in world.store.tasks:
        world.store.release(task)
    other = dataclasses.make_dataclass("Total", [("total", float, 0.0)])
    with pytest.raises(FatalError, match="other columns"):
        World(stream().process(add, state=other), COLUMNS, output=SUMS, local=world.local)


def test_a_stored_state_that_its_model_does_not_take_is_told() -> None:
    """By the field; no value is told."""

    class Small(BaseModel):
        total: int = 0

    world = World(stream().process(add, state=Small), COLUMNS, output=SUMS)
    world.batch([("a", 99, None)])
    world.commit()
    for task in world.store.tasks:
        world.store.release(task)

    class Bounded(BaseModel):
        total: int = Field(default=0, le=50)

    kept = World(stream().process(add, state=Bounded), COLUMNS, output=SUMS, local=world.local)
    with pytest.raises(DeclarationError, match=r"STATE_MISFIT") as caught:
        kept.batch([("a", 1, None)])
    assert [each.message for each in caught.value.problems] == [
        (
            "process-1: what is stored is no Bounded any more (total); let it take what it took"
            " before, or begin anew (docs/state.md, To begin anew)"
        )
    ]


def test_a_timer_that_nobody_waits_for_is_a_mistake() -> None:
    """Without `on_timer` it would never be."""
    world = World(stream().process(collect, state=Visit), COLUMNS)
    with pytest.raises(DeclarationError, match=r"NO_ON_TIMER.*give on_timer="):
        world.batch([("a", 1, EPOCH)])
