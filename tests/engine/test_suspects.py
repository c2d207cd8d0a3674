"""Which records are refused does not depend on where a batch ends, nor does what comes out."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.suspected import (
    LIMITED,
    NO_ROW,
    TASKS,
    TIME,
    Event,
    Order,
    Total,
    closed,
    deduped,
    hopping_late,
    kept,
    kept_shortly,
    processed,
    rejecting,
    rules,
    scaled,
    summed,
    windowed,
)
from tests.engine.test_task import CONTRACT, SCHEMA_ID, SCHEMAS, codes, stream

from headwater import Flow
from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.state import store_of
from headwater.contract import Decoder, Encoder
from headwater.engine import LetterWriter, Route, Task, Work, pieces
from headwater.engine.suspects import Doubt, Suspect, certain, without_trace
from headwater.errors import ResultRefusedError, RuleBrokenError
from headwater.flow import ROW, Batch, Ground, Plan, Processed
from headwater.model import Code, Partition, Quarantine, RawRecord
from headwater.state import KeyedStore


class World:
    """One task that publishes flows, given batches as the loop gives them."""

    def __init__(self, *flows: Flow, output: Any = LIMITED) -> None:
        self.stores: list[KeyedStore] = []
        routes = [self._route(f"out.{n}", flow, output) for n, flow in enumerate(flows)]
        decoder = Decoder(CONTRACT, SCHEMAS.__getitem__)
        self.task = Task(decoder, routes, dead_letters=LetterWriter("out.dead-letters"))
        self.published: list[tuple[str, int, int, int]] = []
        self.letters: list[tuple[int, str]] = []
        self.broken: Counter[str] = Counter()
        self.state: dict[tuple[int, int, bytes], bytes] = {}

    def _route(self, topic: str, flow: Flow, output: Any) -> Route:
        plan = Plan(flow, CONTRACT.columns, ground=Ground(("id",), event_time="at"))
        held: dict[str, KeyedStore] = {}
        for stage in plan.stateful:
            store = held[stage.step.name] = store_of(stage, MemoryStores(), "log")
            for task in range(TASKS):
                store.assign(task)
                store.restore(task, (), (), offset=0)
                store.restored(task)
        self.stores += held.values()
        encoder = Encoder(output, SCHEMA_ID)
        return Route(topic, plan.with_stores(held), encoder, stores=[*held.values()])

    def run(self, events: Sequence[Event], cuts: Sequence[int] = ()) -> "World":
        """The events, in batches that end at the cuts."""
        for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
            if first < last:
                self._take(self.task.process(batch(events, first, last)), first)
        return self

    def _take(self, work: Work, first: int) -> None:
        for published in work.publications:
            frame = Decoder(LIMITED, SCHEMAS.__getitem__).decode(published.values, {}).frame
            rows = zip(published.rows, frame["n"], frame["at"].dt.epoch("s"), strict=True)
            self.published += [
                (published.topic, first + row if row < work.read else NO_ROW, n, at)
                for row, n, at in rows
            ]
        self.letters += codes(work.letters)
        self.broken.update({each.rule: each.records for each in work.violations})
        for place, store in enumerate(self.stores):
            changes = store.keep()
            for task, key, value in zip(
                changes.partitions, changes.keys, changes.values, strict=True
            ):
                self.state.pop((place, task, key), None)
                if value is not None:
                    self.state[place, task, key] = value
        if self.task.watermarks is not None:
            self.task.watermarks.keep()

    @property
    def stands(self) -> Any:
        """What is kept, and how far event time is."""
        marks = self.task.watermarks
        found = [marks and marks.standing(task).watermark for task in range(TASKS)]
        return dict(self.state), found

    @property
    def told(self) -> tuple[list[tuple[str, int, int, int]], list[tuple[int, str]], Counter[str]]:
        """All that came out: outputs, letters, and how many records broke which rule."""
        return sorted(self.published), sorted(self.letters), self.broken


def batch(events: Sequence[Event], first: int, last: int) -> MemoryRecords:
    """Some of the events as records; the offset of each is its place among all."""
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(last - first), dtype=pl.UInt32),
            "id": ["a"] * (last - first),
            "n": pl.Series([n for _, n, _ in events[first:last]], dtype=pl.Int32),
            "at": pl.Series([1000 * at for *_, at in events[first:last]]).cast(TIME),
        }
    )
    values = Encoder(CONTRACT, SCHEMA_ID).encode(frame).values
    places = [Partition("shop.orders", index) for index, *_ in events[first:last]]
    rows = zip(range(first, last), places, values, strict=True)
    return MemoryRecords(
        "shop.orders", [RawRecord(place, row, 5, b"a", value) for row, place, value in rows]
    )


def test_a_record_behind_a_refused_one_is_judged_without_it() -> None:
    """Sixty, and fifty is too much; thirty fits, in one batch as in two."""
    events = [(0, 60, 0), (0, 50, 0), (0, 30, 0)]
    for cuts in ([], [2]):
        published, letters, broken = World(summed()).run(events, cuts).told
        assert [(row, n) for _, row, n, _ in published] == [(0, 60), (2, 90)]
        assert letters == [(1, "CONTRACT_VIOLATION")]
        assert broken == {"reject": 1}


def test_the_time_of_a_refused_record_makes_none_late() -> None:
    """A record that a step raised for, far ahead, has moved no watermark."""
    events = [(0, 1, 1), (0, 3, 1000), (0, 1, 2)]
    for cuts in ([], [2]):
        published, letters, _ = World(windowed()).run(events, cuts).told
        assert [(row, n) for _, row, n, _ in published] == [(0, 1), (2, 2)]
        assert letters == [(1, "STEP_FAILED")]


def test_a_rule_that_stops_is_not_broken_by_what_a_refused_record_left() -> None:
    """Only a sum without the refused ones is asked; one that breaks it in earnest stops."""
    output = rules(reject="n <= 100", stop="n <= 120")
    events = [(0, 60, 0), (0, 50, 0), (0, 30, 0)]
    published, letters, _ = World(summed(), output=output).run(events).told
    assert ([n for *_, n, _ in published], len(letters)) == ([60, 90], 1)
    for cuts in ([], [3]):
        with pytest.raises(RuleBrokenError, match=r"shop\.orders\[0\]@3 breaks the rule"):
            World(summed(), output=output).run([*events, (0, 31, 0)], cuts)


def test_late_letters_cost_no_second_run() -> None:
    """They changed nothing that others met: what came of these stands."""
    world = World(windowed())
    with patch.object(world.task.routes, "run", wraps=world.task.routes.run) as runs:
        world.run([(0, 1, 100), *[(0, 1, 2)] * 50, (0, 1, 101), *[(0, 1, 2)] * 50])
    assert Counter(code for _, code in world.letters) == {"LATE": 100}
    assert runs.call_count == 1


def test_only_a_row_behind_the_watermark_leaves_no_trace() -> None:
    """One at the watermark may have moved it there, and those behind it were judged by that."""
    task, marks = pl.Series([0] * 4), pl.Series([5, 5, 5, 5])
    seen = Batch(task, task, pl.Series([5, 3, None, 5]), marks)
    done = Processed(pl.DataFrame(), [], by_state=frozenset({0, 1, 2}))
    assert without_trace(done, seen) == {1, 2}


def test_a_result_too_large_because_of_a_refused_record_stops_nothing() -> None:
    """Sixty is refused; with it ten more would be beyond 64 bits, in one batch and not in two."""
    output = rules(reject="n <= 50")
    events = [(0, 40, 0), (0, 20, 0), (0, 10, 0)]
    for cuts in ([], [2]):
        published, letters, _ = World(scaled(), output=output).run(events, cuts).told
        assert [(row, n) for _, row, n, _ in published] == [(0, 40), (2, 50)]
        assert letters == [(1, "CONTRACT_VIOLATION")]
        with pytest.raises(ResultRefusedError, match="more digits") as stopped:
            World(scaled(), output=output).run([*events, (0, 30, 0)], cuts)
        assert (stopped.value.code, stopped.value.exit_code) == ("AGGREGATE_OVERFLOW", 65)


def test_a_window_that_closes_too_large_because_of_a_refused_record_stops_nothing() -> None:
    """The record is refused by another output; the window closes without it."""
    events = [(0, 62, 0), (0, 3, 1), (0, 1, 20)]
    for cuts in ([], [2]):
        published, letters, _ = World(closed(), rejecting()).run(events, cuts).told
        assert [n for topic, *_, n, _ in published if topic == "out.0"] == [62]
        assert letters == [(1, "STEP_FAILED")]
        with pytest.raises(ResultRefusedError):
            World(closed(), rejecting()).run([(0, 5, 2), *events], cuts)


def test_of_a_run_that_was_broken_off_only_what_is_refused_by_itself_is_certain() -> None:
    """Another may be refused before the first that is known; of all, it is each task's first."""
    doubts = [(4, 0, Doubt.ALL), (5, 0, Doubt.OTHERS), (6, 1, Doubt.NONE), (7, 1, Doubt.ALL)]
    found = [Suspect(row, task, Quarantine(row, Code.LATE, ""), each) for row, task, each in doubts]
    assert [each.row for each in certain(found, are_all_known=True)] == [4, 5, 7]
    assert [each.row for each in certain(found, are_all_known=False)] == [5]


