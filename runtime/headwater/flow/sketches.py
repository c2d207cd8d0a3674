"""Aggregates that look at the distribution of a column: distinct values, quantiles, the frequent.

Their states are functions of the set or multiset of values alone, so that they merge to the last
bit as sums do; sketches that flip coins (KLL, REQ) or remember an order (theta, HLL) do not.
docs/decisions/0005 has the reasons.
"""

from typing import Final

import polars as pl

from headwater.errors import ResultRefusedError
from headwater.flow import buckets, exact, hashes, tallies
from headwater.flow.parts import Part

DISTINCT: Final = 4096
"""Distinct values that are counted exactly; of more, the error is 1 / sqrt(4095) = 1.6 %."""
MOST_COUNTED: Final = 10_000
"""Distinct values of a group that `top_k` counts: each change of a group writes its state anew."""

_FLOAT: Final = pl.Float64()
_COUNT: Final = pl.Int64()
_NO: Final = pl.lit(value=False)


class Distinct:
    """How many distinct values: the least hashes of all (k minimum values).

    Bar-Yossef and others: Counting distinct elements in a data stream, 2002. A theta sketch that is
    trimmed after each update and merge holds the same.
    """

    parts = (Part("hashes", pl.List(pl.Int64()), "distinct", DISTINCT + 1),)
    type: pl.DataType = _COUNT

    def __init__(self, column: str) -> None:
        self.of = column

    def beyond(self) -> pl.Expr:
        """No row is."""
        return _NO

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """A list of one hash; of null a list of null, which merging drops."""
        values = hashes.hashed(rows[self.of])
        return [values.to_frame("hash").select(pl.concat_list("hash")).to_series()]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The number of hashes; where there are more, by how far the greatest kept one is."""
        kept = pl.lit(parts[0])
        reached = kept.list.last().cast(_FLOAT) / 2.0**hashes.BITS
        estimate = (DISTINCT / reached).round().cast(_COUNT)
        count = kept.list.len().cast(_COUNT)
        return pl.select(pl.when(count > DISTINCT).then(estimate).otherwise(count)).to_series()


class Quantiles:
    """Numbers at fractions of the ordered values, within 1 %: counts of `flow.buckets`."""

    parts = (Part("buckets", tallies.tally_type(pl.Int32()), "apart"),)

    def __init__(self, column: str, fractions: tuple[float, ...], *, listed: bool) -> None:
        self.of, self._fractions, self._listed = column, fractions, listed
        self.type: pl.DataType = pl.List(_FLOAT) if listed else _FLOAT

    def beyond(self) -> pl.Expr:
        """From 2^90 on, as in sums: the state of a group has a bound."""
        number = pl.col(self.of).cast(_FLOAT)
        return ((number.abs() >= exact.LARGEST) & number.is_finite()).fill_null(value=False)

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The bucket of the number, once."""
        found = rows.select(buckets.bucket(pl.col(self.of).cast(_FLOAT)))
        return [tallies.lifted(found.to_series())]

    def merge(self, groups: pl.Series, parts: list[pl.Series]) -> list[pl.Series]:
        """The counts of equal buckets added."""
        return [tallies.merged(groups, parts[0])]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """One number, or a list of them in the order of the fractions; null without values."""
        found = pl.DataFrame(tallies.at_fractions(parts[0], self._fractions))
        numbers = found.select(buckets.number(pl.col(name)).alias(name) for name in found.columns)
        if not self._listed:
            return numbers.to_series()
        has_any = pl.col(numbers.columns[0]).is_not_null()
        return numbers.select(pl.when(has_any).then(pl.concat_list(pl.all()))).to_series()


class TopK:
    """The most frequent values with their exact counts; no more than `MOST_COUNTED` distinct."""

    def __init__(self, column: str, given: pl.DataType, limit: int) -> None:
        self.of, self._limit = column, limit
        self.type: pl.DataType = tallies.tally_type(given)
        self.parts = (Part("counts", self.type, "apart"),)

    def beyond(self) -> pl.Expr:
        """No row is."""
        return _NO

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The value, once; 0.0 for -0.0, which equals it, and one NaN for all."""
        given = rows[self.of]
        if given.dtype.is_float():
            given = given.set(given == 0, 0.0).fill_nan(float("nan"))
        return [tallies.lifted(given)]

    def merge(self, groups: pl.Series, parts: list[pl.Series]) -> list[pl.Series]:
        """The counts of equal values added."""
        counted = tallies.merged(groups, parts[0])
        if (counted.list.len() > MOST_COUNTED).any():
            raise ResultRefusedError(
                f"A group has more than {MOST_COUNTED} distinct values, which top_k counts each; "
                "group by more columns, or take top_k of a coarser column.",
                code="AGGREGATE_OVERFLOW",
            )
        return [counted]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """Lists of {value, count}, the most frequent first; of as frequent ones the least first."""
        return tallies.most_frequent(parts[0], limit=self._limit)
