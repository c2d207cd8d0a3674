"""Distinct values, quantiles and the most frequent against plain Python, within their bounds."""

import math
from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DeclarationError, FatalError
from headwater.flow import sketches
from headwater.flow.aggregates import Aggregation
from headwater.flow.buckets import RELATIVE_ERROR
from headwater.flow.hashes import hashed
from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate

LAWS = settings(max_examples=50, deadline=None)
QS = [0.0, 0.1, 0.5, 0.95, 1.0]
NUMBERS = st.lists(
    st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, 2.0**-80])
    | st.floats(-1e27, 1e27).filter(lambda number: number == 0 or abs(number) >= 2.0**-80),
    max_size=20,
)


def aggregate(declared: Aggregate, values: pl.Series, *, pieces: int = 1) -> Any:
    """The result for one group of these values, merged out of so many pieces."""
    aggregation = Aggregation({"x": declared}, {"x": values.dtype})
    rows = pl.DataFrame({"g": pl.zeros(len(values), dtype=pl.Int64, eager=True), "x": values})
    size = -(-rows.height // pieces)
    parts = [
        aggregation.merge(aggregation.lift(piece), by=["g"]) for piece in rows.iter_slices(size)
    ]
    return aggregation.result(aggregation.merge(pl.concat(parts), by=["g"]))["x"].to_list()[0]


@given(NUMBERS.filter(bool))
@LAWS
def test_a_quantile_is_within_its_error_of_the_number_at_its_rank(numbers: list[float]) -> None:
    """Negative numbers, zeros, infinities and NaN included; the rank is that of all values."""
    ordered = sorted(numbers, key=lambda number: (math.isnan(number), number))
    found = aggregate(of.quantiles("x", QS), pl.Series(numbers))
    for q, number in zip(QS, found, strict=True):
        wanted = ordered[math.floor(q * (len(ordered) - 1))]
        assert number == wanted or (
            math.isnan(number)
            if math.isnan(wanted)
            else abs(number - wanted) <= RELATIVE_ERROR * abs(wanted)
        )


@pytest.mark.parametrize("dtype", [pl.Int32(), pl.Int64(), pl.UInt64(), pl.Decimal(10, 2)])
def test_quantiles_take_every_number(dtype: pl.DataType) -> None:
    """Integers and decimals as doubles; nulls are left out."""
    values = pl.Series([*range(1, 1001), None]).cast(dtype)
    median, high = aggregate(of.quantiles("x", [0.5, 0.95]), values)
    assert median == pytest.approx(500, rel=RELATIVE_ERROR)
    assert high == pytest.approx(950, rel=RELATIVE_ERROR)


def test_quantiles_of_small_whole_numbers_are_exact() -> None:
    """Minutes, counts and the like: up to 255 each has a bucket that stands for it."""
    values = pl.int_range(-255, 256, eager=True)
    found = aggregate(of.quantiles("x", [place / 510 for place in range(511)]), values)
    assert found == [float(value) for value in range(-255, 256)]


def test_the_state_of_a_quantile_grows_with_the_range_of_its_numbers_only() -> None:
    """128 counters for each doubling; what is nearer to zero than sums can tell is zero."""
    aggregation = Aggregation({"x": of.quantile("x", 0.5)}, {"x": pl.Float64()})
    values = pl.Series([1 + place / 100_000 for place in range(100_000)] + [1e-30, -1e-300, 0.0])
    rows = pl.DataFrame({"g": pl.zeros(len(values), dtype=pl.Int64, eager=True), "x": values})
    states = aggregation.merge(aggregation.lift(rows), by=["g"])
    (state,) = states["_x__buckets"].to_list()
    assert len(state) == 128 + 1
    assert state[0] == {"value": 0, "count": 3}


def test_a_number_beyond_sums_is_beyond_quantiles_too() -> None:
    """So the state of a group has a bound; infinity and NaN have a counter of their own."""
    aggregation = Aggregation({"x": of.quantile("x", 0.5)}, {"x": pl.Float64()})
    rows = pl.DataFrame({"x": [1.2e27, math.inf, -math.inf, math.nan, None, -(2.0**90)]})
    assert rows.select(aggregation.beyond()).to_series().to_list() == [False] * 5 + [True]
    with pytest.raises(OverflowError, match="too large"):
        aggregation.lift(rows)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([0.0, -0.0, math.nan, -math.nan, 1.5, None]),
        pl.Series([0, 2**64 - 1, 2**63, None], dtype=pl.UInt64),
        pl.Series(["", "é", "x", None]),
        pl.Series([b"", b"\xff", b"x", None]),
        pl.Series(["a", "b", "c", None], dtype=pl.Enum(["a", "b", "c"])),
        pl.Series([1, 2, 3, None]).cast(pl.Datetime("us", "UTC")),
        pl.Series([1, 2, 3, None]).cast(pl.Decimal(10, 2)),
        pl.Series([1, 2, 3, None]).cast(pl.Time()),
    ],
    ids=lambda values: str(values.dtype),
)
def test_few_distinct_values_are_counted_exactly(values: pl.Series) -> None:
    """Whatever the type; nulls are none, all NaN are one, and zero has no sign."""
    thrice = pl.concat([values, values, values])
    assert aggregate(of.approx_distinct("x"), thrice) == 3
    assert aggregate(of.approx_distinct("x"), values.clear().extend(values.tail(1))) == 0
    top = aggregate(of.top_k("x", 10), thrice)
    assert [item["count"] for item in top] == [3 * n for n in sorted(counts(values), reverse=True)]