def starved(order: Order, state: Total) -> Order:
    """There is no memory for a fifty."""
    state.n += order.n
    if order.n == 50:
        raise MemoryError
    return Order(id=order.id, n=state.n, at=order.at)


def test_what_follows_a_record_without_memory_is_not_lost() -> None:
    """The run ended at it: though no other met it, the others are run again."""
    flow = stream().process(starved, state=Total)
    published, letters, _ = World(flow).run([(0, 1, 5), (0, 50, 1), (0, 3, 6)]).told
    assert [(row, n) for _, row, n, _ in published] == [(0, 1), (2, 4)]
    assert letters == [(1, "STEP_FAILED")]


def test_many_refused_records_cost_few_runs() -> None:
    """Each leaves a sum that refuses all behind it; each is found, and letters are made once."""
    events = [(0, 1000 if row % 100 == 99 else row % 2 * 2 - 1, 0) for row in range(2_000)]
    world = World(summed())
    world.task.skip_proofs()
    run, made = world.task.routes, world.task._dead_letters
    with (
        patch.object(run, "run", wraps=run.run) as runs,
        patch.object(type(made), "letters", autospec=True, side_effect=type(made).letters) as wrote,
    ):
        world.run(events)
    assert world.letters == [(row, "CONTRACT_VIOLATION") for row in range(99, 2_000, 100)]
    assert runs.call_count <= 3 * 20
    assert sum(len(call.args[2]) for call in wrote.call_args_list) == 20


