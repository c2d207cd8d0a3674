"""Numbers in buckets by size, all of one relative width, so that counts of them give quantiles.

The counters of DDSketch (Masson, Rim, Lee: DDSketch, 2019), with its linearly interpolated mapping:
128 buckets to each doubling, cut out of the bits of a double. No logarithm takes part, which
another machine might round otherwise: the bucket of a number is the same everywhere. A bucket
stands for its end nearer to zero, not for its middle: whole numbers up to 255 are then exact.

Bucket 0 holds zero, 1 and up numbers by size, -1 and down negative ones; beyond them stand
infinity and, above all as in PostgreSQL, NaN.
"""

import math
from typing import Final

import polars as pl

RELATIVE_ERROR: Final = 1 / 128
"""By how much the number of a bucket is at most nearer to zero than one in it: 0.78 %."""
LEAST: Final = 2.0**-80
"""What is nearer to zero counts as zero (8e-25), as in sums."""

_BELOW: Final = 2**45  # of the 52 bits of a mantissa, those below the first seven
_INFINITY: Final = 2047 * 128 + 1  # the exponent that stands for infinity
_NAN: Final = _INFINITY + 1


def bucket(numbers: pl.Expr) -> pl.Expr:
    """The buckets of doubles, Int32; null of null."""
    size = numbers.abs()
    place = (size.reinterpret(dtype=pl.Int64) // _BELOW + 1).cast(pl.Int32)
    signed = pl.when(numbers < 0).then(-place).otherwise(place)
    zeroed = pl.when(size < LEAST).then(pl.lit(0, dtype=pl.Int32)).otherwise(signed)
    return pl.when(numbers.is_nan()).then(pl.lit(_NAN, dtype=pl.Int32)).otherwise(zeroed)


def number(buckets: pl.Expr) -> pl.Expr:
    """The number a bucket stands for, as a double; null of null."""
    end = ((buckets.abs().cast(pl.Int64) - 1) * _BELOW).reinterpret(dtype=pl.Float64)
    return (
        pl.when(buckets == _NAN)
        .then(math.nan)
        .when(buckets == 0)
        .then(0.0)
        .when(buckets < 0)
        .then(-end)
        .otherwise(end)
    )
