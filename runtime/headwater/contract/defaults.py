"""Defaults of a schema: JSON as the author wrote it -> the physical value it stands for."""

import math
import struct
from typing import Any, Final

from headwater.contract.tree import (
    MISSING,
    Array,
    Decimal,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Type,
    Union,
)

_BITS: Final = {"int": 31, "long": 63}  # without the sign
_FLOATING: Final = {"float": "<f", "double": "<d"}  # of struct
_STRING: Final = Primitive("string")
_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class BadDefaultError(ValueError):
    """A default does not fit its type."""


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
            pairs = value.items()
            return [(_primitive(key, _STRING), physical(each, values)) for key, each in pairs]
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
        case Primitive():
            return _primitive(value, type_)
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


def _primitive(value: Any, type_: Primitive) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match type_.kind:
        case "int" | "long" as kind:
            bound = 1 << _BITS[kind]
            fits = is_number and isinstance(value, int) and -bound <= value < bound
        case "float" | "double":
            return _floating(value, type_)
        case "string":
            fits = isinstance(value, str) and _is_unicode(value)
        case "boolean":
            fits = isinstance(value, bool)
        case _:
            fits = value is None
    if not fits:
        raise _misfit(type_)
    return value


def _floating(value: Any, type_: Primitive) -> float:
    """A number that the type's 4 or 8 bytes can hold, or the name of one that is not finite."""
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _misfit(type_)
    try:
        number = float(value)
        struct.pack(_FLOATING[type_.kind], number)
    except OverflowError:
        raise _misfit(type_) from None
    return number


def _is_unicode(text: str) -> bool:
    """JSON can write half a surrogate pair, which no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _misfit(type_: Type) -> BadDefaultError:
    kind = type_.kind if isinstance(type_, Primitive) else type(type_).__name__.lower()
    return BadDefaultError(f"the default is not a valid {kind}")
