"""Whether the columns of a plan can become records of a contract, as far as types tell."""

import difflib
from collections.abc import Iterator
from typing import Final

import polars as pl

from headwater.contract import Contract
from headwater.errors import Problem
from headwater.flow.stage import Columns, instance
from headwater.product import Output

_INTEGERS: Final = (
    pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
)  # fmt: skip
_FLOATS: Final = (pl.Float32, pl.Float64)


def misfits(columns: Columns, contract: Contract, output: Output) -> list[Problem]:
    """Every column the contract does not know, misses or cannot take."""
    return [
        Problem(code, f"{output.topic}: {text}", output.origin.file, output.origin.line)
        for code, text in _mistakes(columns, contract)
    ]


def _mistakes(columns: Columns, contract: Contract) -> Iterator[tuple[str, str]]:
    where = f"the contract v{contract.version}"
    for name, dtype in columns.items():
        target = contract.columns.get(name)
        if target is None:
            near = difflib.get_close_matches(name, contract.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "drop it with .select()"
            yield "UNKNOWN_FIELD", f"{where} has no field {name!r}; {hint}"
        elif not can_take(target, dtype):
            yield (
                "TYPE_MISMATCH",
                f"{where} cannot take {dtype} for {name!r}, which is {target}; cast the column",
            )
    for name in required_fields(contract):
        if name not in columns:
            yield "MISSING_FIELD", f"{where} requires {name!r}, which the flow does not make"


def required_fields(contract: Contract) -> list[str]:
    """The fields a record cannot do without: no default, not nullable."""
    return [
        field["name"]
        for field in contract.schema["fields"]
        if "default" not in field and not _nullable(field["type"])
    ]


def can_take(target: pl.DataType, given: pl.DataType) -> bool:
    """Whether values of `given` may fit `target`; whether each does is checked when it runs."""
    if given == target or isinstance(given, pl.Null):
        return True
    if isinstance(target, pl.List) and isinstance(given, pl.List):
        return can_take(instance(target.inner), instance(given.inner))
    if isinstance(target, pl.Struct) and isinstance(given, pl.Struct):
        own = {field.name: instance(field.dtype) for field in given.fields}
        return own.keys() == {field.name for field in target.fields} and all(
            can_take(instance(field.dtype), own[field.name]) for field in target.fields
        )
    return _scalar_fits(target, given)


def _scalar_fits(target: pl.DataType, given: pl.DataType) -> bool:
    match target:
        case pl.Datetime(time_zone=zone):
            return isinstance(given, pl.Datetime) and given.time_zone == zone
        case pl.Enum() | pl.String():
            return isinstance(given, (pl.String, pl.Enum, pl.Categorical))
        case pl.Decimal():
            return isinstance(given, (pl.Decimal, *_INTEGERS))
        case pl.Int32() | pl.Int64():
            return isinstance(given, _INTEGERS)
        case pl.Float32() | pl.Float64():
            return isinstance(given, (*_FLOATS, *_INTEGERS))
        case _:
            return False


def _nullable(avro: object) -> bool:
    return isinstance(avro, list) and "null" in avro
