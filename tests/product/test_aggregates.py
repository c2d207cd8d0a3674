"""Aggregates as they are declared."""

import polars as pl
import pytest

from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate, aggregate_mistake

ONE = pl.lit(1)


@pytest.mark.parametrize(
    "aggregate",
    [
        of.count(),
        of.count("x"),
        of.sum("x"),
        of.last("x"),
        of.collect("x", limit=1),
        of.approx_distinct("x"),
        of.quantile("x", 1),
        of.quantiles("x", [0, 0.5]),
        of.top_k("x", 10_000),
        of.mergeable(state={"a_b": ONE}, merge={"a_b": ONE}, result=ONE),
    ],
)
def test_sound_aggregates_have_no_mistake(aggregate: Aggregate) -> None:
    """What works is accepted."""
    assert aggregate_mistake(aggregate) is None


@pytest.mark.parametrize(
    ("aggregate", "words"),
    [
        ("count", "'count' is no aggregate"),
        (of.mean(5), "mean(5) names no column"),  # type: ignore[arg-type]  # the mistake
        (of.count(5), "count(5) names no column"),  # type: ignore[arg-type]  # the mistake
        (Aggregate("sum", None), "sum(None) names no column"),
        (of.collect("x", limit=0), "limit=0 is no number from 1 to 10000"),
        (of.collect("x", limit=True), "limit=True is no number"),
        (of.collect("x", limit=10_001), "limit=10001 is no number"),
        (of.top_k("x", 0), "top_k k=0 is no number from 1 to 10000"),
        (of.quantile("x", 1.1), "quantile has the fractions (1.1,)"),
        (of.quantile("x", float("nan")), "quantile has the fractions (nan,)"),
        (of.quantiles("x", []), "quantiles has the fractions ()"),
        (of.quantiles("x", ["a"]), "from 0 to 1"),  # type: ignore[list-item]  # the mistake
        (of.mergeable(state={}, merge={}, result=ONE), "one merge for each"),
        (of.mergeable(state={"a": ONE}, merge={"b": ONE}, result=ONE), "one merge for each"),
        (of.mergeable(state={"a__b": ONE}, merge={"a__b": ONE}, result=ONE), "a state 'a__b'"),
        (of.mergeable(state=1, merge={}, result=ONE), "with a name"),  # type: ignore[arg-type]  # the mistake
    ],
)
def test_a_mistake_in_an_aggregate_is_told(aggregate: object, words: str) -> None:
    """One sentence says what is wrong and what to write."""
    mistake = aggregate_mistake(aggregate)
    assert mistake is not None
    assert words in mistake
    assert "write" in mistake
