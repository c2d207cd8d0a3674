"""Sums of doubles without rounding, so that they do not depend on the order or on batches.

A double is split into its whole part and its fraction in units of 2^-80; both are added up as
128-bit integers, which is exact, commutative and as fast as adding doubles. Only the result is
rounded. Functions are on whole columns.

The error-free transformations are Dekker's (A floating-point technique for extending the available
precision, 1971) and Knuth's (TAOCP 2, 4.2.2).
"""

from typing import Final

import polars as pl

LARGEST: Final = 2.0**90
"""What a term must stay below (1.2e27): 10^11 terms of it still fit into 128 bits."""
_UNIT_BITS: Final = 80
"""The fraction counts in units of 2^-80 (8e-25), and 10^14 fractions fit; what is below is cut."""
_UNITS: Final = 2.0**_UNIT_BITS
_ONE: Final = pl.Series([2**_UNIT_BITS], dtype=pl.Int128)  # a whole, in units of a fraction
_SPLITTER: Final = 2.0**27 + 1  # Veltkamp's, for 53 bits of mantissa

Parts = tuple[pl.Series, pl.Series]
"""Whole parts and fractions as Int128; also a number as the sum of two doubles (high, low)."""


def parts(terms: pl.Series) -> Parts:
    """Doubles below `LARGEST`, finite and not null, as (whole, fraction); each keeps its sign."""
    whole = terms.cast(pl.Int128)
    return whole, ((terms - whole.cast(pl.Float64)) * _UNITS).cast(pl.Int128)


def square_parts(terms: pl.Series) -> Parts:
    """The parts of the exact squares of doubles, whose squares are below `LARGEST`."""
    square, error = _product(terms, terms)
    (whole, fraction), (error_whole, error_fraction) = parts(square), parts(error)
    return whole + error_whole, fraction + error_fraction


def rounded(whole: pl.Series, fraction: pl.Series) -> pl.Series:
    """Sums of parts as doubles, within one unit in the last place of the exact sums."""
    high, low = _doubles(whole, fraction)
    return high + low


def squared_deviations(count: pl.Series, total: Parts, squares: Parts) -> pl.Series:
    """The sums of squared distances from the mean, of counts above 0, sums and sums of squares.

    The subtraction, which cancels, is of numbers of 106 bits: with a mean of 10^8 times the
    deviation all digits are right, where Welford's method keeps half of them. The error is at most
    2^-100 of the sum of squares, and what is cut off the squares (`_UNIT_BITS`).
    """
    n = count.cast(pl.Float64)
    high, low = _doubles(*total)
    product, rest = _product(high, high)
    rest = rest + 2 * (high * low)
    quotient = product / n
    back, error = _product(quotient, n)
    remainder = ((product - back) - error + rest) / n
    squares_high, squares_low = _doubles(*squares)
    # numbers so near each other that they cancel are subtracted without rounding (Sterbenz)
    difference = squares_high - quotient
    return (difference + (squares_low - remainder)).clip(lower_bound=0.0)


def _doubles(whole: pl.Series, fraction: pl.Series) -> Parts:
    """Sums of parts as the sum of two doubles."""
    carry = fraction // _ONE
    whole, fraction = whole + carry, fraction - carry * _ONE
    whole_high, whole_low = _two_doubles(whole)
    fraction_high, fraction_low = _two_doubles(fraction)
    high, error = _sum(whole_high, fraction_high / _UNITS)
    return _sum(high, error + (whole_low + fraction_low / _UNITS))


def _two_doubles(number: pl.Series) -> Parts:
    high = number.cast(pl.Float64)
    return high, (number - high.cast(pl.Int128)).cast(pl.Float64)


def _sum(one: pl.Series, other: pl.Series) -> Parts:
    """The rounded sum and what rounding lost (Knuth)."""
    total = one + other
    taken = total - one
    return total, (one - (total - taken)) + (other - taken)


def _product(one: pl.Series, other: pl.Series) -> Parts:
    """The rounded product and what rounding lost (Dekker)."""
    product = one * other
    (high, low), (other_high, other_low) = _halves(one), _halves(other)
    error = ((high * other_high - product) + high * other_low + low * other_high) + low * other_low
    return product, error


def _halves(number: pl.Series) -> Parts:
    scaled = number * _SPLITTER
    high = scaled - (scaled - number)
    return high, number - high
