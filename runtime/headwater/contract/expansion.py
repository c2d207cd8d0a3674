"""How much larger than its bytes a record may become in memory, known from its schema alone.

A byte of a collection may stand for a null record of many fields: a slot in each of its columns.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from headwater.contract.tree import (
    NULL,
    Array,
    Decimal,
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

MAX_SLOTS: Final = 4 * 2**20
"""In memory at one time; what one record may have at most.

A slot is a number, or an empty text, in the columns before and behind the flow: 35 bytes, 150 MB in
all. A record of a megabyte, the largest that is read, has one a byte in any honest schema.
"""
WIDTHS: Final = {"null": 0, "float": 4, "double": 8}  # bytes; of the other primitives at least one


@dataclass(frozen=True, slots=True)
class Expansion:
    """The slots of a record in columns: `per_record`, and at most `per_byte` more."""

    per_record: int
    per_byte: float

    def bounds(self, records: int, size: int) -> bool:
        """Whether records of so many bytes have at most `MAX_SLOTS`, whatever they hold."""
        return self.per_record * records + self.per_byte * size <= MAX_SLOTS

    def pieces(self, values: Sequence[bytes | None]) -> Sequence[Sequence[int]]:
        """The places of the values in runs of at most `MAX_SLOTS`, or of one value."""
        if self.bounds(len(values), size_of(values)):
            return [range(len(values))]
        ends = list(
            accumulate(self.per_record + self.per_byte * len(value or b"") for value in values)
        )
        runs: list[Sequence[int]] = []
        start, passed = 0, 0.0
        while start < len(values):
            end = max(start + 1, bisect_right(ends, passed + MAX_SLOTS))
            runs.append(range(start, end))
            start, passed = end, ends[end - 1]
        return runs


def size_of(values: Sequence[bytes | None]) -> int:
    """The bytes of all values."""
    return sum(map(len, filter(None, values)))


def expansion(schema: Type) -> Expansion:
    """How records of a schema expand."""
    inside = (_per_byte(type_) for _, type_ in descend(schema) if isinstance(type_, Array | Map))
    return Expansion(_outside(schema), max(inside, default=1.0))


def largest(expansions: Iterable[Expansion]) -> Expansion:
    """What records of any of these expand to at most."""
    every = list(expansions)
    return Expansion(max(e.per_record for e in every), max(e.per_byte for e in every))


def slots(type_: Type) -> int:
    """In how many columns a null of this type takes a slot."""
    return sum(not isinstance(each, Record | Union) for _, each in descend(type_)) or 1


def _outside(type_: Type) -> int:
    """The slots of a record besides those inside its collections."""
    match type_:
        case Record(fields=fields):
            return sum(_outside(each.type) for each in fields)
        case Union(branches):
            return sum(_outside(each) for each in branches if each != NULL)
        case _:
            return 1


def _per_byte(type_: Type) -> float:
    """The most slots for a byte of a type inside a collection, the collection's own included.

    Items, and records among them, count for themselves, as in the strict walk. A sum over parts
    is never worse a byte than its worst part; what the whole adds is shared by the bytes of all.
    """
    match type_:
        case Array(items=item) | Map(values=item):
            return _per_byte(item) + 1 / max(1, _least(item))
        case Record(fields=fields):
            worst = max((_per_byte(each.type) for each in fields), default=1.0)
            return worst + 1 / max(1, _least(type_))
        case Union(branches):
            inner = optional(type_)
            null = 1 if inner is None else slots(inner)  # takes a byte, as the index of its branch
            return max(null, *(_per_byte(each) for each in branches))
        case _:
            return 1.0


def _least(type_: Type) -> int:
    """The bytes a value of a type takes at least."""
    match type_:
        case Record(fields=fields):
            return sum(_least(each.type) for each in fields)
        case Primitive(kind):
            return WIDTHS.get(kind, 1)
        case Fixed(size=size) | Decimal(size=size):
            return 1 if size is None else size
        case Reference():
            return 0
        case _:
            return 1
