"""Sketches that are fed with columns are those that DataSketches makes value by value."""

import math
import struct
from typing import Any

import datasketches as ds
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.snapshot.sketches import (
    EMPTY,
    LG_HASHES,
    Distinct,
    theta_hashes,
)

INTEGERS = st.lists(st.integers(-(1 << 63), (1 << 63) - 1))
FLOATS = st.lists(st.floats() | st.sampled_from([0.0, -0.0]))
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])))
OTHER_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]


def fed(values: list[Any]) -> Any:
    """DataSketches' own sketch, fed by itself."""
    sketch = ds.update_theta_sketch(LG_HASHES)
    for each in values:
        sketch.update(EMPTY if each == "" else each)
    return sketch


def series(values: list[Any], kind: type[pl.DataType]) -> pl.Series:
    """Values of a type."""
    return pl.Series(values, dtype=kind)


def alike(values: list[Any], kind: type[pl.DataType]) -> bool:
    """Whether the hashes are those of DataSketches, none missing and none more."""
    return sorted(fed(values)) == sorted(set(theta_hashes(series(values, kind)).tolist()))


@given(INTEGERS, FLOATS, TEXTS)
def test_hashes_are_those_of_the_package(
    integers: list[int], floats: list[float], texts: list[str]
) -> None:
    """Else sketches of older releases, and of other programs, would share no value with ours."""
    assert alike(integers, pl.Int64)
    assert alike(floats, pl.Float64)
    assert alike(texts, pl.String)


def test_hashes_of_rare_values_are_those_of_the_package() -> None:
    """Zeros are one, whatever is not a number is one, the empty text is a value."""
    assert alike([0, -1, (1 << 63) - 1, -(1 << 63)], pl.Int64)
    nans = [math.nan, -math.nan, OTHER_NAN]
    assert alike([0.0, -0.0, 5e-324, math.inf, -math.inf, *nans], pl.Float64)
    assert len(set(theta_hashes(series([0.0, -0.0, *nans], pl.Float64)).tolist())) == 2
    assert alike(["", "\0", "é", "e\u0301", "日本", "\U0001f6eb", "x" * 5_000], pl.String)


@pytest.mark.parametrize("size", [1, 300, 4_096, 4_097, 8_000, 50_000])
@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64, pl.String])
def test_sketches_are_the_same_to_the_last_bit(size: int, kind: type[pl.DataType]) -> None:
    """In one batch, in several, with values that come again, and taken up from bytes."""
    make: dict[Any, Any] = {pl.Int64: int, pl.Float64: float, pl.String: "key-{}".format}
    typed = [make[kind](n * 7 - size) for n in range(size)]
    union = ds.theta_union(LG_HASHES)
    union.update(fed(typed))
    wanted = bytes(union.get_result().serialize(compress=True))
    whole = Distinct()
    whole.add(series([*typed, *typed[:100]], kind))
    parts = Distinct()
    for start in range(0, size, 10_000):
        parts.add(series(typed[start : start + 12_000], kind))
        parts = Distinct.from_bytes(parts.to_bytes())
    assert whole.to_bytes() == parts.to_bytes() == wanted
