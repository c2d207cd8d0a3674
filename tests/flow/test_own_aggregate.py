"""An author's own aggregate: what it computes, and what is refused of it."""

from collections.abc import Mapping

import polars as pl
import pytest

from headwater.errors import DeclarationError
from headwater.flow.aggregates import Aggregation
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate

COLUMNS: dict[str, pl.DataType] = {"x": pl.Int64(), "f": pl.Float64(), "s": pl.String()}
X = pl.col("x")
SPAN = of.mergeable(
    state={"low": X, "high": X, "n": pl.lit(1)},
    merge={"low": pl.col("low").min(), "high": pl.col("high").max(), "n": pl.col("n").sum()},
    result=pl.struct("n", span=pl.col("high") - pl.col("low")),
)
ROWS = pl.DataFrame(
    {
        "g": ["a", "b", "a", "a", None],
        "x": [3, 1, 10, None, 7],
        "f": [0.1, 0.2, 0.3, 1e16, -1e16],
        "s": ["p", "q", "r", "s", "t"],
    }
)


def own(state: Mapping[str, pl.Expr], merge: Mapping[str, pl.Expr], result: str) -> Aggregate:
    """An aggregate whose result is one of its columns."""
    return of.mergeable(state=state, merge=merge, result=pl.col(result))


def test_an_own_aggregate_is_what_its_expressions_say_beside_others() -> None:
    """Per group, in the order of the groups, whatever stands beside it; null is a group too."""
    aggregation = Aggregation({"n": of.count(), "span": SPAN, "top": of.top_k("s", 1)}, COLUMNS)
    states = aggregation.lift(ROWS)
    held = aggregation.merge(states.head(2), by=["g"])
    merged = aggregation.merge(pl.concat([held, states.tail(3).select(held.columns)]), by=["g"])
    assert merged.equals(aggregation.merge(states, by=["g"]))
    found = aggregation.result(merged)
    assert found.schema == {"g": pl.String(), **aggregation.results}
    assert found.select("g", "n", pl.col("span")).rows() == [
        ("a", 3, {"n": 3, "span": 7}),
        ("b", 1, {"n": 1, "span": 0}),
        (None, 1, {"n": 1, "span": 0}),
    ]


def test_whole_numbers_are_kept_wide() -> None:
    """A count of ones as literals write them would wrap around after two billion rows."""
    declared = own({"n": pl.lit(2**31 - 1, dtype=pl.Int32)}, {"n": pl.col("n").sum()}, "n")
    aggregation = Aggregation({"all": declared}, COLUMNS)
    found = aggregation.result(aggregation.merge(aggregation.lift(ROWS), by=["g"]))
    assert found["all"].to_list()[0] == 3 * (2**31 - 1)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (own({"n": pl.col("none")}, {"n": pl.col("n").sum()}, "n"), "state: ColumnNotFoundError"),
        (own({"n": X}, {"n": pl.col("m").sum()}, "n"), "merge: ColumnNotFoundError"),
        (own({"n": X}, {"n": pl.col("n").sum()}, "m"), "result: ColumnNotFoundError"),
        (own({"n": X}, {"n": pl.col("n")}, "n"), "merge it to one value"),
        (own({"n": X}, {"n": pl.col("n").count()}, "n"), "merging n of Int64 gives UInt32"),
        (own({"n": X > 1}, {"n": pl.col("n").sum()}, "n"), "merging n of Boolean gives UInt32"),
        (own({"n": pl.col("s").cos()}, {"n": pl.col("n").sum()}, "n"), "state: InvalidOperation"),
    ],
)
def test_expressions_that_do_not_fit_are_told_when_declared(
    declared: Aggregate, words: str
) -> None:
    """With the name of the aggregate and of what does not fit."""
    with pytest.raises(DeclarationError, match="mine: ") as refused:
        Aggregation({"mine": declared}, COLUMNS)
    assert [each.code for each in refused.value.problems] == ["AGGREGATE"]
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (own({"n": X.max()}, {"n": pl.col("n").max()}, "n"), "state looks at other rows"),
        (own({"n": pl.col("f")}, {"n": pl.col("n").sum()}, "n"), "another state"),
        (own({"n": X}, {"n": pl.col("n").first()}, "n"), "in another order"),
        (own({"n": X}, {"n": pl.col("n").mean().cast(pl.Int64)}, "n"), "another state"),
    ],
)
def test_an_aggregate_that_depends_on_batches_is_refused_with_its_rows(
    declared: Aggregate, words: str
) -> None:
    """Before any result is out: rows after rows must give what they give at once."""
    aggregation = Aggregation({"mine": declared}, COLUMNS)
    with pytest.raises(DeclarationError, match="mine: ") as refused:
        aggregation.lift(ROWS)
    assert [each.code for each in refused.value.problems] == ["BATCH_DEPENDENT"]
    assert words in str(refused.value)


def test_a_larger_batch_is_proven_again() -> None:
    """One row shows nothing of batches; the next that is twice as large does."""
    declared = own({"n": pl.col("f")}, {"n": pl.col("n").sum()}, "n")
    aggregation = Aggregation({"mine": declared}, COLUMNS)
    aggregation.lift(ROWS.head(1))
    aggregation.lift(ROWS.head(1))
    with pytest.raises(DeclarationError, match="another state"):
        aggregation.lift(ROWS)


def test_aggregates_of_one_column_with_other_parameters_share_or_stand_apart() -> None:
    """Quantiles share their buckets, top_k its counts; lists of other lengths have nothing alike.

    An author's own shares nothing, whatever it and its parts are called.
    """
    mine = of.mergeable(
        state={"count": pl.lit(1)}, merge={"count": pl.col("count").sum()}, result=pl.col("count")
    )
    names = {
        "low": of.quantile("i", 0.0),
        "high": of.quantiles("i", [0.5, 1.0]),
        "top": of.top_k("i", 1),
        "tops": of.top_k("i", 2),
        "one": of.collect("i", limit=1),
        "two": of.collect("i", limit=2),
        "n": of.count("i"),
        "i": mine,
        "other": mine,
    }
    aggregation = Aggregation(names, {"i": pl.Int64()})
    assert len(aggregation.state) == 1 + 1 + 1 + 2 + 1 + 2
    rows = pl.DataFrame({"g": "a", "i": [3, 3, None], EVENT_TIME: [0, 1, 2], OFFSET: [0, 1, 2]})
    states = aggregation.merge(aggregation.lift(rows), by=["g"])
    (found,) = aggregation.result(states).to_dicts()
    counted = {"value": 3, "count": 2}
    assert found == {
        "g": "a",
        "low": 3.0,
        "high": [3.0, 3.0],
        "top": [counted],
        "tops": [counted],
        "one": [3],
        "two": [3, 3],
        "n": 2,
        "i": 3,
        "other": 3,
    }
