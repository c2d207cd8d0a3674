"""Sketches of Apache DataSketches, fed with columns: the only place that imports the package.

Theta for distinct values, KLL for quantiles, frequent items for heavy hitters. Each is fed with the
distinct values of a batch and their counts: theta with their hashes and KLL with numbers as arrays,
so Python makes objects of a batch's 384 most frequent values only.
All of them merge: https://datasketches.apache.org.
"""

import copy
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import datasketches as ds
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from headwater.snapshot.column_hashes import murmur3_128

LG_HASHES: Final = 12  # 4,096 hashes: 1.6 % of the estimate at one standard deviation, 32 KiB
SEED: Final = 9001  # of every sketch's hashes, unless somebody says otherwise
KLL_K: Final = 200  # 1.33 % of the rows at 99 %, 5 KB
SAMPLE: Final = 1_024  # of a batch's numbers KLL is fed so many: moves a rank by 0.05 % at most
LG_FREQUENT: Final = 9  # 384 values: whatever has 0.7 % of the rows is among them, some 8 KB
FREQUENT: Final = 384  # three quarters of the map, which is all that DataSketches fills
EMPTY: Final = (
    "\ufdd0"  # for the empty text, which DataSketches passes by; no character of Unicode's
)
LONGEST: Final = 128  # characters of a value that may be a heavy hitter: bounds the sketch
DEVIATIONS: Final = 3  # standard deviations of a bound: 997 of 1,000 lie within

Counts: TypeAlias = npt.NDArray[np.uint32]
"""How often each of some values came."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and between what it lies; the three are equal where it is exact."""

    value: float
    low: float
    high: float

    @property
    def is_exact(self) -> bool:
        """Whether nothing was estimated."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class FrequentValue:
    """A heavy hitter: how often it came, at least and at most."""

    value: str
    low: int
    high: int


_THETA: Final = struct.Struct("<BBBBBBHIfQ")
"""How the compact form begins: 3 words, version 3, family 3, two unused, flags, hash of the seed,
number of hashes, sampling, theta. DataSketches' PreambleUtil tells it; every language reads it."""
_ALL: Final = (1 << 63) - 1  # theta of a sketch of every hash; the union lets go of most
_FLAGS: Final = 0b1010  # read-only, compact; hashes in no order
_SEED_HASH: Final = ds.update_theta_sketch(LG_HASHES, 1.0, SEED).get_seed_hash()


