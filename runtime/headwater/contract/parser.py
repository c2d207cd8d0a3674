"""Avro JSON -> tree. Takes any legal schema, however unusual, and finds every mistake."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from headwater.contract.tree import (
    MISSING,
    NULL,
    Array,
    Decimal,
    Enum,
    Field,
    Fixed,
    Map,
    Mistake,
    Primitive,
    Record,
    Reference,
    Type,
    Union,
)

MAX_DEPTH: Final = 32  # nested types; deeper ones are written by nobody but an attacker
MAX_FIELDS: Final = 1_000  # of a whole schema, for the same reason
MAX_TYPES: Final = 10_000  # with named types in full wherever they stand: few names can be many
MAX_FIXED: Final = (1 << 31) - 1  # bytes: what other implementations can hold
DIGITS_PER_BIT: Final = math.log10(2)

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)
LOGICAL: Final = {
    "int": frozenset({"date", "time-millis"}),
    "long": frozenset(
        {
            "time-micros",
            *(f"timestamp-{unit}" for unit in ("millis", "micros", "nanos")),
            *(f"local-timestamp-{unit}" for unit in ("millis", "micros", "nanos")),
        }
    ),
    "string": frozenset({"uuid"}),
}
UUID_SIZE: Final = 16  # bytes of a uuid as fixed
ORDERS: Final = ("ascending", "descending", "ignore")


@dataclass(slots=True)
class Parsed:
    """A tree and all mistakes on the way. With mistakes the tree is not to be used."""

    type: Type = NULL
    mistakes: list[Mistake] = field(default_factory=list)
    ignored: list[Mistake] = field(default_factory=list)
    """Logical types that are not the specification's, or do not fit their type."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many types a type is, itself included, and how many levels lie below it."""

    types: int = 1
    height: int = 0


def parse(schema: object) -> Parsed:
    """The tree of an Avro schema given as parsed JSON. Never raises for a bad schema."""
    parser = _Parser()
    parser.out.type = parser.parse(schema, "", "", 0)
    return parser.out


