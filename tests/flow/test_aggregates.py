"""Aggregates on columns against a computation in plain Python, and the laws of their states."""

import math
import statistics
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.contract.state_rows import StateRows
from headwater.errors import DeclarationError, FatalError
from headwater.flow.aggregates import Aggregation
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate

COLUMNS = {
    "i": pl.Int64(),
    "f": pl.Float64(),
    "d": pl.Decimal(10, 2),
    "s": pl.String(),
    "t": pl.Datetime("ms", "UTC"),
    "b": pl.Boolean(),
}
RUNNING = {
    "rows": of.count(),
    "present": of.count("s"),
    **{
        f"{kind}_{column}": Aggregate(kind, column) for kind in ("sum", "mean") for column in "ifdb"
    },
    **{f"{kind}_{column}": Aggregate(kind, column) for kind in ("min", "max") for column in "ifdt"},
    **{
        f"{kind}_{column}": Aggregate(kind, column) for kind in ("first", "last") for column in "sf"
    },
    **{f"variance_{column}": of.variance(column) for column in "ifd"},
}
LISTS = {"list_s": of.collect("s", limit=3), "list_i": of.collect("i", limit=2)}
SKETCHES = {
    **{f"distinct_{column}": of.approx_distinct(column) for column in "ifdstb"},
    **{f"top_{column}": of.top_k(column, 2) for column in "ifdstb"},
    **{f"quantile_{column}": of.quantile(column, 0.5) for column in "ifd"},
    "quantiles": of.quantiles("f", [0, 0.9, 1]),
    "own": of.mergeable(
        state={"n": pl.lit(1), "high": pl.col("i")},
        merge={"n": pl.col("n").sum(), "high": pl.col("high").max()},
        result=pl.col("high") - pl.col("n"),
    ),
}
ALL = {**RUNNING, **LISTS, **SKETCHES}
SPECIAL = [0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1e-300, -1e13, 3.4e13]
Row = dict[str, Any]
LAWS = settings(max_examples=25, deadline=None)  # each computes some forty aggregates

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "g": st.sampled_from(["a", "b", None]),
            "i": st.none() | st.integers(-5, 5) | st.sampled_from([2**44, -(2**44)]),
            "f": st.none() | st.sampled_from(SPECIAL) | st.floats(-1e6, 1e6),
            "d": st.none() | st.decimals(-9_999_999, 9_999_999, places=2),
            "s": st.none() | st.sampled_from(["", "x", "yy"]),
            "t": st.none() | st.integers(-(10**12), 10**12),
            "b": st.none() | st.booleans(),
            EVENT_TIME: st.integers(-3, 3),
        }
    ),
    max_size=12,
).map(lambda rows: [{**row, OFFSET: place} for place, row in enumerate(rows)])


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows as columns, with a key."""
    schema = {"g": pl.String(), **COLUMNS, EVENT_TIME: pl.Int64(), OFFSET: pl.Int64()}
    loose = {**schema, "t": pl.Int64()}
    return pl.DataFrame(list(rows), schema=loose).cast(pl.Schema(schema))


def lifted(aggregation: Aggregation, rows: Sequence[Row]) -> pl.DataFrame:
    """The states of single rows, as a store would hold them."""
    return aggregation.lift(frame(rows)).select("g", *aggregation.state)


def partial(aggregation: Aggregation, rows: Sequence[Row]) -> pl.DataFrame:
    """The states of the groups of these rows."""
    return aggregation.merge(lifted(aggregation, rows), by=["g"])


def merged(aggregation: Aggregation, *states: pl.DataFrame) -> pl.DataFrame:
    """One state per group of several."""
    return aggregation.merge(pl.concat(states), by=["g"])


def results(aggregation: Aggregation, rows: Sequence[Row]) -> list[Row]:
    """What the groups of these rows result in, ordered by first row."""
    return aggregation.result(partial(aggregation, rows)).to_dicts()


def expected(name: str, declared: Aggregate, rows: Sequence[Row]) -> Any:
    """The aggregate in plain Python."""
    if declared.column is None:
        return len(rows)
    ordered = sorted(rows, key=lambda row: (row[EVENT_TIME], row[OFFSET]))
    values = [row[declared.column] for row in ordered]
    if declared.kind == "collect":
        return values[: declared.limit]
    if declared.kind in {"first", "last"}:
        return values[0 if declared.kind == "first" else -1]
    present = [value for value in values if value is not None]
    return expected_of_values(declared.kind, present)


def expected_of_values(kind: str, values: list[Any]) -> Any:
    """The aggregate of values that are not null."""
    if kind == "count":
        return len(values)
    if len(values) < (2 if kind == "variance" else 1):
        return None
    if kind in {"min", "max"}:
        numbers = [value for value in values if value == value]  # noqa: PLR0124 - NaN
        is_nan = not numbers if kind == "min" else len(numbers) < len(values)
        return math.nan if is_nan else (min if kind == "min" else max)(numbers)
    if kind == "sum":
        return exactly(values)
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        return exactly(values) * (math.nan if kind == "variance" else 1)
    # a variance of decimals is one of doubles
    fractions = [Fraction(float(value) if kind == "variance" else value) for value in values]
    return float((statistics.mean if kind == "mean" else statistics.variance)(fractions))


def exactly(values: list[Any]) -> Any:
    """A sum that is rounded once; integers and decimals not at all."""
    if not isinstance(values[0], float):
        return sum(values)
    if math.isnan(sum(values)) or math.isinf(sum(values)):
        return sum(values)
    return math.fsum(values)


def same(found: Any, wanted: Any, *, rows: Sequence[Row]) -> bool:
    """Whether a result is the expected one; doubles to what `flow.exact` promises."""
    if isinstance(wanted, float) and isinstance(found, float) and math.isfinite(wanted):
        largest = max(
            (abs(row["f"]) for row in rows if row["f"] is not None and math.isfinite(row["f"])),
            default=0.0,
        )
        cut = 1e-22 + 2.0**-90 * largest * largest
        return math.isclose(found, wanted, rel_tol=4e-16, abs_tol=cut)
    if isinstance(wanted, float) and math.isnan(wanted):
        return isinstance(found, float) and math.isnan(found)
    return type(found) is type(wanted) and bool(found == wanted)


@given(ROWS)
@LAWS
def test_each_aggregate_is_what_plain_python_computes(rows: list[Row]) -> None:
    """Nulls, NaN, infinities, signed zeros, ties of time and integers beyond a double included."""
    aggregation = Aggregation({**RUNNING, **LISTS}, COLUMNS)
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["g"], []).append(row)
    found = results(aggregation, rows)
    assert [row["g"] for row in found] == list(groups)
    for row in found:
        row["min_t"], row["max_t"] = (
            None if at is None else round(at.timestamp() * 1000)
            for at in (row["min_t"], row["max_t"])
        )
        for name, declared in {**RUNNING, **LISTS}.items():
            wanted = expected(name, declared, groups[row["g"]])
            assert same(row[name], wanted, rows=groups[row["g"]]), (name, row[name], wanted)


@given(ROWS, ROWS, ROWS)
@LAWS
def test_merging_states_is_associative_to_the_bit(
    one: list[Row], two: list[Row], three: list[Row]
) -> None:
    """And the state of rows one after the other is that of both merged: partials may be made."""
    aggregation = Aggregation(ALL, COLUMNS)
    rows = [{**row, OFFSET: place} for place, row in enumerate([*one, *two, *three])]
    cuts = 0, len(one), len(one) + len(two), len(rows)
    a, b, c = (partial(aggregation, rows[start:end]) for start, end in pairwise(cuts))
    left = merged(aggregation, merged(aggregation, a, b), c)
    right = merged(aggregation, a, merged(aggregation, b, c))
    assert left.equals(right)
    assert left.equals(partial(aggregation, rows))


@given(ROWS, st.integers(1, 5))
@LAWS
def test_running_results_are_of_the_rows_so_far_however_they_are_batched(
    rows: list[Row], size: int
) -> None:
    """Row by row, with what the store held before the batch; the last is the result of all."""
    aggregation = Aggregation(RUNNING, COLUMNS)
    expected_rows = [
        {row["g"]: row for row in results(aggregation, rows[: place + 1])}[rows[place]["g"]]
        for place in range(len(rows))
    ]
    held = partial(aggregation, [])
    found: list[pl.DataFrame] = [aggregation.result(held)]
    for start in range(0, len(rows), size):
        states = pl.concat([held, lifted(aggregation, rows[start : start + size])])
        running = aggregation.running(states, by=["g"]).slice(held.height)
        found.append(aggregation.result(running))
        held = aggregation.merge(states, by=["g"])
    wanted = pl.DataFrame(expected_rows, schema=found[0].schema)
    assert pl.concat(found).equals(wanted)


@given(ROWS)
@LAWS
def test_a_store_gives_states_back_as_they_were(rows: list[Row]) -> None:
    """Every column of a state has a type that bytes hold without loss."""
    aggregation = Aggregation(ALL, COLUMNS)
    states = partial(aggregation, rows).drop("g")
    stored = StateRows(aggregation.state)
    assert stored.decode(stored.encode(states)).equals(states)


def test_a_float_sum_does_not_depend_on_the_order_of_its_rows() -> None:
    """What cancels and what is small are not lost, and any order gives the same double."""
    values = [1e16, 0.1, -1e16, 0.1, 1e-20, *[0.1] * 8]
    aggregation = Aggregation({"total": of.sum("x")}, {"x": pl.Float64()})
    for order in (values, values[::-1], sorted(values)):
        states = aggregation.lift(pl.DataFrame({"g": [0] * len(order), "x": order}))
        found = aggregation.result(aggregation.merge(states, by=["g"]))["total"].to_list()
        assert found == [math.fsum(values)]


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, 0.0], [-0.0]])
def test_a_zero_has_no_sign(zeros: list[float]) -> None:
    """Which of the two came first must not show in the bits of a result."""
    declared = {"low": of.min("x"), "high": of.max("x"), "total": of.sum("x")}
    aggregation = Aggregation(declared, {"x": pl.Float64()})
    states = aggregation.lift(pl.DataFrame({"g": [0] * len(zeros), "x": zeros}))
    (found,) = aggregation.result(aggregation.merge(states, by=["g"])).rows()
    assert [math.copysign(1, value) for value in found[1:]] == [1, 1, 1]


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e8, 1.7e12])
def test_a_variance_is_right_far_from_zero(offset: float) -> None:
    """With a mean of 10^8 deviations all digits are right; with milliseconds since 1970 seven."""
    values = [offset + step for step in (0.25, 0.5, 1.5, 2.75)] * 50
    aggregation = Aggregation({"spread": of.variance("x")}, {"x": pl.Float64()})
    states = aggregation.lift(pl.DataFrame({"g": [0] * len(values), "x": values}))
    (found,) = aggregation.result(aggregation.merge(states, by=["g"]))["spread"]
    wanted = float(statistics.variance(map(Fraction, values)))
    assert found == pytest.approx(wanted, rel=1e-15 if offset <= 1e8 else 1e-7)


def test_a_sum_of_longs_may_pass_through_what_is_no_long() -> None:
    """It is kept in 128 bits: only a result that is no long is refused, by the code it has."""
    aggregation = Aggregation({"total": of.sum("x"), "mean": of.mean("x")}, {"x": pl.Int64()})
    top = 2**63 - 1

    def states(values: list[int]) -> pl.DataFrame:
        return aggregation.lift(pl.DataFrame({"g": [0] * len(values), "x": values}))

    passing = aggregation.merge(states([top, top, -top]), by=["g"])
    assert aggregation.result(passing)["total"].to_list() == [top]
    with pytest.raises(FatalError, match="more digits") as refused:
        aggregation.result(aggregation.merge(states([top, 1]), by=["g"]))
    assert refused.value.code == "AGGREGATE_OVERFLOW"


def test_a_sum_of_decimals_has_up_to_38_digits() -> None:
    """Decimals of 27 digits add up exactly; a total beyond 38 is refused, not wrapped around."""
    dtype = pl.Decimal(38, 2)
    aggregation = Aggregation({"total": of.sum("x")}, {"x": dtype})
    value = Decimal("9" * 25 + ".99")
    rows = pl.DataFrame({"g": [0, 0], "x": pl.Series([value, value], dtype=dtype)})
    states = aggregation.merge(aggregation.lift(rows), by=["g"])
    assert aggregation.result(states)["total"].to_list() == [value + value]
    full = states.with_columns(_x__total=pl.lit(10**38, dtype=pl.Int128))
    with pytest.raises(FatalError, match="more digits") as refused:
        aggregation.result(full)
    assert refused.value.code == "AGGREGATE_OVERFLOW"


@pytest.mark.parametrize(
    ("declared", "dtype", "within", "beyond"),
    [
        (of.sum("x"), pl.Float64(), [1.2e27, -math.inf, math.nan, None], 2.0**90),
        (of.sum("x"), pl.Decimal(38, 1), [Decimal(10**26) - 1, None], Decimal(10**27)),
        (of.mean("x"), pl.Decimal(38, 0), [Decimal(-(10**27)), None], Decimal(10**28)),
        (of.mean("x"), pl.Float64(), [1.2e27, math.inf, None], -(2.0**90)),
        (of.variance("x"), pl.Float64(), [3.5e13, math.inf, None], 2.0**45),
        (of.variance("x"), pl.Int64(), [35 * 10**12, None], 2**45),
    ],
)
def test_a_number_too_large_to_be_exact_is_told_by_its_row(
    declared: Aggregate, dtype: pl.DataType, within: list[Any], beyond: Any
) -> None:
    """A mask shows the row; lifting it all the same raises, without the number."""
    aggregation = Aggregation({"a": declared, "n": of.count()}, {"x": dtype})
    sound = pl.DataFrame({"x": within}, schema={"x": dtype})
    bad = pl.DataFrame({"x": [*within, beyond]}, schema={"x": dtype})
    aggregation.lift(sound)
    assert bad.select(aggregation.beyond()).to_series().to_list() == [False] * len(within) + [True]
    with pytest.raises(OverflowError, match="too large"):
        aggregation.lift(bad)


def test_every_column_an_aggregate_cannot_take_is_told_at_once() -> None:
    """With the name of the aggregate, the column and its type."""
    with pytest.raises(DeclarationError) as refused:
        Aggregation(
            {"a": of.sum("s"), "b": of.min("s"), "c": of.mean("none"), "d": of.last("s")}, COLUMNS
        )
    assert [(each.code, each.message[:2]) for each in refused.value.problems] == [
        ("AGGREGATE", "a:"),
        ("AGGREGATE", "b:"),
        ("AGGREGATE", "c:"),
    ]
    assert "s is String" in str(refused.value)
    assert "no column 'none'" in str(refused.value)


def test_a_list_has_no_running_result() -> None:
    """It says so before anyone asks for one."""
    assert Aggregation(RUNNING, COLUMNS).runs
    assert not Aggregation(LISTS, COLUMNS).runs
    assert not Aggregation(SKETCHES, COLUMNS).runs


@pytest.mark.parametrize(
    ("dtype", "values", "total"),
    [
        (pl.Float32(), [0.5, 0.25], 0.75),
        (pl.Int8(), [127, 127], 254),
        (pl.UInt64(), [2**62, 1], 2**62 + 1),
        (pl.Decimal(3, 1), [Decimal("99.9"), Decimal("0.1")], Decimal("100.0")),
    ],
)
def test_a_sum_is_wider_than_its_column(
    dtype: pl.DataType, values: list[Any], total: object
) -> None:
    """A long, a double or a decimal of 38 digits; least and greatest keep the column's type."""
    declared = {"total": of.sum("x"), "low": of.min("x"), "high": of.max("x")}
    aggregation = Aggregation(declared, {"x": dtype})
    rows = pl.DataFrame({"g": [0, 0], "x": pl.Series(values, dtype=dtype)})
    found = aggregation.result(aggregation.merge(aggregation.lift(rows), by=["g"]))
    assert found.drop("g").row(0) == (total, min(values), max(values))
    assert found.drop("g").schema == pl.Schema(aggregation.results)


def test_aggregates_of_one_column_share_what_they_have_in_common() -> None:
    """A state holds each part once, whatever the aggregates are called; every state tells rows."""
    names = {"a": of.variance("x"), "b": of.sum("x"), "c": of.mean("x"), "d": of.count("x")}
    columns = {"x": pl.Float64(), "x__whole": pl.Float64()}
    assert len(Aggregation(names, columns).state) == 1 + 6
    assert len(Aggregation({**names, "e": of.sum("x__whole")}, columns).state) == 1 + 6 + 4


def test_no_rows_make_no_groups() -> None:
    """Nothing is lifted, merged and run without a fault, and the columns are those of rows."""
    aggregation = Aggregation(RUNNING, COLUMNS)
    states = lifted(aggregation, [])
    for made in (states, aggregation.running(states, by=["g"]), partial(aggregation, [])):
        assert aggregation.result(made).schema == pl.Schema(
            {"g": pl.String(), **aggregation.results}
        )
