"""Columns to Python values and back, for per-event functions. Never rounds or guesses a zone."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl

_STRICT: Final = (pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Binary)
_WIDEST: Final[Mapping[type[pl.DataType], pl.DataType]] = {
    pl.Int8: pl.Int64(),
    pl.Int16: pl.Int64(),
    pl.Int32: pl.Int64(),
    pl.Float32: pl.Float64(),
    pl.Enum: pl.String(),
}
_MICROSECONDS: Final = "datetime64[us]"


class NaiveTimeError(ValueError):
    """A time without a zone stands where the contract wants an instant."""


class InexactValueError(ValueError):
    """A value does not survive the step into its column."""


def loosen(dtype: pl.DataType) -> pl.DataType:
    """The widest type of the same kind: whoever encodes decides what fits, and says which field."""
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", dtype.time_zone)
    if isinstance(dtype, pl.List):
        return pl.List(loosen(_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: loosen(_instance(field.dtype)) for field in dtype.fields})
    return _WIDEST.get(type(dtype), dtype)


def to_values(series: pl.Series) -> list[Any]:
    """The values as Python objects; instants as datetimes in `datetime.UTC`, null as None."""
    if series.dtype == pl.Datetime and getattr(series.dtype, "time_zone", None) == "UTC":
        # numpy makes naive datetimes ten times faster than polars makes zoned ones.
        naive = series.dt.replace_time_zone(None).to_numpy().astype(_MICROSECONDS).astype(object)
        return [None if value is None else value.replace(tzinfo=UTC) for value in naive.tolist()]
    return series.to_list()


def from_values(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """A column of exactly these values. Raises TypeError or ValueError when one does not fit."""
    if isinstance(dtype, _STRICT):
        return pl.Series(name, values, dtype=dtype, strict=True)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return _instants(name, values, dtype)
    series = pl.Series(name, values, dtype=dtype, strict=True)
    if series.dtype != dtype or not _same(series.to_list(), list(values)):
        raise InexactValueError(name)
    return series


def _instants(name: str, values: Sequence[datetime | None], dtype: pl.Datetime) -> pl.Series:
    naive = np.array([None if v is None else _naive_utc(v) for v in values], dtype=_MICROSECONDS)
    return pl.Series(name, naive).dt.replace_time_zone("UTC").cast(dtype)


def _naive_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise NaiveTimeError
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).replace(tzinfo=None)


def _same(built: Any, given: Any) -> bool:
    if isinstance(given, dict) and isinstance(built, dict):
        return given.keys() <= built.keys() and all(
            _same(value, given.get(key)) for key, value in built.items()
        )
    if isinstance(given, (list, tuple)) and isinstance(built, list):
        return len(given) == len(built) and all(map(_same, built, given))
    if type(built) is not type(given) and not (isinstance(built, float) and type(given) is int):
        return isinstance(given, str) and isinstance(built, str) and built == given
    both_nan = built != built and given != given  # noqa: PLR0124 NaN alone differs from itself
    return bool(both_nan or built == given)


def _instance(dtype: Any) -> pl.DataType:
    """Polars hands out classes for types without parameters."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
