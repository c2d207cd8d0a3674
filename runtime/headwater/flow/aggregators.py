"""One aggregate of one column each: what its state is, how a row becomes one, what it results in.

`flow.aggregates` puts them together, and merges states by the fold of each part.
"""

import math
from typing import Final, Literal

import polars as pl

from headwater.flow import exact
from headwater.flow.parts import Fold, Part

EVENT_TIME: Final = "_time"
OFFSET: Final = "_offset"
"""Columns of rows, Int64 and not null: what `first`, `last` and `collect` order by."""

_COUNT: Final = pl.Int64()
_EXACT: Final = pl.Int128()
_FLOAT: Final = pl.Float64()
_NO: Final = pl.lit(value=False)
_LOWER: Final = 2**40
"""Counts of infinity, of its negative and of NaN are held in one number, each 2^40 (10^12) above
the other: counts add up alike in any order, which the sign of a NaN does not."""

_TIME, _AT, _VALUE = "time", "offset", "value"  # fields of an item of a list


def order(fold: Fold) -> tuple[str, str]:
    """The parts that `first` or `last` is by."""
    return f"{fold}_time", f"{fold}_offset"


class Rows:
    """How many rows."""

    of: str | None = None
    parts = (Part("rows", _COUNT, "sum"),)
    type: pl.DataType = _COUNT

    def beyond(self) -> pl.Expr:
        """No row is."""
        return _NO

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """One each."""
        return [pl.ones(rows.height, dtype=_COUNT, eager=True)]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The count."""
        return parts[0]


class Count(Rows):
    """How many values that are not null."""

    parts = (Part("count", _COUNT, "sum"),)

    def __init__(self, column: str) -> None:
        self.of: str | None = column
        self._counted = column

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """One for each that is not null."""
        return [rows[self._counted].is_not_null()]


class Sum:
    """The sum of integers or decimals, in 128 bits."""

    parts = (Part("count", _COUNT, "sum"), Part("total", _EXACT, "sum"))

    def __init__(self, column: str, given: pl.DataType) -> None:
        self.of = column
        self._is_decimal = isinstance(given, pl.Decimal)
        scale = given.scale if isinstance(given, pl.Decimal) else 0
        self.type: pl.DataType = pl.Decimal(38, scale) if self._is_decimal else pl.Int64()

    def beyond(self) -> pl.Expr:
        """Decimals of more than 27 digits: Polars would add those up to nonsense, in silence."""
        if not self._is_decimal:
            return _NO
        bound = pl.lit(int(exact.LARGEST), dtype=_EXACT)
        return (pl.col(self.of).to_physical().abs() >= bound).fill_null(value=False)

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The value, of decimals in units of the last digit, and whether there is one."""
        given = rows[self.of]
        number = given.to_physical() if self._is_decimal else given
        return [given.is_not_null(), number.cast(_EXACT).fill_null(0)]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The total; null without values."""
        count, total = parts
        held = pl.when(pl.lit(count > 0)).then(pl.lit(total))
        if not self._is_decimal:
            return pl.select(held.cast(self.type)).to_series()
        # the cast checks the digits, which reinterpreting does not
        return pl.select(
            held.cast(pl.Decimal(38, 0)).to_physical().reinterpret(dtype=self.type)
        ).to_series()


class FloatSum:
    """The sum of doubles, exact until it is rounded."""

    type: pl.DataType = _FLOAT
    parts = (
        Part("count", _COUNT, "sum"),
        Part("whole", _EXACT, "sum"),
        Part("fraction", _EXACT, "sum"),
        Part("special", _EXACT, "sum"),
    )

    def __init__(self, column: str) -> None:
        self.of = column

    def beyond(self) -> pl.Expr:
        """From 2^90 on."""
        return _at_least(self.of, exact.LARGEST)

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The parts of the number; infinity and NaN aside."""
        given = rows[self.of]
        finite, special = _finite(given)
        return [given.is_not_null(), *exact.parts(finite), special]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The total; null without values."""
        count, whole, fraction, special = parts
        return (exact.rounded(whole, fraction) + _special(special)).set(count == 0, None)


class Mean:
    """The sum by the count."""

    type: pl.DataType = _FLOAT

    def __init__(self, total: Sum | FloatSum) -> None:
        self._total = total
        self.of_whole_numbers = total.type == pl.Int64()
        self.of = total.of
        self.parts = total.parts

    def beyond(self) -> pl.Expr:
        """As for the sum."""
        return self._total.beyond()

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """As for the sum."""
        return self._total.lift(rows)

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The mean; null without values, as the sum is."""
        count = parts[0]
        if self.of_whole_numbers:  # their total may be beyond an Int64 where the mean is not
            mean = parts[1].cast(_FLOAT) / count.cast(_FLOAT)
            return pl.select(pl.when(pl.lit(count > 0)).then(pl.lit(mean))).to_series()
        return self._total.result([*parts]).cast(_FLOAT) / count.cast(_FLOAT)


