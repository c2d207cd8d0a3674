"""An Avro schema as a small typed tree, made by `parser.parse`.

Names are resolved: a named type stands in full wherever it is used, except inside itself, where it
is a `Reference`. Logical types the specification does not know are ignored, as it asks for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""A field without a default; None is a default of its own."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """One of Avro's primitive types, with its logical type if there is one."""

    kind: str
    logical: str | None = None


@dataclass(frozen=True, slots=True)
class Decimal:
    """A decimal over bytes, or over a fixed of `size` bytes."""

    precision: int
    scale: int
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """`size` bytes; `logical` is "uuid" or None."""

    name: str
    size: int
    logical: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Enum:
    """One of the symbols; `default` stands for symbols a reader does not know."""

    name: str
    symbols: tuple[str, ...]
    default: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of items."""

    items: "Type"


@dataclass(frozen=True, slots=True)
class Map:
    """Strings to values."""

    values: "Type"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record; `default` is JSON as written in the schema, or MISSING.

    `attributes` is all that stands at the field in the schema; equality does not look at it.
    """

    name: str
    type: "Type"
    default: Any = MISSING
    aliases: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """Fields in the order they are written."""

    name: str
    fields: tuple[Field, ...]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Union:
    """One of the branches."""

    branches: tuple["Type", ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A record inside itself."""

    name: str


Leaf: TypeAlias = Primitive | Decimal | Fixed | Enum
Type: TypeAlias = Leaf | Array | Map | Record | Union | Reference

NULL: Final = Primitive("null")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and at which path of field names it is."""

    path: str
    message: str
    code: str = "BAD_SCHEMA"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def optional(type_: Type) -> Type | None:
    """T of a union [null, T] or [T, null]; None for everything else."""
    if isinstance(type_, Union) and len(type_.branches) == 2 and NULL in type_.branches:  # noqa: PLR2004 - null and T
        return type_.branches[1 - type_.branches.index(NULL)]
    return None


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shapes(Generic[T]):
    """What to make of each kind of type on the way up through a tree."""

    leaf: Callable[[Leaf], T]
    array: Callable[[T], T]
    map: Callable[[T], T]
    record: Callable[[Sequence[tuple[str, T]]], T]


def fold(type_: Type, shapes: Shapes[T]) -> T:
    """Translate a tree that has column types; [null, T] counts as T.

    Raises TypeError for other unions and for recursion.
    """
    match type_:
        case Array(items):
            return shapes.array(fold(items, shapes))
        case Map(values):
            return shapes.map(fold(values, shapes))
        case Record(fields=fields):
            return shapes.record([(each.name, fold(each.type, shapes)) for each in fields])
        case Union() | Reference():
            if (inner := optional(type_)) is None:
                message = "unions beyond [null, T] and recursion have no column type"
                raise TypeError(message)
            return fold(inner, shapes)
        case _:
            return shapes.leaf(type_)


def children(type_: Type) -> Iterator[tuple[str, Type]]:
    """The types directly inside a type, each with its step of a path; null in a union is none."""
    match type_:
        case Array(items):
            yield "[]", items
        case Map(values):
            yield "{}", values
        case Record():
            for each in type_.fields:
                yield f".{each.name}", each.type
        case Union(branches):
            yield from (("", branch) for branch in branches if branch != NULL)
        case Primitive() | Decimal() | Fixed() | Enum() | Reference():
            return


def descend(type_: Type, path: str = "") -> Iterator[tuple[str, Type]]:
    """A type and everything inside it, each with its path, outermost first."""
    yield path.lstrip("."), type_
    for step, child in children(type_):
        yield from descend(child, path + step)
