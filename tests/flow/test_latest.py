"""`latest`: what goes on, what is dropped, what is refused."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import DataProduct, Flow
from headwater.adapters.memory import MemoryStores
from headwater.errors import DeclarationError
from headwater.flow import ROW, Batch, Columns, Ground, Plan
from headwater.state import KeyedStore, StoreSettings

COLUMNS: Columns = {"id": pl.String(), "at": pl.Datetime("us", "UTC"), "n": pl.Int64()}
FILE = Path(__file__).name
Event = tuple[int, str, int | None]
"""Task, key, time in microseconds."""


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


class Product:
    """A plan with a store in memory, given one batch after another."""

    def __init__(self, flow: Flow) -> None:
        self.plan = Plan(flow, COLUMNS, ground=Ground(("id",)))
        (stage,) = self.plan.stateful
        self.store = KeyedStore(stage.rows, MemoryStores(), StoreSettings("log"))
        for task in range(3):
            self.store.assign(task)
        self.plan = self.plan.with_stores({stage.step.name: self.store})

    def run(self, events: Sequence[Event]) -> list[int]:
        """The rows that went on."""
        tasks, ids, times = zip(*events, strict=True) if events else ((), (), ())
        frame = pl.DataFrame(
            {ROW: range(len(events)), "id": ids, "at": times, "n": range(len(events))},
            schema={ROW: pl.UInt32, **COLUMNS},
        )
        done = self.plan.process(frame, Batch(pl.Series(tasks, dtype=pl.Int64)))
        assert not done.quarantined
        self.superseded = sum(done.superseded.values())
        self.unordered = dict(done.unordered)
        self.store.keep()
        return done.frame[ROW].to_list()


def oracle(events: Sequence[Event]) -> list[int]:
    """The same, one event at a time."""
    best: dict[tuple[int, str], int] = {}
    passed = []
    for row, (task, key, time) in enumerate(events):
        if time is not None and time >= best.get((task, key), time):
            best[task, key] = time
            passed.append(row)
    return passed


def test_what_is_older_is_dropped_within_a_batch_and_across() -> None:
    """Of each key the greatest counts, in the batch and in what was stored before."""
    product = Product(stream().latest("id", by="at"))
    assert product.run([(0, "a", 5), (0, "b", 1), (0, "a", 3), (0, "a", 7)]) == [0, 1, 3]
    assert product.superseded == 1
    assert product.run([(0, "a", 6), (0, "b", 1), (0, "a", 8), (0, "b", 0)]) == [1, 2]
    assert product.superseded == 2


def test_of_equal_times_the_later_record_counts() -> None:
    """A tie goes on: its row replaces the one before."""
    product = Product(stream().latest("id", by="at"))
    assert product.run([(0, "a", 5), (0, "a", 5)]) == [0, 1]
    assert product.run([(0, "a", 5)]) == [0]


def test_a_null_time_is_never_the_latest_and_counted() -> None:
    """Not even of a key that has no row yet; and it is no hole in what came before."""
    product = Product(stream().latest("id", by="at"))
    assert product.run([(0, "a", None), (0, "a", 5), (0, "a", None), (0, "a", 4)]) == [1]
    assert product.superseded == 1, "a row without a time is no older one"
    assert product.unordered == {"latest-1": 2}
    assert product.run([(0, "a", None), (0, "b", None)]) == []
    assert product.unordered == {"latest-1": 2}
    product.run([(0, "a", 6)])
    assert product.unordered == {}


def test_a_key_in_two_tasks_is_two_keys() -> None:
    """State belongs to the task: a worker that holds the one may not hold the other."""
    product = Product(stream().latest("id", by="at"))
    assert product.run([(0, "a", 5), (1, "a", 3), (1, "a", 4), (0, "a", 4)]) == [0, 1, 2]


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from("abc"), st.none() | st.integers(-(10**12), 10**12)
    ),
    max_size=40,
)


@given(events=EVENTS, ends=st.lists(st.integers(0, 40), max_size=4))
def test_batches_do_not_matter(events: list[Event], ends: list[int]) -> None:
    """However the records fall into batches, what goes on is what one at a time would let."""
    product = Product(stream().latest("id", by="at"))
    cuts = sorted({0, len(events), *(end for end in ends if end < len(events))})
    found: list[int] = []
    for start, end in pairwise(cuts):
        found += [start + row for row in product.run(events[start:end])]
    assert found == oracle(events)


def refused(flow: Flow, key: tuple[str, ...] = ("id",)) -> list[str]:
    """The problems of a flow that cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS, ground=Ground(key))
    assert all(p.file == __file__ and p.line for p in caught.value.problems)
    return [f"{p.code} {p.message}" for p in caught.value.problems]


def test_mistakes_are_told_without_data() -> None:
    """Another key than the stream's, a column that is not there, a type that has no exact order."""
    assert refused(stream().latest("n", by="at")) == [
        "NOT_THE_KEY latest-1: asks for n, but the stream is keyed by id; name it"
    ]
    assert refused(stream().latest("id", by="at"), key=()) == [
        "NOT_THE_KEY latest-1: the contract of the stream has no key; state needs one"
    ]
    assert refused(stream().latest("id", by="att")) == [
        "UNKNOWN_COLUMN latest-1: no column 'att' here; did you mean 'at'?"
    ]
    assert refused(stream().latest("id", by="id")) == [
        "INVALID_STEP latest-1: by='id' is String; name a column of times or whole numbers"
    ]
    wanted = "only data tells the columns of the steps before it; put it before them"
    blind = stream().map(lambda frame: frame.filter(frame["n"].item(0) > 0))
    assert refused(blind.latest("id", by="at")) == [f"UNKNOWN_COLUMNS latest-1: {wanted}"]


def test_a_changed_key_stops_it() -> None:
    """The state of a key would be spread over tasks, and wrong in all of them."""
    product = Product(stream().with_columns(id=pl.col("id") + "!").latest("id", by="at"))
    with pytest.raises(DeclarationError, match=r"KEY_CHANGED.*latest-1: a step before it changed"):
        product.run([(0, "a", 1)])


def test_steps_before_and_behind_run_as_ever() -> None:
    """A filter before, a fan-out of rows between, a projection behind."""
    later = timedelta(microseconds=1)
    flow = stream().filter(pl.col("n") != 1).with_columns(at=pl.col("at") + later)
    product = Product(flow.latest("id", by="at").select("id"))
    assert product.run([(0, "a", 5), (0, "a", 9), (0, "a", 6), (0, "a", 5)]) == [0, 2]
