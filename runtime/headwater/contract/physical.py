"""The physical Avro schema of a tree: logical types stripped, for the libraries that read bytes.

Names are made up, one per place: what the libraries need is the shape.
"""

from itertools import count
from typing import Any, Final

from headwater.contract.tree import (
    Array,
    Decimal,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Reference,
    Type,
    Union,
    descend,
    optional,
)

COLUMNAR: Final = frozenset({"boolean", "int", "long", "float", "double", "string"})
"""The primitive types pyruhvro reads and writes without a panic; measured, see decision 0001."""


def physical_schema(type_: Type) -> Any:
    """Avro JSON of the same shape without logical types."""
    return _Writer().write(type_)


def is_columnar(type_: Type) -> bool:
    """Whether the columnar codec can take a schema: it must never see another, it would panic."""
    return all(_is_columnar(each) for _, each in descend(type_))


def _is_columnar(type_: Type) -> bool:
    match type_:
        case Primitive(kind):
            return kind in COLUMNAR
        case Union():
            return optional(type_) is not None
        case Record(fields=fields):
            return bool(fields)
        case Enum() | Array() | Map():
            return True
        case Decimal() | Fixed() | Reference():
            return False


class _Writer:
    def __init__(self) -> None:
        self.numbers = count()
        self.inside: dict[str, str] = {}

    def write(self, type_: Type) -> Any:
        match type_:
            case Primitive(kind):
                return kind
            case Decimal(size=None):
                return "bytes"
            case Decimal(size=size) | Fixed(size=size):
                return {"type": "fixed", "name": self.name(), "size": size}
            case Enum(symbols=symbols):
                return {"type": "enum", "name": self.name(), "symbols": list(symbols)}
            case Reference(name):
                return self.inside[name]
            case _:
                return self.nested(type_)

    def nested(self, type_: Type) -> Any:
        match type_:
            case Array(items):
                return {"type": "array", "items": self.write(items)}
            case Map(values):
                return {"type": "map", "values": self.write(values)}
            case Union(branches):
                return [self.write(branch) for branch in branches]
            case Record():
                return self.record(type_)
            case _:
                message = f"{type_} is not nested"
                raise TypeError(message)

    def record(self, record: Record) -> Any:
        name, outer = self.name(), self.inside.get(record.name)
        self.inside[record.name] = name
        fields = [{"name": each.name, "type": self.write(each.type)} for each in record.fields]
        if outer is not None:
            self.inside[record.name] = outer
        return {"type": "record", "name": name, "fields": fields}

    def name(self) -> str:
        return f"T{next(self.numbers)}"
