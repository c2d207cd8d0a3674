"""The strict reading of one Avro body: every byte is what the schema says, and none is left over.

Compiled once per schema into nested functions, which give physical values: a dict for a record, a
list for an array, a text for a symbol. Bytes are walked once: to find them sound first, and leave
the values to fastavro, which crashes on deep nesting and takes negative indexes, cost twice as
much. The price: a body that is refused late was built up to there. The budget of elements bounds
that, as it bounds what the largest sound body takes.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from headwater.contract.expansion import slots
from headwater.contract.parser import MAX_DEPTH
from headwater.contract.tree import (
    NULL,
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
from headwater.contract.wire_leaves import (
    LARGE,
    Cursor,
    Reader,
    advance,
    constant,
    fail,
    leaf,
    number,
    spend,
    spend_empty,
    text,
)
from headwater.model import Code


def compile_reader(record: Record) -> Callable[[bytes, int], tuple[dict[str, Any], int]]:
    """A function (body, start) that gives the fields of the one record that a body holds.

    And how many elements that has. It raises WireError unless the body holds exactly one.
    """
    read = _Compiler(record).read(record, "", repeated=False)

    def read_whole(body: bytes, start: int) -> tuple[dict[str, Any], int]:
        cursor = Cursor(body, start)
        elements = cursor.elements + cursor.empty
        fields = read(cursor)
        if cursor.position != cursor.end:
            fail(Code.TRAILING_BYTES, "", f"{cursor.end - cursor.position} bytes follow the datum")
        return fields, elements - cursor.elements - cursor.empty

    return read_whole


def _empties(type_: Type) -> int | None:
    """How many values are in each value of a type that takes no byte; None when it takes some."""
    match type_:
        case Primitive("null") | Fixed(size=0):
            return 1
        case Record(fields=fields):
            found = [_empties(each.type) for each in fields]
            return None if None in found else 1 + sum(filter(None, found))
        case _:
            return None


def _empty(type_: Type) -> Any:
    """The one value of a type that takes no byte."""
    match type_:
        case Record(fields=fields):
            return {each.name: _empty(each.type) for each in fields}
        case Fixed():
            return b""
        case _:
            return None


def _contains_itself(record: Record) -> bool:
    return any(each == Reference(record.name) for _, each in descend(record))


class _Compiler:
    """Knows the readers of the records it is inside of, for references back to them."""

    def __init__(self, schema: Type) -> None:
        self.records: dict[str, Reader] = {}
        # only a schema that contains itself can nest deeper than the parser allows
        self.counts_depth = any(isinstance(each, Reference) for _, each in descend(schema))

    def deeper(self, inner: Reader, path: str) -> Reader:
        return _deeper(inner, path) if self.counts_depth else inner

    def read(self, type_: Type, path: str, *, repeated: bool) -> Reader:
        match type_:
            case Primitive("null") | Fixed(size=0):
                return constant(_empty(type_), path, counted=repeated)
            case Primitive() | Decimal() | Fixed() | Enum():
                return leaf(type_, path)
            case Reference(name):
                return self.records[name]
            case _:
                return self.nested(type_, path, repeated=repeated)

    def nested(self, type_: Any, path: str, *, repeated: bool) -> Reader:
        match type_:
            case Array(items):
                item = self.read(items, path + "[]", repeated=True)
                block = _items(item, items, path)
                return self.deeper(_blocks(block, path), path)
            case Map(values):
                key = text(path + "{}")
                value = self.read(values, path + "{}", repeated=True)
                entries = _blocks(_some(_both(key, value), path), path)
                return self.deeper(_by_key(entries), path)
            case Record():
                return self.record(type_, path, repeated=repeated)
            case _:
                return self.union(type_, path, repeated=repeated)

    def record(self, record: Record, path: str, *, repeated: bool) -> Reader:
        fields: list[tuple[str, Reader]] = []
        repeated |= _contains_itself(record)

        def read(cursor: Cursor) -> dict[str, Any]:
            if repeated:
                spend(cursor, 1, path)
            return {name: field(cursor) for name, field in fields}

        outer = self.records.get(record.name)
        self.records[record.name] = self.deeper(read, path)
        reader = self.records[record.name]
        fields.extend(
            (each.name, self.read(each.type, f"{path}.{each.name}", repeated=repeated))
            for each in record.fields
        )
        if outer is not None:
            self.records[record.name] = outer
        return reader

    def union(self, union: Union, path: str, *, repeated: bool) -> Reader:
        # the null of a union takes a byte, its index
        branches = [
            self.read(each, path, repeated=repeated and each != NULL) for each in union.branches
        ]
        inner = optional(union)
        if repeated and isinstance(inner, Record):
            branches[union.branches.index(NULL)] = _null_of(slots(inner), path)
        return _branch(branches, path)


def _deeper(inner: Reader, path: str) -> Reader:
    def read(cursor: Cursor) -> Any:
        cursor.depth += 1
        if cursor.depth > MAX_DEPTH:
            fail(Code.AVRO_DEPTH, path, f"values nest deeper than {MAX_DEPTH}")
        value = inner(cursor)
        cursor.depth -= 1
        return value

    return read


def _null_of(width: int, path: str) -> Reader:
    """A null that stands in so many columns."""

    def read(cursor: Cursor) -> None:
        spend(cursor, width, path)

    return read


def _branch(branches: Sequence[Reader], path: str) -> Reader:
    """One of the branches, as its index says."""
    # The index is mostly one byte, twice its number: then no number is made of it.
    by_byte = {2 * index: each for index, each in enumerate(branches[: LARGE // 2])}

    def read(cursor: Cursor) -> Any:
        position = cursor.position
        if position < cursor.end and (found := by_byte.get(cursor.body[position])) is not None:
            cursor.position = position + 1
            return found(cursor)
        index = number(cursor, path)
        if not 0 <= index < len(branches):
            fail(Code.AVRO_INDEX, path, f"a branch beyond the {len(branches)} of the union")
        return branches[index](cursor)

    return read


def _both(first: Reader, second: Reader) -> Reader:
    return lambda cursor: (first(cursor), second(cursor))


def _by_key(entries: Reader) -> Reader:
    return lambda cursor: dict(entries(cursor))


Block: TypeAlias = Callable[[Cursor, int], list[Any]]
"""Reads as many items."""


def _items(item: Reader, type_: Type, path: str) -> Block:
    """The items of an array. Those that take no byte are counted, and there is nothing to read."""
    empties = _empties(type_)
    if empties is None:
        return _some(item, path)
    value = _empty(type_)

    def count_items(cursor: Cursor, count: int) -> list[Any]:
        spend_empty(cursor, count * empties, path)
        return [value] * count

    return count_items


def _some(item: Reader, path: str) -> Block:
    """Items that take a byte at least."""

    def read(cursor: Cursor, count: int) -> list[Any]:
        spend(cursor, count, path)
        return [item(cursor) for _ in range(count)]

    return read


def _blocks(block: Block, path: str) -> Reader:
    def read(cursor: Cursor) -> list[Any]:
        items: list[Any] = []
        while (count := number(cursor, path)) != 0:
            end = None
            if count < 0:  # a block that says its size in bytes, for readers that skip
                count = -count
                size = number(cursor, path)
                end = advance(cursor, size, path) + size
                cursor.position = end - size
            items += block(cursor, count)
            if end is not None and cursor.position != end:
                fail(Code.AVRO_LENGTH, path, "a block of another size than it says")
        return items

    return read
