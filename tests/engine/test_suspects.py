"""Which records are refused does not depend on where a batch ends, nor does what comes out."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.engine.test_task import CONTRACT, SCHEMA, SCHEMA_ID, SCHEMAS, codes, stream

from headwater import Flow, aggregates, tumbling
from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Decoder, Encoder, parse_contract
from headwater.engine import LetterWriter, Route, Task, Work
from headwater.engine.suspects import without_trace
from headwater.errors import RuleBrokenError
from headwater.flow import ROW, Batch, Ground, Plan, Processed
from headwater.model import Partition, RawRecord
from headwater.state import KeyedStore, StoreSettings

TASKS = 2
TIME = pl.Datetime("ms", "UTC")

Event = tuple[int, int, int]
"""A partition, a number, and an event time in seconds."""


class Order(BaseModel):
    """What a sum is made of."""

    id: str
    n: int
    at: datetime


def refuse_three(order: Order) -> Order:
    """A step that cannot do a three."""
    if order.n == 3:
        raise ValueError
    return order


def rules(**checks: str) -> Any:
    """The contract of outputs, with a rule of each severity that is given."""
    written = [
        {"name": severity, "check": check, "severity": severity}
        for severity, check in checks.items()
    ]
    schema = json.dumps(json.loads(SCHEMA) | {"rules": written})
    return parse_contract(schema, topic="out", version=1, path=Path("v1.avsc"))


LIMITED = rules(reject="n <= 100")


def summed() -> Flow:
    """The sum of all numbers so far; a three is refused before the state."""
    total = stream().map_events(refuse_three).group_by("id").agg(n=aggregates.sum("n"))
    return total.with_columns(pl.col("n").cast(pl.Int32), at=pl.lit(0).cast(TIME))


def windowed() -> Flow:
    """The sum in each ten seconds, told on change; what is late is a dead letter."""
    windows = (
        stream()
        .map_events(refuse_three)
        .group_by("id")
        .window(tumbling("10s"), emit="on_change", late="dead-letter")
    )
    told = windows.agg(n=aggregates.sum("n"))
    return told.select("id", pl.col("n").cast(pl.Int32), at="window_start")


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

    def _route(self, topic: str, flow: Flow, output: Any) -> Route:
        plan = Plan(flow, CONTRACT.columns, ground=Ground(("id",), event_time="at"))
        held: dict[str, KeyedStore] = {}
        for stage in plan.stateful:
            store = held[stage.step.name] = KeyedStore(
                stage.rows, MemoryStores(), StoreSettings("log")
            )
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
            self.published += [(published.topic, first + row, n, at) for row, n, at in rows]
        self.letters += codes(work.letters)
        self.broken.update({each.rule: each.records for each in work.violations})
        for store in self.stores:
            store.keep()
        if self.task.watermarks is not None:
            self.task.watermarks.keep()

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


def test_late_letters_cost_one_more_attempt_whatever_their_number() -> None:
    """They changed nothing, so all of them are certain at once, up to another that is refused."""
    world = World(windowed())
    with patch.object(world.task, "_attempt", wraps=world.task._attempt) as attempts:
        world.run([(0, 1, 100), *[(0, 1, 2)] * 50, (0, 1, 101), *[(0, 1, 2)] * 50])
    assert Counter(code for _, code in world.letters) == {"LATE": 100}
    assert attempts.call_count == 2


def test_only_a_row_behind_the_watermark_leaves_no_trace() -> None:
    """One at the watermark may have moved it there, and those behind it were judged by that."""
    task, marks = pl.Series([0] * 4), pl.Series([5, 5, 5, 5])
    seen = Batch(task, task, pl.Series([5, 3, None, 5]), marks)
    done = Processed(pl.DataFrame(), [], by_state=frozenset({0, 1, 2}))
    assert without_trace(done, seen) == {1, 2}


EVENTS = st.lists(
    st.tuples(
        st.integers(0, TASKS - 1), st.sampled_from([1, 3, 30, 50, 60, -40]), st.integers(0, 40)
    ),
    max_size=14,
)


@settings(max_examples=10, deadline=None)
@given(EVENTS, st.sets(st.integers(1, 13), max_size=4))
def test_any_batching_refuses_and_publishes_the_same(events: list[Event], cuts: set[int]) -> None:
    """Two outputs with state whose rules reject, a step that raises, and late letters."""
    ends = sorted(cut for cut in cuts if cut < len(events))
    for flows in ([summed()], [windowed()], [summed(), windowed()]):
        single = World(*flows).run(events, range(1, len(events)))
        assert World(*flows).run(events).told == single.told
        assert World(*flows).run(events, ends).told == single.told
