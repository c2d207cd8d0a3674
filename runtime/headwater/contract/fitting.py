"""Whether columns fit a contract: by their types before any data, by their values after.

A cast is taken only if it loses nothing: what was cast must cast back to what it was.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import polars as pl

from headwater.contract.arrays import Faults
from headwater.contract.schema import Contract
from headwater.contract.tree import MISSING, optional
from headwater.contract.types import ROW
from headwater.model import Code

PolarsType: TypeAlias = pl.DataType | pl.datatypes.DataTypeClass
FLOAT_BITS: Final = {pl.Float32(): 32, pl.Float64(): 64}
TEXTS: Final = (pl.String, pl.Categorical, pl.Enum)


def misfits(contract: Contract, columns: Mapping[str, pl.DataType]) -> list[str]:
    """Why columns of these types cannot be published under the contract; empty when they can.

    A column the contract has a default for may be missing. The column `_row` is passed over.
    """
    reasons = [
        f"the column {name} is not in the contract; drop it, or add it to a new version"
        for name in columns
        if name not in contract.columns and name != ROW
    ]
    for field in contract.record.fields:
        wanted = contract.columns[field.name]
        if field.name not in columns:
            if field.default is MISSING:
                reasons.append(f"the column {field.name} is missing and has no default")
        else:
            reasons.extend(_misfits(columns[field.name], wanted, field.name))
    return reasons


def always_null(contract: Contract, columns: Mapping[str, pl.DataType]) -> list[str]:
    """Why no row of these columns can be published: a column of nothing for a field of values.

    Only for columns whose types are certain: of a frame without rows, null may become any type.
    """
    return [
        f"{field.name} is always null, the contract wants a value; compute one, or make the field"
        " nullable in a new version"
        for field in contract.record.fields
        if columns.get(field.name) == pl.Null() and optional(field.type) is None
    ]


def required(contract: Contract, nullable: Mapping[str, str]) -> list[str]:
    """Why rows of a left join cannot all be published: a field of values may find none.

    `nullable` are such columns, with the join that leaves them null.
    """
    return [
        f"{field.name} is null where {nullable[field.name]} finds nothing, the contract wants a"
        ' value; fill it, join with how="inner", or make the field nullable in a new version'
        for field in contract.record.fields
        if field.name in nullable and optional(field.type) is None
    ]


def _misfits(given: PolarsType, wanted: PolarsType, path: str) -> Iterator[str]:
    if isinstance(given, pl.List) and isinstance(wanted, pl.List):
        yield from _misfits(given.inner, wanted.inner, f"{path}[]")
    elif isinstance(given, pl.Struct) and isinstance(wanted, pl.Struct):
        held = {each.name: each.dtype for each in given.fields}
        asked = {each.name: each.dtype for each in wanted.fields}
        for name in sorted(held.keys() ^ asked.keys()):
            what = "is missing" if name in asked else "is not in the contract"
            yield f"the field {path}.{name} {what}"
        for name in held.keys() & asked.keys():
            yield from _misfits(held[name], asked[name], f"{path}.{name}")
    elif given not in {wanted, pl.Null()} and not _may_cast(given, wanted):
        yield f"{path} is {given}, the contract wants {wanted}; cast it in a step"


def _may_cast(given: PolarsType, wanted: PolarsType) -> bool:
    """Whether a cast between two different plain types can be lossless for honest values."""
    if wanted.is_integer():
        return given.is_integer()
    if wanted in FLOAT_BITS:
        return given.is_integer() or FLOAT_BITS.get(given, 64) < FLOAT_BITS[wanted]  # type: ignore[call-overload, index]  # a class or an instance
    if isinstance(wanted, pl.Datetime):
        zoned = isinstance(given, pl.Datetime) and given.time_zone is not None
        return isinstance(given, pl.Datetime) and zoned == (wanted.time_zone is not None)
    if wanted.is_decimal():
        return given.is_decimal() or given.is_integer()
    return isinstance(given, TEXTS) and isinstance(wanted, TEXTS)


def fitted(series: pl.Series, wanted: pl.DataType, faults: Faults) -> pl.Series:
    """The series in the contract's type. Values the cast would change mark their row."""
    if series.dtype == wanted:
        return series
    cast = series.cast(wanted, strict=False)
    changed = ~cast.cast(series.dtype, strict=False).eq_missing(series)
    what = f"{series.name} does not fit the contract's {wanted}"
    for row in changed.arg_true().to_list():
        faults.found.setdefault(row, (Code.CONTRACT_VIOLATION, what))
    return cast
