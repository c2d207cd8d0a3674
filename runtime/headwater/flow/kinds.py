"""Which aggregator computes a declared aggregate, and which columns each kind takes."""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from headwater.errors import DeclarationError, Problem
from headwater.flow.aggregators import (
    AtEnd,
    Collect,
    Count,
    Extreme,
    FloatSum,
    Mean,
    Rows,
    Sum,
    Variance,
)
from headwater.flow.own_aggregate import Own
from headwater.flow.parts import Aggregator
from headwater.flow.sketches import Distinct, Quantiles, TopK
from headwater.flow.stage import Columns, unknown_column
from headwater.product.aggregates import Aggregate, Kind


def aggregator(name: str, declared: Aggregate, columns: Columns) -> Aggregator:
    """The aggregate of this name, compiled for these columns.

    Raises DeclarationError (AGGREGATE) when they have none that it takes.
    """
    if declared.own is not None:
        return Own(name, declared.own, columns)
    column = declared.column
    if column is None:
        return Rows()
    given = columns.get(column)
    if given is None:
        raise DeclarationError([Problem("AGGREGATE", f"{name}: {unknown_column(column, columns)}")])
    words, is_taken = _TAKEN.get(declared.kind, _ANYTHING)
    if not is_taken(given):
        text = f"{name}: {declared.kind} takes {words}, and {column} is {given}"
        raise DeclarationError([Problem("AGGREGATE", text)])
    return _COMPILED[declared.kind](declared, column, given)


def _sum(_: Aggregate, column: str, given: pl.DataType) -> Sum | FloatSum:
    return FloatSum(column) if given.is_float() else Sum(column, given)


def _quantiles(declared: Aggregate, column: str, _: pl.DataType) -> Quantiles:
    return Quantiles(column, declared.fractions, listed=declared.kind == "quantiles")


_COMPILED: Final[Mapping[Kind, Callable[[Aggregate, str, pl.DataType], Aggregator]]] = {
    "count": lambda _, column, __: Count(column),
    "sum": _sum,
    "mean": lambda declared, column, given: Mean(_sum(declared, column, given)),
    "variance": lambda _, column, __: Variance(column),
    "min": lambda _, column, given: Extreme(column, given, "min"),
    "max": lambda _, column, given: Extreme(column, given, "max"),
    "first": lambda _, column, given: AtEnd(column, given, "first"),
    "last": lambda _, column, given: AtEnd(column, given, "last"),
    "collect": lambda declared, column, given: Collect(column, given, declared.limit or 0),
    "approx_distinct": lambda _, column, __: Distinct(column),
    "quantile": _quantiles,
    "quantiles": _quantiles,
    "top_k": lambda declared, column, given: TopK(column, given, declared.limit or 0),
}


def _is_anything(_: pl.DataType) -> bool:
    return True


def _is_number(given: pl.DataType) -> bool:
    return given.is_numeric()


def _is_number_or_boolean(given: pl.DataType) -> bool:
    return given.is_numeric() or given == pl.Boolean()


def _is_number_or_time(given: pl.DataType) -> bool:
    return given.is_numeric() or given.is_temporal()


def _is_flat(given: pl.DataType) -> bool:
    return not given.is_nested()


_ANYTHING: Final = ("anything", _is_anything)
_NUMBERS: Final = ("numbers", _is_number)
_SUMMED: Final = ("numbers and booleans", _is_number_or_boolean)
_ORDERED: Final = ("numbers and times", _is_number_or_time)
_FLAT: Final = ("one value a row", _is_flat)
_TAKEN: Final[Mapping[Kind, tuple[str, Callable[[pl.DataType], bool]]]] = {
    "sum": _SUMMED,
    "mean": _SUMMED,
    "variance": _NUMBERS,
    "quantile": _NUMBERS,
    "quantiles": _NUMBERS,
    "min": _ORDERED,
    "max": _ORDERED,
    "approx_distinct": _FLAT,
    "top_k": _FLAT,
}
