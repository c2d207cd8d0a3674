"""Aggregates as they are declared."""

import pytest

from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate, aggregate_mistake


@pytest.mark.parametrize(
    "aggregate", [of.count(), of.count("x"), of.sum("x"), of.last("x"), of.collect("x", limit=1)]
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
    ],
)
def test_a_mistake_in_an_aggregate_is_told(aggregate: object, words: str) -> None:
    """One sentence says what is wrong and what to write."""
    mistake = aggregate_mistake(aggregate)
    assert mistake is not None
    assert words in mistake
    assert "write" in mistake
