"""Columns to Python values and back, for per-event functions. Never rounds or guesses a zone."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from headwater.flow.stage import instance

_STRICT: Final = (pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Binary)
_FLOAT32_STEP: Final = 2**-24  # Python has no 32-bit float: a value may move by half a last bit
_WIDEST: Final[Mapping[type[pl.DataType], pl.DataType]] = {
    pl.Int8: pl.Int64(),
    pl.Int16: pl.Int64(),
    pl.Int32: pl.Int64(),
    pl.Enum: pl.String(),
}
_MICROSECONDS: Final = "timedelta64[us]"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class InexactValueError(ValueError):
    """A value does not survive the step into its column."""


def loosen(dtype: pl.DataType) -> pl.DataType:
    """The widest type of the same kind: whoever encodes decides what fits, and says which field."""
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", dtype.time_zone)
    if isinstance(dtype, pl.List):
        return pl.List(loosen(instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: loosen(instance(field.dtype)) for field in dtype.fields})
    return _WIDEST.get(type(dtype), dtype)


def to_values(series: pl.Series) -> list[Any]:
    """The values as Python objects; instants as datetimes in `datetime.UTC`, null as None."""
    if series.dtype == pl.Datetime and getattr(series.dtype, "time_zone", None) == "UTC":
        # Adding durations to one epoch makes datetimes ten times faster than polars does.
        since = series.dt.epoch("us").cast(pl.Duration("us")).to_numpy()
        durations = since.astype(_MICROSECONDS).astype(object).tolist()
        return [None if since is None else _EPOCH + since for since in durations]
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
    # A time without a zone has no distance from the epoch: Python raises TypeError.
    since = [None if value is None else value - _EPOCH for value in values]
    series = pl.Series(name, since, dtype=pl.Duration("us"), strict=True)
    return series.to_physical().cast(dtype)


def _same(built: Any, given: Any) -> bool:
    if isinstance(given, dict) and isinstance(built, dict):
        return given.keys() <= built.keys() and all(
            _same(value, given.get(key)) for key, value in built.items()
        )
    if isinstance(given, (list, tuple)) and isinstance(built, list):
        return len(given) == len(built) and all(map(_same, built, given))
    if type(built) is not type(given) and not (isinstance(built, float) and type(given) is int):
        return isinstance(given, str) and isinstance(built, str) and built == given
    if isinstance(built, float):
        return math.isclose(built, given, rel_tol=_FLOAT32_STEP) or built != built  # noqa: PLR0124 NaN
    return bool(built == given)