class Distinct:
    """Distinct values (theta): how many, and how many two have in common."""

    def __init__(self, sketch: ds.theta_sketch | None = None) -> None:
        self._union = ds.theta_union(LG_HASHES)
        if sketch is not None:
            self._union.update(sketch)

    def add(self, values: pl.Series) -> None:
        """Take integers (Int64), floats (Float64) or text without nulls.

        Those that repeat cost time only.
        """
        hashes = theta_hashes(values)
        hashes = hashes[hashes > 0]
        head = _THETA.pack(3, 3, 3, 0, 0, _FLAGS, _SEED_HASH, len(hashes), 1.0, _ALL)
        self._union.update(ds.compact_theta_sketch.deserialize(head + hashes.tobytes()))

    def _whole(self) -> ds.theta_sketch:
        return self._union.get_result()

    def merge(self, other: "Distinct") -> "Distinct":
        """Those of both."""
        union = ds.theta_union(LG_HASHES)
        union.update(self._whole())
        union.update(other._whole())  # noqa: SLF001 - of the same class
        return Distinct(union.get_result())

    def estimate(self) -> Estimate:
        """How many."""
        return _estimate(self._whole())

    def common(self, other: "Distinct") -> Estimate:
        """How many are in both."""
        intersection = ds.theta_intersection()
        intersection.update(self._whole())
        intersection.update(other._whole())  # noqa: SLF001 - of the same class
        return _estimate(intersection.get_result())

    def jaccard(self, other: "Distinct") -> Estimate:
        """Those in both as a part of those in either, 0 to 1.

        The package knows bounds of two standard deviations alone: 95 of 100 lie within.
        """
        low, value, high = ds.theta_jaccard_similarity.jaccard(
            self._whole(),
            other._whole(),  # noqa: SLF001 - of the same class
        )
        return Estimate(value, low, high)

    def to_bytes(self) -> bytes:
        """DataSketches' compact form, compressed."""
        return bytes(ds.compact_theta_sketch(self._whole(), True).serialize(compress=True))  # noqa: FBT003 - ordered, which the package takes by place

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The inverse of `to_bytes`. Raises RuntimeError or ValueError for other bytes."""
        return cls(ds.compact_theta_sketch.deserialize(content))


def theta_hashes(values: pl.Series) -> npt.NDArray[np.uint64]:
    """The hash of each value as DataSketches' theta sketches have it: 63 bits; 0 is never kept.

    Of integers (Int64), floats (Float64; all NaN are one, and so are both zeros) or text; no nulls.
    """
    if values.dtype == pl.Int64:
        content = _words(values.to_numpy())
    elif values.dtype == pl.Float64:
        numbers = values.to_numpy() + 0.0  # -0.0 becomes 0.0
        content = _words(np.where(np.isnan(numbers), np.nan, numbers))
    else:
        content = values.cast(pl.String)
        if (content == "").any():
            content = content.replace("", EMPTY)
    hashes = murmur3_128(content, SEED).cast(pl.UInt64, wrap_numerical=True)
    return hashes.to_numpy() >> np.uint64(1)


def _words(numbers: npt.NDArray[np.generic]) -> pl.Series:
    """The 8 bytes of each number."""
    content = [None, pa.py_buffer(np.ascontiguousarray(numbers))]
    return pl.Series(pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(numbers), content))


def _estimate(sketch: ds.theta_sketch) -> Estimate:
    return Estimate(
        sketch.get_estimate(),
        sketch.get_lower_bound(DEVIATIONS),
        sketch.get_upper_bound(DEVIATIONS),
    )


class Quantiles:
    """The distribution of numbers (KLL)."""

    ERROR: Final = ds.kll_doubles_sketch.get_normalized_rank_error(KLL_K, False)  # noqa: FBT003 - of one rank; the package takes it by place
    """Of a rank, as a part of the rows, at 99 %."""

    def __init__(self, sketch: ds.kll_doubles_sketch | None = None) -> None:
        self._sketch = ds.kll_doubles_sketch(KLL_K) if sketch is None else sketch

    def add(self, values: pl.Series, counts: Counts) -> None:
        """Take rising floats without NaN and null, each so many times as is counted."""
        numbers, ends = values.to_numpy(), np.cumsum(counts, dtype=np.int64)
        rows = int(ends[-1])
        doublings = max(rows // SAMPLE, 1).bit_length() - 1
        step = 1 << doublings
        end = 1 + max(rows - 2, 0) // step * step

        def at(ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            return numbers[np.searchsorted(ends, ranks, side="right")]

        sample = ds.kll_doubles_sketch(KLL_K)  # of `step` neighbours the middle one stands for all
        sample.update(at(np.arange(1 + step // 2, end, step)))
        for _ in range(doublings):
            sample.merge(copy.copy(sample))
        self._sketch.merge(sample)
        # the least, and the last ones up to the greatest, stand for themselves
        self._sketch.update(at(np.concatenate(([0], np.arange(end, rows)))))

    def merge(self, other: "Quantiles") -> "Quantiles":
        """The distribution of both together."""
        merged = ds.kll_doubles_sketch.deserialize(self._sketch.serialize())
        merged.merge(other._sketch)  # noqa: SLF001 - of the same class
        return Quantiles(merged)

    def at(self, ranks: Sequence[float]) -> list[float]:
        """The numbers at ranks from 0 to 1; empty when there are none."""
        if self._sketch.is_empty():
            return []
        return list(self._sketch.get_quantiles(list(ranks), inclusive=True))

    def parts_up_to(self, points: Sequence[float]) -> list[float]:
        """Which part of the numbers is not above each point, 0 to 1; points rise, none is twice."""
        return list(self._sketch.get_cdf(list(points), inclusive=True))[:-1]

    def to_bytes(self) -> bytes:
        """DataSketches' form."""
        return bytes(self._sketch.serialize())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The inverse of `to_bytes`. Raises RuntimeError or ValueError for other bytes."""
        return cls(ds.kll_doubles_sketch.deserialize(content))


class Frequent:
    """Heavy hitters among texts (frequent items).

    Of a batch with many distinct values only those are fed that come more often than the 385th;
    how often what was left out may have come is added to every upper bound (`unfed`). So the bounds
    hold, and a batch costs no more than 384 values, as in the summaries of Misra and Gries (Agarwal
    and others: Mergeable summaries, 2012).
    """

    def __init__(self, sketch: ds.frequent_strings_sketch | None = None, unfed: int = 0) -> None:
        self._sketch = ds.frequent_strings_sketch(LG_FREQUENT) if sketch is None else sketch
        self.unfed = unfed

    def add(self, values: pl.Series, counts: Counts) -> None:
        """Take distinct values that Polars can write as text, with their counts."""
        left_out = 0
        if len(counts) > FREQUENT:
            left_out = int(np.partition(counts, -FREQUENT - 1)[-FREQUENT - 1])
            is_fed = counts > left_out
            values, counts = values.filter(pl.Series(is_fed)), counts[is_fed]
        for text, count in zip(values.cast(pl.String).to_list(), counts.tolist(), strict=True):
            if len(text) <= LONGEST:
                self._sketch.update(text, count)
            else:
                left_out = max(left_out, count)
        self.unfed += left_out

    def merge(self, other: "Frequent") -> "Frequent":
        """Those of both together."""
        merged = ds.frequent_strings_sketch.deserialize(self._sketch.serialize())
        merged.merge(other._sketch)  # noqa: SLF001 - of the same class
        return Frequent(merged, self.unfed + other.unfed)

    def most(self, limit: int) -> list[FrequentValue]:
        """The most frequent ones, the most frequent first; what is equally frequent by its text."""
        found = self._sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES)
        ordered = sorted(found, key=lambda each: (-each[1], each[0]))[:limit]
        return [FrequentValue(text, low, high + self.unfed) for text, _, low, high in ordered]

    def of(self, value: str) -> FrequentValue:
        """How often a value came, whether it is frequent or not."""
        low, high = self._sketch.get_lower_bound(value), self._sketch.get_upper_bound(value)
        return FrequentValue(value, low, high + self.unfed)

    def to_bytes(self) -> bytes:
        """DataSketches' form; `unfed` stands beside it."""
        return bytes(self._sketch.serialize())

    @classmethod
    def from_bytes(cls, content: bytes, unfed: int) -> Self:
        """The inverse of `to_bytes`. Raises RuntimeError or ValueError for other bytes."""
        return cls(ds.frequent_strings_sketch.deserialize(content), unfed)
