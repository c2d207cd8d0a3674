"""What is known of one column as of a cut. What would mean nothing of a type is None, never wrong.

Of a column whose sensitivity is personal or secret, or that holds such inside, nothing is kept that
shows a value: neither bounds nor heavy hitters, and no quantiles, whose sketch holds values. Of
personal ones the sketch of distinct values stays, which holds hashes; of secret ones nothing does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal as Number
from enum import StrEnum
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from headwater.contract.attributes import MASKED
from headwater.contract.masking import touches
from headwater.contract.tree import Decimal, Enum, Field, Fixed, Primitive, Type, optional
from headwater.snapshot.sketches import Counts, Distinct, Frequent, Quantiles


class Kind(StrEnum):
    """What values are, as far as statistics ask; times are numbers in the unit that is named."""

    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME_US = "time-us"
    TIMESTAMP_US = "timestamp-us"
    TIMESTAMP_NS = "timestamp-ns"
    LOCAL_TIMESTAMP_US = "local-timestamp-us"
    LOCAL_TIMESTAMP_NS = "local-timestamp-ns"
    NESTED = "nested"


_LOGICAL: Final = {  # as docs/types.md stores them: milliseconds become microseconds
    "date": Kind.DATE,
    "time-millis": Kind.TIME_US,
    "time-micros": Kind.TIME_US,
    "timestamp-millis": Kind.TIMESTAMP_US,
    "timestamp-micros": Kind.TIMESTAMP_US,
    "timestamp-nanos": Kind.TIMESTAMP_NS,
    "local-timestamp-millis": Kind.LOCAL_TIMESTAMP_US,
    "local-timestamp-micros": Kind.LOCAL_TIMESTAMP_US,
    "local-timestamp-nanos": Kind.LOCAL_TIMESTAMP_NS,
}
_PRIMITIVE: Final = {
    "boolean": Kind.BOOLEAN,
    "int": Kind.INTEGER,
    "long": Kind.INTEGER,
    "float": Kind.FLOAT,
    "double": Kind.FLOAT,
    "bytes": Kind.BYTES,
    "string": Kind.TEXT,
}
_UNORDERED: Final = frozenset({Kind.BOOLEAN, Kind.BYTES, Kind.NESTED})
_MEASURED: Final = frozenset(Kind) - _UNORDERED - {Kind.TEXT}
_NAMED: Final = frozenset({Kind.TEXT, Kind.BOOLEAN, Kind.INTEGER, Kind.DATE})
FIRST: Final = 256  # values that tell whether it is worth asking if all differ

Bound = int | float | str
"""Of integers and times an integer, of decimals and texts a text; a float may be infinite."""


def kind_of(type_: Type) -> Kind:
    """What the values of a field are."""
    match optional(type_) or type_:
        case Primitive(_, str() as logical) if logical in _LOGICAL:
            return _LOGICAL[logical]
        case Primitive(kind) if kind in _PRIMITIVE:
            return _PRIMITIVE[kind]
        case Decimal():
            return Kind.DECIMAL
        case Enum() | Fixed(logical="uuid"):
            return Kind.TEXT
        case Fixed():
            return Kind.BYTES
        case _:
            return Kind.NESTED


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """One column: counts, bounds and sketches.

    `unit` and `doc` are the contract's. `nans` are None where there can be none. `least` and
    `greatest` leave out null and NaN.
    """

    name: str
    kind: Kind
    unit: str | None = None
    doc: str | None = None
    sensitivity: str | None = None
    rows: int = 0
    nulls: int = 0
    nans: int | None = None
    least: Bound | None = None
    greatest: Bound | None = None
    distinct: Distinct | None = None
    quantiles: Quantiles | None = None
    frequent: Frequent | None = None

    @property
    def is_masked(self) -> bool:
        """Whether nothing may be shown of its values."""
        return self.sensitivity in MASKED

    def all_null(self, rows: int) -> "ColumnStatistics":
        """The same column where it holds nothing."""
        return replace(
            self,
            rows=rows,
            nulls=rows,
            nans=None if self.nans is None else 0,
            least=None,
            greatest=None,
            distinct=None if self.distinct is None else Distinct(),
            quantiles=None if self.quantiles is None else Quantiles(),
            frequent=None if self.frequent is None else Frequent(),
        )

    def merge(self, later: "ColumnStatistics") -> "ColumnStatistics":
        """Of the rows of both; what is told in words is the later's.

        What only one of them knows is None, as after a change of type.
        """
        whole = replace(
            later,
            sensitivity=strictest({self.sensitivity, later.sensitivity}),
            rows=self.rows + later.rows,
            nulls=self.nulls + later.nulls,
            least=None,
            greatest=None,
            nans=_both(self.nans, later.nans, int.__add__),
            distinct=_both(self.distinct, later.distinct, Distinct.merge),
            quantiles=_both(self.quantiles, later.quantiles, Quantiles.merge),
            frequent=_both(self.frequent, later.frequent, Frequent.merge),
        )
        if self.kind != later.kind:
            return replace(whole, nans=None, distinct=None, quantiles=None, frequent=None)
        if whole.is_masked:
            return replace(whole, quantiles=None, frequent=None)
        order = _order(self.kind)
        return replace(
            whole,
            least=_extreme(self, later, "least", lambda *both: min(both, key=order)),
            greatest=_extreme(self, later, "greatest", lambda *both: max(both, key=order)),
        )


def empty(field: Field, sensitivities: dict[str, str]) -> ColumnStatistics:
    """Of no rows; `sensitivities` are those of the contract, by path."""
    kind = kind_of(field.type)
    level = strictest(
        {each for path, each in sensitivities.items() if touches(field.name, frozenset({path}))}
    )
    is_shown = level not in MASKED
    return ColumnStatistics(
        name=field.name,
        kind=kind,
        unit=field.attributes.get("unit"),
        doc=field.attributes.get("doc"),
        sensitivity=level,
        nans=0 if kind is Kind.FLOAT else None,
        distinct=None if kind is Kind.NESTED or level == "secret" else Distinct(),
        quantiles=Quantiles() if kind in _MEASURED and is_shown else None,
        frequent=Frequent() if kind in _NAMED and is_shown else None,
    )


def strictest(levels: set[str | None]) -> str | None:
    """The sensitivity that shows least; None where nobody says."""
    for level in ("secret", "personal", "internal", "public"):
        if level in levels:
            return level
    return None


def add(column: ColumnStatistics, values: pa.ChunkedArray) -> ColumnStatistics:
    """With more rows. The sketches are those of `column`, and are fed."""
    column = replace(column, rows=column.rows + len(values), nulls=column.nulls + values.null_count)
    if column.kind is Kind.NESTED:
        return column
    held = pl.Series(values)
    numbers = plain(held.drop_nulls() if values.null_count else held, column.kind)
    if column.nans is not None and (is_nan := numbers.is_nan()).any():
        column = replace(column, nans=column.nans + int(is_nan.sum()))
        numbers = numbers.filter(~is_nan)
    if numbers.is_empty():
        return column
    return _fed(column, *_counted(numbers, column.kind))


def _counted(values: pl.Series, kind: Kind) -> tuple[pl.Series, Counts]:
    """The distinct ones and how often each came; those with quantiles in rising order."""
    if kind in _MEASURED:
        # in this thread: the others have work, and cost more than they spare
        counted = values.sort(multithreaded=False).rle().struct.unnest()
        return counted["value"], counted["len"].to_numpy()
    first = values.head(FIRST)
    if first.n_unique() == len(first) and values.n_unique() == len(values):
        return values, np.ones(len(values), np.uint32)
    counted = values.alias("value").value_counts(name="count")
    return counted["value"], counted["count"].to_numpy()


def plain(values: pl.Series, kind: Kind) -> pl.Series:
    """Values of a type that sketches and keys know: times as integers, bytes as hex digits."""
    match kind:
        case Kind.BYTES:
            return values.bin.encode("hex")
        case Kind.FLOAT:
            return values.cast(pl.Float64)
        case Kind.TEXT | Kind.BOOLEAN | Kind.DECIMAL:
            return values
        case _:
            return values.cast(pl.Int64)


def _fed(column: ColumnStatistics, values: pl.Series, counts: Counts) -> ColumnStatistics:
    """Feeds the sketches with distinct values and their counts."""
    kind = column.kind
    if column.distinct is not None:
        is_known = kind not in {Kind.DECIMAL, Kind.BOOLEAN}
        column.distinct.add(values if is_known else values.cast(pl.String))
    if column.frequent is not None:
        column.frequent.add(values.cast(pl.Date) if kind is Kind.DATE else values, counts)
    if column.quantiles is not None:
        column.quantiles.add(values.cast(pl.Float64), counts)
    if column.is_masked or kind in _UNORDERED:
        return column
    order = _order(kind)
    bounds = [_bound(values.min()), _bound(values.max())]
    return replace(
        column,
        least=bounds[0] if column.least is None else min(column.least, bounds[0], key=order),
        greatest=bounds[1]
        if column.greatest is None
        else max(column.greatest, bounds[1], key=order),
    )


def _bound(value: Any) -> Bound:
    bound: Bound = str(value) if isinstance(value, Number) else value
    return bound


def _order(kind: Kind) -> Callable[[Any], Any]:
    return Number if kind is Kind.DECIMAL else lambda value: value


def _both(earlier: Any, later: Any, merge: Callable[[Any, Any], Any]) -> Any:
    return None if earlier is None or later is None else merge(earlier, later)


def _extreme(
    earlier: ColumnStatistics,
    later: ColumnStatistics,
    name: str,
    choose: Callable[..., Bound],
) -> Bound | None:
    known = [value for each in (earlier, later) if (value := getattr(each, name)) is not None]
    return choose(*known) if len(known) > 1 else next(iter(known), None)