class Variance:
    """The sample variance, from exact sums of the numbers, as doubles, and of their squares."""

    type: pl.DataType = _FLOAT
    parts = (
        Part("count", _COUNT, "sum"),
        Part("whole", _EXACT, "sum"),
        Part("fraction", _EXACT, "sum"),
        Part("square_whole", _EXACT, "sum"),
        Part("square_fraction", _EXACT, "sum"),
        Part("special", _EXACT, "sum"),
    )

    def __init__(self, column: str) -> None:
        self.of = column

    def beyond(self) -> pl.Expr:
        """From 2^45 on."""
        return _at_least(self.of, exact.LARGEST**0.5)

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The parts of the number and of its square; infinity and NaN aside."""
        given = rows[self.of]
        finite, special = _finite(given)
        return [given.is_not_null(), *exact.parts(finite), *exact.square_parts(finite), special]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The variance; null for fewer than two values."""
        count, whole, fraction, square_whole, square_fraction, special = parts
        few = count < 2  # noqa: PLR2004 - one value has no variance
        n = count.set(few, 2)
        squares = exact.squared_deviations(n, (whole, fraction), (square_whole, square_fraction))
        return (squares / (n - 1)).set(special > 0, math.nan).set(few, None)


class Extreme:
    """The least or greatest value."""

    def __init__(self, column: str, given: pl.DataType, kind: Literal["min", "max"]) -> None:
        self.of, self._kind = column, kind
        self.type = given
        nan = (Part("nan", pl.Int32(), "max"),) if given.is_float() else ()
        self.parts = (Part(kind, given, kind), *nan)

    def beyond(self) -> pl.Expr:
        """No row is."""
        return _NO

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The value; of floats the number, and whether it is NaN."""
        given = rows[self.of]
        if not self.type.is_float():
            return [given]
        # which of 0.0 and -0.0 came first must not show
        numbers = given.fill_nan(None).set(given == 0, 0.0)
        return [numbers, given.is_nan().fill_null(value=False)]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The value; NaN, the greatest, is the minimum only when there is nothing else."""
        if not self.type.is_float():
            return parts[0]
        value, nan = parts
        has_nan = nan > 0
        is_nan = has_nan if self._kind == "max" else has_nan & value.is_null()
        return value.set(is_nan, float("nan"))


class AtEnd:
    """The value of the first or last row by event time, then offset."""

    def __init__(self, column: str, given: pl.DataType, kind: Literal["first", "last"]) -> None:
        self.of = column
        self.type = given
        self.parts = (
            *(Part(name, pl.Int64(), kind) for name in order(kind)),
            Part(kind, given, kind),
        )

    def beyond(self) -> pl.Expr:
        """No row is."""
        return _NO

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The value and its place in the order."""
        return [rows[EVENT_TIME], rows[OFFSET], rows[self.of]]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The value."""
        return parts[2]


class Collect:
    """The first values by event time, then offset, as a list."""

    def __init__(self, column: str, given: pl.DataType, limit: int) -> None:
        self.of = column
        self.type: pl.DataType = pl.List(given)
        item = pl.Struct({_TIME: pl.Int64(), _AT: pl.Int64(), _VALUE: given})
        self.parts = (Part(f"first_{limit}", pl.List(item), "collect", limit),)

    def beyond(self) -> pl.Expr:
        """No row is."""
        return _NO

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """A list of one: the value and its place in the order."""
        item = pl.struct(
            pl.col(EVENT_TIME).alias(_TIME),
            pl.col(OFFSET).alias(_AT),
            pl.col(self.of).alias(_VALUE),
        )
        return [rows.select(items=pl.concat_list(item)).to_series()]

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The values alone."""
        return parts[0].list.eval(pl.element().struct.field(_VALUE))


def _at_least(column: str, bound: float) -> pl.Expr:
    number = pl.col(column).cast(_FLOAT)
    return ((number.abs() >= bound) & number.is_finite()).fill_null(value=False)


def _finite(given: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The finite numbers as doubles, with 0 for the others, and these as counts (`_special`)."""
    numbers = given.cast(_FLOAT).fill_null(0.0)
    number = pl.lit(numbers)
    special = (
        pl.when(number == math.inf)
        .then(1)
        .when(number == -math.inf)
        .then(_LOWER)
        .when(number.is_nan())
        .then(_LOWER * _LOWER)
        .otherwise(0)
    )
    finite = pl.when(number.is_finite()).then(number).otherwise(0.0)
    made = pl.select(finite=finite, special=special.cast(_EXACT))
    return made["finite"], made["special"]


def _special(counts: pl.Series) -> pl.Series:
    """What infinities and NaN add to a sum: 0.0 when there are none."""
    count = pl.lit(counts)
    infinite = pl.when(count % _LOWER > 0).then(math.inf).otherwise(0.0)
    negative = pl.when(count // _LOWER > 0).then(-math.inf).otherwise(0.0)
    return pl.select(
        pl.when(count >= _LOWER * _LOWER).then(math.nan).otherwise(infinite + negative)
    ).to_series()
