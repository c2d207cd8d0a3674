"""A record as lines: every field inside it with its type in words."""

import json
from typing import Any

from headwater.contract.tree import (
    MISSING,
    Array,
    Decimal,
    Enum,
    Fixed,
    Leaf,
    Map,
    Primitive,
    Record,
    Reference,
    Type,
    Union,
    descend,
)


def fields_of(record: Record) -> dict[str, str]:
    """Every field inside a record by its path (`[]` items, `{}` values), its type in words."""
    found: dict[str, str] = {}
    for path, inside in descend(record):
        for each in inside.fields if isinstance(inside, Record) else ():
            found[f"{path}.{each.name}".lstrip(".")] = _type(each.type) + _default(each.default)
    return found


def _default(default: Any) -> str:
    if default is MISSING:
        return ""
    return f", default {json.dumps(default, ensure_ascii=False)}"


def _type(type_: Type) -> str:
    match type_:
        case Array():
            return f"list of {_type(type_.items)}"
        case Map():
            return f"map of {_type(type_.values)}"
        case Union():
            return " or ".join(map(_type, type_.branches))
        case Record() | Reference():
            return f"record {type_.name}"
        case _:
            return _leaf(type_)


def _leaf(type_: Leaf) -> str:
    match type_:
        case Primitive(kind, logical):
            return f"{kind} ({logical})" if logical else kind
        case Decimal():
            return f"decimal({type_.precision}, {type_.scale})"
        case Fixed():
            return f"fixed {type_.name} of {type_.size} bytes"
        case Enum():
            return f"enum {type_.name} ({', '.join(type_.symbols)})"
