"""Windows whose states are lists and sketches, and an author's own, over the store."""

from collections.abc import Sequence
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flow.windowing import Event, Running

from headwater import DataProduct, Flow, aggregates, hopping, session, tumbling
from headwater.errors import DeclarationError, FatalError
from headwater.flow import ROW, Ground, Plan
from headwater.model import Code
from headwater.product.aggregates import Aggregate
from headwater.product.windows import Windows

COLUMNS = {"id": pl.String(), "kind": pl.Int64(), "x": pl.Float64()}
N = pl.col("n")
SPAN = aggregates.mergeable(
    state={"low": pl.col("x"), "high": pl.col("x")},
    merge={"low": pl.col("low").min(), "high": pl.col("high").max()},
    result=pl.col("high") - pl.col("low"),
)
WIDE = {
    "n": aggregates.count(),
    "half": aggregates.quantile("x", 0.5),
    "most": aggregates.quantiles("x", [0.9, 1.0]),
    "kinds": aggregates.approx_distinct("kind"),
    "top": aggregates.top_k("kind", 1),
    "tops": aggregates.top_k("kind", 2),
    "early": aggregates.collect("x", limit=2),
    "span": SPAN,
}
WINDOWS = [tumbling("10ms"), hopping("10ms", every="4ms"), session(gap="4ms")]
EVENTS = st.lists(
    st.builds(
        Event,
        st.just(0),
        st.sampled_from("ab"),
        st.sampled_from([1, 2, 3, None]),
        st.sampled_from([None, 1.0, 2.5, -4.0, 300.0]),
        st.integers(0, 40),
    ),
    max_size=30,
)


def windowed(windows: Windows, **made: Aggregate) -> Flow:
    """These aggregates of each id and window."""
    stream = DataProduct("a.b", owner="me").stream("c.d", contract=1)
    return stream.group_by("id").window(windows, allowed_lateness="5ms").agg(**made)


def told(windows: Windows, parts: Sequence[Sequence[Event]]) -> pl.DataFrame:
    """What comes out of these batches, and after them of the end of time."""
    running = Running(windowed(windows, **WIDE))
    frames = [running.run(part) for part in parts]
    return pl.concat([*frames, running.run([], {0: 10**6})]).drop(ROW)


@pytest.mark.parametrize("windows", WINDOWS, ids=["tumbling", "hopping", "sessions"])
@settings(max_examples=20, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 30), max_size=4))
def test_sketches_in_windows_are_the_same_in_any_batches(
    windows: Windows, events: list[Event], ends: list[int]
) -> None:
    """To the last bit, in order, through the bytes of the store."""
    cuts = sorted({0, len(events), *(end for end in ends if end < len(events))})
    parts = [events[start:end] for start, end in pairwise(cuts)]
    whole = told(windows, [events])
    assert told(windows, parts).equals(whole)
    assert whole["n"].sum() > 0 or not events


def test_a_window_holds_what_each_of_its_aggregates_says() -> None:
    """Written out for one window, of two batches."""
    one = [Event(0, "a", 1, 2.0, 1), Event(0, "a", 1, 7.0, 2)]
    (row,) = told(tumbling("10ms"), [one, [Event(0, "a", 5, 4.0, 0)]]).to_dicts()
    assert {name: row[name] for name in WIDE} == {
        "n": 3,
        "half": 4.0,
        "most": [4.0, 7.0],
        "kinds": 2,
        "top": [{"value": 1, "count": 2}],
        "tops": [{"value": 1, "count": 2}, {"value": 5, "count": 1}],
        "early": [4.0, 2.0],
        "span": 5.0,
    }


def test_a_row_that_an_own_aggregate_raises_for_is_set_aside_alone() -> None:
    """As for any step of the author's: the others are in their window."""
    own = aggregates.mergeable(
        state={"n": pl.col("id").str.to_integer()}, merge={"n": pl.col("n").sum()}, result=N
    )
    running = Running(windowed(tumbling("10ms"), n=own))
    found = running.run([Event(0, each, 1, None, 1) for each in ("7", "secret", "9")], {0: 99})
    assert found["n"].to_list() == [7, 9]
    (refused,) = running.quarantined
    assert (refused.row, refused.code) == (1, Code.STEP_FAILED)
    assert "secret" not in refused.message


def test_an_own_result_that_raises_stops_without_its_payload() -> None:
    """It is of many rows: none can be set aside for it."""
    own = aggregates.mergeable(
        state={"n": pl.col("id")}, merge={"n": pl.col("n").max()}, result=N.str.to_integer()
    )
    running = Running(windowed(tumbling("10ms"), n=own))
    with pytest.raises(FatalError, match="n: result raised ComputeError") as stopped:
        running.run([Event(0, "secret", 1, None, 1)], {0: 99})
    assert stopped.value.code == "AGGREGATE_FAILED"
    assert "secret" not in str(stopped.value)


@pytest.mark.parametrize("name", sorted(WIDE.keys() - {"n"}))
def test_what_does_not_run_is_refused_where_each_row_is_told(name: str) -> None:
    """When it is declared, running or on change."""
    stream = DataProduct("a.b", owner="me").stream("c.d", contract=1)
    grouped = stream.group_by("id")
    for flow in (
        grouped.agg(x=WIDE[name]),
        grouped.window(tumbling("1h"), emit="on_change").agg(x=WIDE[name]),
    ):
        with pytest.raises(DeclarationError, match="no running result"):
            Plan(flow, COLUMNS, ground=Ground(("id",), event_time="at"))
