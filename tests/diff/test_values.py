"""Values of two types: equal just where both types hold the same value."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.assembly.diff.values import common_type, converted, differing

Y9999_MS: Final = 253_402_300_799_000
FIELDS: Final = {"x": pl.Int64(), "y": pl.Decimal(38, 0)}


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (pl.Int32(), pl.Int64(), pl.Int64()),
        (pl.Int64(), pl.Float32(), pl.Float64()),
        (pl.Enum(["a"]), pl.Enum(["a", "b"]), pl.String()),
        (pl.Datetime("ms", "UTC"), pl.Datetime("us", "UTC"), pl.Datetime("us", "UTC")),
        (pl.Decimal(9, 2), pl.Decimal(12, 4), pl.Decimal(38, 4)),
        (pl.List(pl.Int32()), pl.List(pl.Float64()), pl.List(pl.Float64())),
        (pl.String(), pl.Int64(), None),
        (pl.Datetime("ms"), pl.Datetime("ms", "UTC"), None),
    ],
    ids=str,
)
def test_values_of_two_types_are_compared_where_one_type_holds_both(
    one: pl.DataType, other: pl.DataType, common: pl.DataType | None
) -> None:
    """A promotion is no change of a value."""
    assert common_type(one, other) == common_type(other, one) == common


def told(one: pl.Series, other: pl.Series) -> list[bool]:
    """Where they differ, which is the same either way round."""
    common = common_type(one.dtype, other.dtype)
    assert common is not None
    found = differing(one, other, common).to_list()
    assert differing(other, one, common).to_list() == found
    return found


@pytest.mark.parametrize(
    ("one", "one_type", "other", "other_type"),
    [
        (10**37, pl.Decimal(38, 0), 5, pl.Decimal(38, 10)),
        (10**37, pl.Decimal(38, 0), None, pl.Decimal(38, 10)),
        (10**15, pl.Int64(), None, pl.Decimal(38, 25)),
        (Y9999_MS, pl.Datetime("ms", "UTC"), None, pl.Datetime("ns", "UTC")),
        (9_007_199_254_740_993, pl.Int64(), 9_007_199_254_740_992.0, pl.Float64()),
        (2**63 - 1, pl.Int64(), 2.0**63, pl.Float64()),
        (16_777_217, pl.Int32(), 16_777_216.0, pl.Float32()),
        (Decimal("0.1000000000000000001"), pl.Decimal(38, 20), 0.1, pl.Float64()),
        (Decimal("9" * 25 + "." + "9" * 13), pl.Decimal(38, 13), 1e25, pl.Float64()),
        (Decimal("0.1"), pl.Decimal(4, 2), math.nan, pl.Float64()),
        (0.1, pl.Float32(), 0.1, pl.Float64()),
        ([10**37], pl.List(pl.Decimal(38, 0)), [None], pl.List(pl.Decimal(38, 10))),
        (
            [{"x": 10**15}],
            pl.List(pl.Struct({"x": pl.Int64()})),
            [{"x": None}],
            pl.List(pl.Struct({"x": pl.Decimal(38, 25)})),
        ),
    ],
    ids=str,
)
def test_a_value_that_the_other_type_cannot_hold_is_another_value(
    one: Any, one_type: pl.DataType, other: Any, other_type: pl.DataType
) -> None:
    """No exception, and the null that came of a conversion is no null of the data."""
    assert told(_series(one, one_type), _series(other, other_type)) == [True, False]


@pytest.mark.parametrize(
    ("one", "one_type", "other", "other_type"),
    [
        (2**53, pl.Int64(), 2.0**53, pl.Float64()),
        (Decimal("0.29"), pl.Decimal(4, 2), 0.29, pl.Float64()),
        (Decimal("99.99"), pl.Decimal(4, 2), Decimal("99.99"), pl.Decimal(38, 25)),
        (7, pl.Int32(), Decimal(7), pl.Decimal(38, 25)),
        (-5, pl.Datetime("ms"), -5_000_000, pl.Datetime("ns")),
        ("a", pl.Enum(["a"]), "a", pl.String()),
        (
            [{"x": 1, "y": 2}],
            pl.List(pl.Struct(FIELDS)),
            [{"y": 2, "x": 1}],
            pl.List(pl.Struct(dict(reversed(FIELDS.items())))),
        ),
    ],
    ids=str,
)
def test_a_promotion_keeps_values_equal(
    one: Any, one_type: pl.DataType, other: Any, other_type: pl.DataType
) -> None:
    """Fields of a record in another order are the same record."""
    assert told(_series(one, one_type), _series(other, other_type)) == [False, False]


def _series(value: Any, dtype: pl.DataType) -> pl.Series:
    """The value, and a null beside it."""
    if isinstance(dtype, pl.Datetime) and value is not None:
        return pl.Series([value, None], dtype=pl.Int64).cast(dtype)
    return pl.Series([value, None], dtype=dtype)


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([-1, 0, 1]))
def test_a_whole_number_equals_just_the_float_of_its_value(number: int, off: int) -> None:
    """As Python compares them, which is exact."""
    near = float(number + off)
    differs = told(pl.Series([number]), pl.Series([near]))
    assert differs == [Fraction(number) != Fraction(near)]


def test_nothing_at_all_has_a_type_too() -> None:
    """Frames without rows, and columns of nothing but nulls."""
    one, other = pl.List(pl.Struct(FIELDS)), pl.List(pl.Struct(dict(reversed(FIELDS.items()))))
    nothing: list[list[Any]] = [[], [None], [[]]]
    for values in nothing:
        assert converted(pl.Series(values, dtype=one), other).dtype == other
        differs = told(pl.Series(values, dtype=one), pl.Series(values, dtype=other))
        assert not any(differs)
