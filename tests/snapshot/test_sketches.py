"""Sketches that are fed with columns are those that DataSketches makes value by value."""

import math
import random
import struct
from typing import Any

import datasketches as ds
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.snapshot.sketches import (
    EMPTY,
    LG_HASHES,
    SAMPLE,
    Distinct,
    Quantiles,
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


@pytest.mark.parametrize("rows", [1, 2, 3, SAMPLE, 2 * SAMPLE - 1, 2 * SAMPLE, 70_001])
def test_quantiles_count_every_row(rows: int) -> None:
    """Also those that are not fed; the least and the greatest always are."""
    found = Quantiles()
    for part in range(3):
        values = series([float(part * rows + n) for n in range(rows)], pl.Float64)
        found.add(values, np.ones(rows, np.uint32))
    sketch = ds.kll_doubles_sketch.deserialize(found.to_bytes())
    assert sketch.n == 3 * rows
    assert (sketch.get_min_value(), sketch.get_max_value()) == (0.0, 3 * rows - 1.0)


@pytest.mark.parametrize("rows", [300, 5_000, 200_000])
def test_quantiles_of_uneven_counts_lie_within_their_bounds(rows: int) -> None:
    """Of many batches, with a value that has half of the rows and many that have one."""
    coin = random.Random(rows)
    found, everything = Quantiles(), []
    for _ in range(8):
        numbers = sorted({coin.gauss(0, 1) for _ in range(rows // 16)} | {0.5})
        counts = [rows // 16 if each == 0.5 else 1 for each in numbers]
        found.add(series(numbers, pl.Float64), np.array(counts, np.uint32))
        everything.append(np.repeat(numbers, counts))
    whole = np.sort(np.concatenate(everything))
    points = [-1.5, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0]
    parts = np.searchsorted(whole, points, side="right") / len(whole)
    for told, part in zip(found.parts_up_to(points), parts, strict=True):
        assert abs(told - part) <= 2 * Quantiles.ERROR
