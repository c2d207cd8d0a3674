"""Promises of the multiset hash."""

import struct
from random import Random

import polars as pl
import pyarrow as pa
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from headwater.snapshot.multiset import digests, to_text, total, total_of

Rows = list[tuple[int, bytes | None, bytes]]
rows_of = st.lists(
    st.tuples(
        st.integers(0, (1 << 63) - 1), st.none() | st.binary(max_size=20), st.binary(max_size=40)
    )
)


def numbers(rows: Rows, partition: int = 3) -> pl.Series:
    """The digests of rows of one partition."""
    offsets, keys, bodies = zip(*rows, strict=True) if rows else ((),) * 3
    kind = pa.large_binary()
    places = pl.Series(offsets, dtype=pl.Int64)
    return digests(partition, places, pa.array(keys, kind), pa.array(bodies, kind))


@given(rows_of)
def test_the_hash_is_the_documented_one(rows: Rows) -> None:
    """Anybody can compute it again: the layout is part of the promise."""
    wanted = 0
    for offset, key, body in rows:
        head = struct.pack(">iqi", 3, offset, -1 if key is None else len(key))
        wanted += xxhash.xxh3_128_intdigest(head + (key or b"") + body)
    assert total_of(numbers(rows)) == wanted % (1 << 128)


@given(rows_of, st.randoms(use_true_random=False))
def test_order_and_batches_do_not_matter(rows: Rows, random: Random) -> None:
    """A multiset: the same rows in another order and in parts have the same hash."""
    shuffled = random.sample(rows, len(rows))
    middle = len(rows) // 2
    parts = [total_of(numbers(part)) for part in (shuffled[:middle], shuffled[middle:])]
    assert total(parts) == total_of(numbers(rows))


def test_key_body_place_and_missing_key_all_count() -> None:
    """Rows that differ in any one thing differ in their digest."""
    variants = {
        *numbers([(1, b"k", b"body")], 0),
        *numbers([(1, b"k", b"body")], 1),
        *numbers([(2, b"k", b"body")], 0),
        *numbers([(1, b"kb", b"ody")], 0),
        *numbers([(1, b"", b"kbody")], 0),
        *numbers([(1, None, b"kbody")], 0),
    }
    assert len(variants) == 6


def test_a_hash_is_written_as_32_hex_digits() -> None:
    """Short hashes keep their leading zeros."""
    assert to_text(255) == "0" * 30 + "ff"
