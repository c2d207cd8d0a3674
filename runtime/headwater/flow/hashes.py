"""Values as numbers that look random and stay the same: on every machine, in every release.

Polars' own hash is none of these: it promises to be stable within one release of Polars only.
Numbers go through the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
number generators, 2014), a bijection, as columns. Text and bytes go through xxh3, each distinct
value of a batch once.
"""

import math
from typing import Final

import polars as pl
import xxhash

BITS: Final = 63
"""Hashes are from 0 to 2^63 - 1, as Int64: half of what a wider integer would take in a store."""

_WORD: Final = pl.UInt64()
_GOLDEN: Final = 0x9E3779B97F4A7C15  # 2^64 by the golden ratio, so that 0 is not its own hash
_MIX: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT: Final = 31


def hashed(values: pl.Series) -> pl.Series:
    """The hashes of numbers, times, booleans, text or bytes; null of null.

    Equal values have equal hashes: 0.0 as -0.0, NaN as NaN.
    """
    kind = values.dtype
    if kind.is_float():
        number = pl.lit(values.cast(pl.Float64))
        one = pl.when(number == 0).then(0.0).when(number.is_nan()).then(math.nan).otherwise(number)
        words = pl.select(one.reinterpret(dtype=_WORD)).to_series()
    elif isinstance(kind, (pl.String, pl.Enum, pl.Binary, pl.Decimal)):
        return _of_bytes(values)
    else:
        physical = values.to_physical()
        words = physical if kind == _WORD else physical.cast(pl.Int64).reinterpret(dtype=_WORD)
    return pl.select(_narrowed(_mixed(pl.lit(words)))).to_series()


def _mixed(word: pl.Expr) -> pl.Expr:
    """SplitMix64's output for a state; Polars multiplies and adds modulo 2^64."""
    word = word + pl.lit(_GOLDEN, dtype=_WORD)
    for shift, factor in _MIX:
        word = _folded(word, shift) * pl.lit(factor, dtype=_WORD)
    return _folded(word, _LAST_SHIFT)


def _folded(word: pl.Expr, shift: int) -> pl.Expr:
    return word ^ (word // pl.lit(2**shift, dtype=_WORD))


def _of_bytes(values: pl.Series) -> pl.Series:
    text = values if values.dtype == pl.Binary() else values.cast(pl.String).cast(pl.Binary)
    distinct = text.drop_nulls().unique()
    digests = pl.Series(map(xxhash.xxh3_64_intdigest, distinct.to_list()), dtype=_WORD)
    known = pl.DataFrame({"text": distinct, "hash": digests})
    found = text.alias("text").to_frame().join(known, on="text", how="left", maintain_order="left")
    return found.select(_narrowed(pl.col("hash"))).to_series()


def _narrowed(word: pl.Expr) -> pl.Expr:
    return (word // pl.lit(2, dtype=_WORD)).cast(pl.Int64)