def counts(values: pl.Series) -> list[int]:
    """How often each value is there that is not null."""
    return values.drop_nulls().value_counts(name="n")["n"].to_list()


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_a_million_distinct_values_are_estimated_within_their_error(kind: str) -> None:
    """Within three standard errors, the same whatever their order and the pieces they come in."""
    every = pl.int_range(1_000_000, eager=True)
    values = every if kind == "numbers" else "route-" + every.cast(pl.String)
    for distinct in (sketches.DISTINCT, sketches.DISTINCT + 1, 100_000, 1_000_000):
        found = aggregate(of.approx_distinct("x"), values.head(distinct))
        if distinct <= sketches.DISTINCT:
            assert found == distinct
        assert found == pytest.approx(distinct, rel=3 / math.sqrt(sketches.DISTINCT - 1))
        shuffled = values.head(distinct).sample(fraction=1, shuffle=True, seed=7)
        assert aggregate(of.approx_distinct("x"), shuffled, pieces=7) == found


def test_the_standard_error_of_estimates_is_what_is_said() -> None:
    """The root mean square of 100 estimates of 20,000 values each is 1.6 % or near it."""
    groups = pl.int_range(100, eager=True).alias("g").to_frame()
    rows = groups.join(pl.int_range(20_000, eager=True).alias("n").to_frame(), how="cross")
    rows = rows.select("g", x=pl.col("g") * 20_000 + pl.col("n"))
    aggregation = Aggregation({"x": of.approx_distinct("x")}, {"x": pl.Int64()})
    found = aggregation.result(aggregation.merge(aggregation.lift(rows), by=["g"]))
    error = (found["x"] / 20_000 - 1).pow(2).mean()
    assert isinstance(error, float)
    assert 0.012 < math.sqrt(error) < 0.018  # 1.4 %: among 20,000 one in five is known


def test_a_hash_never_changes() -> None:
    """States outlive releases: SplitMix64's published first output, and xxh3 of UTF-8, halved."""
    assert hashed(pl.Series([0])).to_list() == [0xE220A8397B1DCDAF // 2]
    assert hashed(pl.Series([0], dtype=pl.UInt64)).to_list() == [0xE220A8397B1DCDAF // 2]
    assert hashed(pl.Series([False, None])).to_list() == [0xE220A8397B1DCDAF // 2, None]
    assert hashed(pl.Series(["", None])).to_list() == [0x2D06800538D394C2 // 2, None]


@given(st.lists(st.none() | st.sampled_from("abcdef"), max_size=30), st.integers(1, 7))
@LAWS
def test_the_most_frequent_are_those_of_plain_python(values: list[str | None], k: int) -> None:
    """With exact counts, by count and then by value."""
    counted = Counter(value for value in values if value is not None)
    wanted = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:k]
    series = pl.Series([*values, None], dtype=pl.String)
    found = aggregate(of.top_k("x", k), series, pieces=3)
    assert [(item["value"], item["count"]) for item in found] == wanted


@pytest.mark.parametrize("values", [[-0.0, 0.0], [0.0, -0.0], [-math.nan, math.nan], [-math.nan]])
def test_a_frequent_value_has_no_sign_where_it_means_nothing(values: list[float]) -> None:
    """Which zero, or which NaN, came first must not show in the bits of a result."""
    (item,) = aggregate(of.top_k("x", 2), pl.Series(values))
    assert math.copysign(1, item["value"]) == 1
    assert item["count"] == len(values)


def test_a_group_with_too_many_values_for_its_counts_is_refused() -> None:
    """At its bound it is counted, beyond it the product stops, by a code."""
    values = pl.int_range(sketches.MOST_COUNTED + 1, eager=True)
    least = [{"value": 0, "count": 1}]
    assert aggregate(of.top_k("x", 1), values.head(sketches.MOST_COUNTED)) == least
    with pytest.raises(FatalError, match="distinct values") as refused:
        aggregate(of.top_k("x", 1), values, pieces=4)
    assert refused.value.code == "AGGREGATE_OVERFLOW"


@pytest.mark.parametrize(
    ("declared", "dtype", "words"),
    [
        (of.quantile("x", 0.5), pl.String(), "quantile takes numbers, and x is String"),
        (of.approx_distinct("x"), pl.List(pl.Int64()), "approx_distinct takes one value a row"),
        (of.top_k("x", 3), pl.Struct({"a": pl.Int64()}), "top_k takes one value a row"),
        (of.top_k("y", 3), pl.Int64(), "no column 'y' here"),
        (of.variance("x"), pl.Boolean(), "variance takes numbers, and x is Boolean"),
    ],
)
def test_a_column_that_a_sketch_cannot_take_is_told(
    declared: Aggregate, dtype: pl.DataType, words: str
) -> None:
    """When it is declared, with the column and its type."""
    with pytest.raises(DeclarationError, match="a: ") as refused:
        Aggregation({"a": declared}, {"x": dtype})
    assert words in str(refused.value)


def test_the_share_of_true_is_a_mean() -> None:
    """The sum of booleans counts those that are true, their mean is the share; nulls are none."""
    late = pl.Series([True, False, True, None, True])
    assert aggregate(of.sum("x"), late) == 3
    assert aggregate(of.mean("x"), late) == 0.75
    assert aggregate(of.mean("x"), late.clear().extend(pl.Series([None], dtype=pl.Boolean))) is None
