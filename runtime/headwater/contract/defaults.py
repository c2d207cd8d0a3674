"""Defaults of a schema: JSON as the author wrote it -> the physical value it stands for."""

import math
from collections.abc import Iterator
from typing import Any, Final

from headwater.contract.tree import (
    MISSING,
    Array,
    Decimal,
    Enum,
    Fixed,
    Map,
    Mistake,
    Primitive,
    Record,
    Type,
    Union,
    descend,
)

_BITS: Final = {"int": 31, "long": 63}  # without the sign
_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class BadDefaultError(ValueError):
    """A default does not fit its type."""


def default_mistakes(record: Type) -> Iterator[Mistake]:
    """Every default inside a record that does not fit its field."""
    for path, type_ in descend(record):
        for each in type_.fields if isinstance(type_, Record) else ():
            if each.default is not MISSING:
                try:
                    physical(each.default, each.type)
                except BadDefaultError as error:
                    yield Mistake(f"{path}.{each.name}".lstrip("."), str(error), "BAD_DEFAULT")


def physical(value: Any, type_: Type) -> Any:
    """The value a default stands for. A map is a list of pairs, a record a dict.

    Raises BadDefaultError when it does not fit.
    """
    match type_:
        case Union(branches):
            return _first_fit(value, branches)
        case Array(items) if isinstance(value, list):
            return [physical(each, items) for each in value]
        case Map(values) if isinstance(value, dict):
            return [(key, physical(each, values)) for key, each in value.items()]
        case Record() if isinstance(value, dict):
            return {each.name: _of_field(each.name, value, each) for each in type_.fields}
        case Primitive() | Decimal() | Fixed() | Enum():
            return _leaf(value, type_)
        case _:
            raise _misfit(type_)


def _of_field(name: str, values: dict[str, Any], field: Any) -> Any:
    given = values.get(name, field.default)
    if given is MISSING:
        message = f"the default says nothing of {name}"
        raise BadDefaultError(message)
    return physical(given, field.type)


def _first_fit(value: Any, branches: tuple[Type, ...]) -> Any:
    """The specification asks for the first branch since ever, for any branch since 1.12."""
    for branch in branches:
        try:
            return physical(value, branch)
        except BadDefaultError:
            continue
    message = "the default fits no branch of the union"
    raise BadDefaultError(message)


def _leaf(value: Any, type_: Primitive | Decimal | Fixed | Enum) -> Any:
    match type_:
        case Primitive("bytes") | Decimal(size=None):
            return _bytes(value, type_, None)
        case Decimal(size=size) | Fixed(size=size):
            return _bytes(value, type_, size)
        case Enum(symbols=symbols) if value in symbols:
            return value
        case Primitive(kind):
            return _primitive(value, kind, type_)
        case _:
            raise _misfit(type_)


def _bytes(value: Any, type_: Type, size: int | None) -> bytes:
    """JSON texts stand for bytes, one code point below 256 each."""
    try:
        data = value.encode("latin-1") if isinstance(value, str) else None
    except UnicodeEncodeError:
        data = None
    if data is None or size not in {None, len(data)}:
        raise _misfit(type_)
    return data


def _primitive(value: Any, kind: str, type_: Type) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "string": isinstance(value, str),
        "float": is_number,
        "double": is_number,
    }
    if kind in _BITS:
        bound = 1 << _BITS[kind]
        if is_number and isinstance(value, int) and -bound <= value < bound:
            return value
    elif kind in {"float", "double"} and isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    elif fits.get(kind, False):
        return float(value) if kind in {"float", "double"} else value
    raise _misfit(type_)


def _misfit(type_: Type) -> BadDefaultError:
    kind = type_.kind if isinstance(type_, Primitive) else type(type_).__name__.lower()
    return BadDefaultError(f"the default is not a valid {kind}")
