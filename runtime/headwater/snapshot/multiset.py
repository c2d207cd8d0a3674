"""A hash of a set of rows that does not depend on their order. It finds accidents, not forgers.

The hash is the sum modulo 2^128 of xxh3_128 over, per row: partition (int32), offset (int64) and
the key's length (int32, -1 for no key), big-endian; the key; the row's Avro body.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.snapshot.column_hashes import xxh3_128

_HEAD: Final = np.dtype([("partition", ">i4"), ("offset", ">i8"), ("key", ">i4")])
_MODULUS: Final = 1 << 128
_NO_KEY: Final = -1  # an empty key is a key of length 0


def digests(partition: int, offsets: pl.Series, keys: Any, bodies: Any) -> pl.Series:
    """One number per row of one partition, as UInt128, of columns of one length.

    `offsets` are Int64, `keys` and `bodies` arrays of large_binary; only a key may be null.
    """
    heads = np.empty(len(offsets), _HEAD)
    heads["partition"] = partition
    heads["offset"] = offsets
    heads["key"] = pc.fill_null(pc.binary_length(keys), _NO_KEY)
    head = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(_HEAD.itemsize), len(heads), [None, pa.py_buffer(heads)]
    )
    known = pc.fill_null(keys, b"") if keys.null_count else keys
    between = pa.scalar(b"", pa.large_binary())  # made here: it looks for pandas
    joined = pc.binary_join_element_wise(head.cast(pa.large_binary()), known, bodies, between)
    return xxh3_128(pl.Series(joined))


def total_of(numbers: pl.Series) -> int:
    """The hash of rows, from their digests."""
    return int(numbers.sum())  # of 128 bits: what is more is lost, as it is to be


def total(numbers: Iterable[int]) -> int:
    """The hash of a multiset, from hashes of its parts."""
    return sum(numbers) % _MODULUS


def to_text(value: int) -> str:
    """A hash as it is recorded: 32 hex digits."""
    return f"{value:032x}"
