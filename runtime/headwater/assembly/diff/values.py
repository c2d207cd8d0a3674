"""Values of two types beside each other: a type that holds both, and which of them differ.

A value that does not come back as it was out of the common type is equal to nothing on the other
side: the other side's type could not hold it either.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from headwater.flow import instance

MAX_DIGITS: Final = 38  # of a decimal in 128 bits
FITTING: Final = 9.9e37  # unscaled; a float nearer to 10**38 may come to 39 digits, which raises
TEXTS: Final = (pl.String, pl.Categorical, pl.Enum)
UNITS: Final = ("ms", "us", "ns")  # coarse to fine


def common_type(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """A type that holds the values of both without a change; None when there is none."""
    common: pl.DataType | None = one if one == other else None
    match one, other:
        case pl.List(), pl.List():
            inner = common_type(instance(one.inner), instance(other.inner))
            common = None if inner is None else pl.List(inner)
        case pl.Struct(), pl.Struct():
            common = _common_record(fields_of(one), fields_of(other))
        case pl.Datetime(), pl.Datetime() if (one.time_zone is None) == (other.time_zone is None):
            unit = max(one.time_unit, other.time_unit, key=UNITS.index)
            common = pl.Datetime(unit, one.time_zone)
        case _ if one != other and isinstance(one, TEXTS) and isinstance(other, TEXTS):
            common = pl.String()
        case _ if one != other and one.is_numeric() and other.is_numeric():
            common = _common_number(one, other)
        case _:
            pass
    return common


def _common_record(
    one: Mapping[str, pl.DataType], other: Mapping[str, pl.DataType]
) -> pl.DataType | None:
    if one.keys() != other.keys():
        return None
    fields = {name: common_type(type_, other[name]) for name, type_ in one.items()}
    found = {name: type_ for name, type_ in fields.items() if type_ is not None}
    return pl.Struct(found) if len(found) == len(fields) else None


def _common_number(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    if one.is_float() or other.is_float():
        return pl.Float64()
    scales = [each.scale for each in (one, other) if isinstance(each, pl.Decimal)]
    return pl.Decimal(MAX_DIGITS, max(scales)) if scales else pl.Int64()


def differing(one: pl.Series, other: pl.Series, common: pl.DataType | None) -> pl.Series:
    """Which values of two series of one length differ, compared in the type common to both.

    NaN equals NaN, and null null. Without a common type only nulls are equal.
    """
    if common is None:
        return ~(one.is_null() & other.is_null())
    differs = converted(one, common).ne_missing(converted(other, common))
    for each in (one, other):
        if each.dtype != common:
            differs |= converted(converted(each, common), each.dtype).ne_missing(each)
    return differs


def converted(series: pl.Series, wanted: pl.DataType) -> pl.Series:
    """The values in another type; null where it cannot hold them, inside lists and records too."""
    if series.dtype == wanted:
        return series
    name = series.name
    return series.to_frame().select(_converted(pl.col(name), series.dtype, wanted)).to_series()


def _converted(values: pl.Expr, given: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    match given, wanted:
        case _ if given == wanted:
            return values
        case pl.List(), pl.List():
            inner = instance(given.inner), instance(wanted.inner)
            return values.list.eval(_converted(pl.element(), *inner))
        case pl.Struct(), pl.Struct():  # by name: a cast goes by place, and refuses another order
            types = fields_of(given)
            record = pl.struct(
                _converted(values.struct.field(name), types[name], to).alias(name)
                for name, to in fields_of(wanted).items()
            )
            return pl.when(values.is_not_null()).then(record)
        case _, pl.Decimal() if given.is_float():
            fits = (values * 10.0**wanted.scale).abs() < FITTING
            return pl.when(fits).then(values).cast(wanted, strict=False)
        case _:
            return values.cast(wanted, strict=False)


def fields_of(dtype: pl.Struct) -> dict[str, pl.DataType]:
    """The fields of a record and their types."""
    return {each.name: instance(each.dtype) for each in dtype.fields}
