"""Hashes of columns, value by value, that outlive releases: the one door of polars_hash.

A plugin of Polars, so no value becomes a Python object and the interpreter is not held.
"""

from typing import Final

import polars as pl
import polars_hash as plh

_VALUE: Final = plh.col("value")


def xxh3_128(values: pl.Series) -> pl.Series:
    """xxh3_128 of the bytes of each value, as UInt128. None of them is null.

    https://github.com/Cyan4973/xxHash
    """
    return _hashed(values, _VALUE.nchash.xxh3_128())


def xxh3_64(values: pl.Series) -> pl.Series:
    """xxh3_64 of the bytes of each value, as UInt64. None of them is null."""
    return _hashed(values, _VALUE.nchash.xxh3_64())


def murmur3_128(values: pl.Series, seed: int) -> pl.Series:
    """MurmurHash3_x64_128 of the bytes of each value, as UInt128. None of them is null.

    https://github.com/aappleby/smhasher
    """
    return _hashed(values, _VALUE.nchash.murmur128(seed=seed))


def _hashed(values: pl.Series, hashes: pl.Expr) -> pl.Series:
    return values.alias("value").to_frame().select(hashes).to_series()