@pytest.mark.parametrize("last", [33, 36, 47])
def test_how_far_windows_were_told_does_not_depend_on_where_a_batch_ends(last: int) -> None:
    """The last record may close nothing; what is stored is of the windows that closed."""
    events = [(0, 1, 4), (0, 1, 30), (0, 1, last)]
    assert outcome([hopping_late], events, []) == one_by_one([hopping_late], events)


EVENTS = st.lists(
    st.tuples(
        st.integers(0, TASKS - 1), st.sampled_from([1, 3, 30, 50, 60, -40]), st.integers(0, 40)
    ),
    max_size=14,
)


STATEFUL = [summed, windowed, scaled, closed, hopping_late, kept, kept_shortly, deduped, processed]
FLOWS = [*STATEFUL, rejecting]
"""Steps with state of every kind, and one without."""


def outcome(flows: Sequence[Callable[[], Flow]], events: list[Event], cuts: Sequence[int]) -> Any:
    """All that came of the events, and what is kept; or why the product stopped."""
    world = World(*(flow() for flow in flows))
    world.task.skip_proofs()
    try:
        return *world.run(events, cuts).told, world.state
    except ResultRefusedError as error:
        return error.code


def one_by_one(flows: Sequence[Callable[[], Flow]], events: list[Event]) -> Any:
    """The oracle: no record meets another of its batch, and one set aside leaves no trace."""
    world = World(*(flow() for flow in flows))
    world.task.skip_proofs()
    try:
        for row in range(len(events)):
            before, letters = world.stands, len(world.letters)
            world._take(world.task.process(batch(events, row, row + 1)), row)
            assert len(world.letters) == letters or world.stands == before
    except ResultRefusedError as error:
        return error.code
    return *world.told, world.state


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(FLOWS), min_size=1, max_size=2),
    EVENTS,
    st.sets(st.integers(1, 13), max_size=3),
)
def test_any_batching_comes_to_what_one_record_at_a_time_comes_to(
    flows: list[Callable[[], Flow]], events: list[Event], cuts: set[int]
) -> None:
    """Outputs, letters, what is counted and what is kept; pieces may be as small as a row."""
    ends = sorted(cut for cut in cuts if cut < len(events))
    wanted = one_by_one(flows, events)
    with patch.object(pieces, "FEWEST", 1), patch.object(pieces, "ENOUGH", 3):
        assert outcome(flows, events, []) == wanted
        assert outcome(flows, events, ends) == wanted