class _Parser:
    """Holds the names seen so far, and the mistakes."""

    def __init__(self) -> None:
        self.out = Parsed()
        self.named: dict[str, Type] = {}
        self.sizes: dict[str, Size] = {}
        self.fields = 0
        self.types = 0  # all so far
        self.deepest = 0  # of the levels seen since the innermost definition began

    def wrong(self, path: str, message: str) -> Type:
        self.out.mistakes.append(Mistake(path.lstrip("."), message))
        return NULL

    def parse(self, schema: object, space: str, path: str, depth: int) -> Type:
        if isinstance(schema, str):
            return self.by_name(schema, space, path, depth)
        if not self.takes(Size(), path, depth):
            return NULL
        if isinstance(schema, list):
            return self.union(schema, space, path, depth)
        if isinstance(schema, Mapping):
            return self.complex(schema, space, path, depth)
        return self.wrong(path, "a type is a name, a list of branches or an object")

    def takes(self, size: "Size", path: str, depth: int) -> bool:
        """Count a type of this size at this depth; whether the schema may still hold it.

        A type too many is one mistake, however many follow.
        """
        self.types += size.types
        self.deepest = max(self.deepest, depth + size.height)
        if depth + size.height > MAX_DEPTH:
            self.wrong(path, f"types nest deeper than {MAX_DEPTH}")
            return False
        if self.types > MAX_TYPES:
            if self.types - size.types <= MAX_TYPES:
                self.wrong(path, f"the schema has more than {MAX_TYPES} types")
            return False
        return True

    def by_name(self, name: str, space: str, path: str, depth: int) -> Type:
        if name in PRIMITIVES:
            return Primitive(name) if self.takes(Size(), path, depth) else NULL
        for full in (_full(name, space), name):
            if full in self.named:
                size = self.sizes.get(full, Size())  # none yet: a record inside itself
                return self.named[full] if self.takes(size, path, depth) else NULL
        return self.wrong(path, f"there is no type {name!r}")

    def union(self, branches: list[object], space: str, path: str, depth: int) -> Type:
        if not branches:
            return self.wrong(path, "a union has no branches")
        types = tuple(self.parse(branch, space, path, depth + 1) for branch in branches)
        if any(isinstance(each, Union) for each in types):
            return self.wrong(path, "a union directly inside a union")
        kinds = [_branch(each) for each in types]
        if len(set(kinds)) < len(kinds):
            return self.wrong(path, "a union has two branches of one type")
        return Union(types)

    def complex(self, schema: Mapping[str, Any], space: str, path: str, depth: int) -> Type:
        kind = schema.get("type")
        match kind:
            case "record" | "enum" | "fixed":
                return self.define(schema, space, path, depth)
            case "array":
                return Array(self.parse(schema.get("items"), space, path + "[]", depth + 1))
            case "map":
                return Map(self.parse(schema.get("values"), space, path + "{}", depth + 1))
            case str() if kind in PRIMITIVES:
                return self.logical(schema, kind, path)
            case _:
                return self.parse(kind, space, path, depth + 1)

    def logical(self, schema: Mapping[str, Any], kind: str, path: str) -> Type:
        logical = schema.get("logicalType")
        if logical is None:
            return Primitive(kind)
        if isinstance(logical, str) and logical in LOGICAL.get(kind, ()):
            return Primitive(kind, logical)
        if kind == "bytes" and logical == "decimal":
            return self.decimal(schema, path, None) or Primitive(kind)
        self.ignore(path, f"the logical type {logical!r} over {kind}")
        return Primitive(kind)

    def ignore(self, path: str, what: str) -> None:
        self.out.ignored.append(Mistake(path.lstrip("."), f"{what} has no column type"))

    def decimal(self, schema: Mapping[str, Any], path: str, size: int | None) -> Decimal | None:
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if _is_int(precision) and _is_int(scale) and 0 <= scale <= precision and precision > 0:
            if size is None or precision <= (8 * size - 1) * DIGITS_PER_BIT:
                return Decimal(precision, scale, size)
            self.ignore(path, f"a decimal of {precision} digits over {size} bytes")
            return None
        self.ignore(path, "a decimal without a precision above 0 and a scale within it")
        return None

    def define(self, schema: Mapping[str, Any], space: str, path: str, depth: int) -> Type:
        name = schema.get("name")
        if not isinstance(name, str) or not all(NAME.match(part) for part in name.split(".")):
            return self.wrong(path, f"{schema['type']} needs a name of letters, digits and _")
        own: object = schema.get("namespace", space)
        if own is not None and not isinstance(own, str):
            return self.wrong(path, f"the namespace of {name} is a text")
        full = _full(name, own or "")
        if full in self.named or full in PRIMITIVES:
            return self.wrong(path, f"the name {full!r} is defined twice")
        aliases = tuple(_full(each, full.rpartition(".")[0]) for each in self.aliases(schema, path))
        match schema["type"]:
            case "fixed":
                self.named[full] = self.fixed(schema, full, aliases, path)
            case "enum":
                self.named[full] = self.enum(schema, full, aliases, path)
            case _:
                self.named[full] = Reference(full)
                with self.measured(full, depth):
                    self.named[full] = self.record(schema, full, aliases, (path, depth))
        return self.named[full]

    @contextmanager
    def measured(self, name: str, depth: int) -> Iterator[None]:
        """Note the size of the type defined within."""
        before, above = self.types, self.deepest
        self.deepest = depth
        yield
        self.sizes[name] = Size(self.types - before + 1, self.deepest - depth)
        self.deepest = max(self.deepest, above)

    def aliases(self, schema: Mapping[str, Any], path: str) -> tuple[str, ...]:
        aliases = schema.get("aliases", [])
        if isinstance(aliases, list) and all(isinstance(each, str) for each in aliases):
            return tuple(aliases)
        self.wrong(path, "aliases is a list of names")
        return ()

    def fixed(
        self, schema: Mapping[str, Any], name: str, aliases: tuple[str, ...], path: str
    ) -> Type:
        size, logical = schema.get("size"), schema.get("logicalType")
        if not _is_int(size) or not 0 <= size <= MAX_FIXED:
            return self.wrong(path, f"fixed needs a size of 0 to {MAX_FIXED} bytes")
        if logical == "decimal":
            return self.decimal(schema, path, size) or Fixed(name, size, None, aliases)
        if logical == "uuid" and size == UUID_SIZE:
            return Fixed(name, size, logical, aliases)
        if logical is not None:
            self.ignore(path, f"the logical type {logical!r} over fixed")
        return Fixed(name, size, None, aliases)

    def enum(
        self, schema: Mapping[str, Any], name: str, aliases: tuple[str, ...], path: str
    ) -> Type:
        symbols, default = schema.get("symbols"), schema.get("default")
        if not isinstance(symbols, list) or not all(_is_name(each) for each in symbols):
            return self.wrong(path, "enum needs symbols of letters, digits and _")
        if not symbols or len(set(symbols)) < len(symbols):
            return self.wrong(path, "enum needs symbols, each once")
        if default is not None and default not in symbols:
            return self.wrong(path, "the default of an enum is one of its symbols")
        return Enum(name, tuple(symbols), default, aliases)

    def record(
        self,
        schema: Mapping[str, Any],
        name: str,
        aliases: tuple[str, ...],
        at: tuple[str, int],
    ) -> Type:
        path, depth = at
        listed = schema.get("fields")
        if not isinstance(listed, list):
            return self.wrong(path, "record needs a list of fields")
        self.fields += len(listed)
        if self.fields > MAX_FIELDS:
            return self.wrong(path, f"the schema has more than {MAX_FIELDS} fields")
        space = name.rpartition(".")[0]
        fields = tuple(
            each for entry in listed if (each := self.field(entry, space, path, depth)) is not None
        )
        names = [each.name for each in fields]
        for twice in sorted({each for each in names if names.count(each) > 1}):
            self.wrong(path, f"the field {twice!r} is defined twice")
        return Record(name, fields, aliases)

    def field(self, schema: object, space: str, path: str, depth: int) -> Field | None:
        if not isinstance(schema, Mapping) or not _is_name(schema.get("name")):
            self.wrong(path, "a field is an object with a name of letters, digits and _")
            return None
        name = schema["name"]
        inside = f"{path}.{name}"
        if "type" not in schema:
            self.wrong(inside, "a field needs a type")
            return None
        if schema.get("order", ORDERS[0]) not in ORDERS:
            self.wrong(inside, f"the order of a field is one of {', '.join(ORDERS)}")
        return Field(
            name,
            self.parse(schema["type"], space, inside, depth + 1),
            schema.get("default", MISSING),
            self.aliases(schema, inside),
            schema,
        )


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.match(value) is not None


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _branch(type_: Type) -> str:
    """What makes a branch of a union unlike the others: the name, or the kind."""
    match type_:
        case Primitive(kind):
            return kind
        case Fixed() | Enum() | Record() | Reference():
            return type_.name
        case _:
            return type(type_).__name__
