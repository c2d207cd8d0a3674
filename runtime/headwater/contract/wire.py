"""The strict reading of one Avro body: every byte is what the schema says, and none is left over.

Compiled once per schema into nested functions. Builds no values; fastavro does, afterwards, from
bytes that were found sound. It crashes on deep nesting and takes negative indexes, so it must never
see bytes that were not.
"""

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias

from headwater.contract.expansion import MAX_SLOTS, slots
from headwater.contract.parser import MAX_DEPTH
from headwater.contract.tree import (
    NULL,
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
    optional,
)
from headwater.model import Code

MAX_VARINT: Final = 10  # bytes of 64 bits, seven at a time
INT_MAX: Final = (1 << 31) - 1
LONG_BITS: Final = 64
BUDGET_BASE: Final = 256  # elements any record may have, however short
BUDGET_PER_BYTE: Final = 64  # and so many more a byte: an honest element takes at least one byte
MAX_EMPTY: Final = 4_096  # elements that take no byte: no number of bytes vouches for them


class WireError(Exception):
    """A body is not what its schema says. The message names the place, never the content."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cursor:
    """One body while it is read: the bytes, how far, and what is left of depth and elements."""

    __slots__ = ("body", "depth", "elements", "empty", "end", "position")

    def __init__(self, body: bytes, start: int) -> None:
        self.body = body
        self.position = start
        self.end = len(body)
        self.depth = 0
        self.elements = BUDGET_BASE + min(BUDGET_PER_BYTE * (len(body) - start), MAX_SLOTS)
        self.empty = MAX_EMPTY


Reader: TypeAlias = Callable[[Cursor], None]


def compile_reader(schema: Type) -> Callable[[bytes, int], int]:
    """A function (body, start) that raises WireError unless the body holds exactly one datum.

    It returns how many elements that has.
    """
    read = _Compiler(schema).read(schema, "", repeated=False)

    def check(body: bytes, start: int) -> int:
        cursor = Cursor(body, start)
        elements = cursor.elements + cursor.empty
        read(cursor)
        if cursor.position != cursor.end:
            _fail(Code.TRAILING_BYTES, "", f"{cursor.end - cursor.position} bytes follow the datum")
        return elements - cursor.elements - cursor.empty

    return check


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


def _contains_itself(record: Record) -> bool:
    return any(each == Reference(record.name) for _, each in descend(record))


def _fail(code: Code, path: str, what: str) -> NoReturn:
    raise WireError(code, f"{path.lstrip('.')}: {what}" if path else what)


def _long(cursor: Cursor, path: str) -> int:
    """A zigzag varint of at most 64 bits."""
    body, position = cursor.body, cursor.position
    if position < cursor.end and (byte := body[position]) < 0x80:  # noqa: PLR2004 - see below
        cursor.position = position + 1  # branches, lengths of texts: most numbers are one byte
        return (byte >> 1) ^ -(byte & 1)
    result = shift = 0
    for _ in range(MAX_VARINT):
        if position >= cursor.end:
            _fail(Code.AVRO_LENGTH, path, "the record ends inside a number")
        byte = body[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more bytes follow
            if result >> LONG_BITS:
                _fail(Code.AVRO_VARINT, path, "a number of more than 64 bits")
            cursor.position = position
            return (result >> 1) ^ -(result & 1)
        shift += 7
    _fail(Code.AVRO_VARINT, path, f"a number of more than {MAX_VARINT} bytes")


def _advance(cursor: Cursor, count: int, path: str) -> int:
    """Pass `count` bytes; returns where they begin."""
    start = cursor.position
    if count < 0:
        _fail(Code.AVRO_INDEX, path, "a negative length")
    if count > cursor.end - start:
        _fail(Code.AVRO_LENGTH, path, "a length beyond the end of the record")
    cursor.position = start + count
    return start


def _spend(cursor: Cursor, elements: int, path: str) -> None:
    cursor.elements -= elements
    if cursor.elements < 0:
        _fail(Code.AVRO_BUDGET, path, "more elements than a record of this length may hold")


def _spend_empty(cursor: Cursor, elements: int, path: str) -> None:
    cursor.empty -= elements
    if cursor.empty < 0:
        _fail(Code.AVRO_BUDGET, path, f"more than {MAX_EMPTY} elements that take no byte")


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
                return _nothing_at(path, counted=repeated)
            case Primitive() | Decimal() | Fixed() | Enum():
                return _leaf(type_, path)
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
                key = _string_at(path + "{}")
                value = self.read(values, path + "{}", repeated=True)
                block = _some(_both(key, value), path)
                return self.deeper(_blocks(block, path), path)
            case Record():
                return self.record(type_, path, repeated=repeated)
            case _:
                return self.union(type_, path, repeated=repeated)

    def record(self, record: Record, path: str, *, repeated: bool) -> Reader:
        fields: list[Reader] = []
        repeated |= _contains_itself(record)

        def read(cursor: Cursor) -> None:
            if repeated:
                _spend(cursor, 1, path)
            for field in fields:
                field(cursor)

        outer = self.records.get(record.name)
        self.records[record.name] = self.deeper(read, path)
        reader = self.records[record.name]
        fields.extend(
            self.read(each.type, f"{path}.{each.name}", repeated=repeated) for each in record.fields
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
        width = slots(inner) if repeated and isinstance(inner, Record) else 0
        nothing = union.branches.index(NULL) if NULL in union.branches else -1

        def read(cursor: Cursor) -> None:
            index = _long(cursor, path)
            if not 0 <= index < len(branches):
                _fail(Code.AVRO_INDEX, path, f"a branch beyond the {len(branches)} of the union")
            if width and index == nothing:
                _spend(cursor, width, path)
            branches[index](cursor)

        return read


def _leaf(leaf: Leaf, path: str) -> Reader:
    match leaf:
        case Primitive(kind):
            return _PRIMITIVES[kind](path)
        case Decimal() | Fixed():
            return _bytes_at(path) if leaf.size is None else _bytes_of(leaf.size, path)
        case Enum(symbols=symbols):
            return _index(len(symbols), path)


def _deeper(inner: Reader, path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        cursor.depth += 1
        if cursor.depth > MAX_DEPTH:
            _fail(Code.AVRO_DEPTH, path, f"values nest deeper than {MAX_DEPTH}")
        inner(cursor)
        cursor.depth -= 1

    return read


def _both(first: Reader, second: Reader) -> Reader:
    def read(cursor: Cursor) -> None:
        first(cursor)
        second(cursor)

    return read


Block: TypeAlias = Callable[[Cursor, int], None]
"""Reads as many items."""


def _items(item: Reader, type_: Type, path: str) -> Block:
    """The items of an array. Those that take no byte are counted, and there is nothing to read."""
    empties = _empties(type_)
    if empties is None:
        return _some(item, path)

    def count_items(cursor: Cursor, count: int) -> None:
        _spend_empty(cursor, count * empties, path)

    return count_items


def _some(item: Reader, path: str) -> Block:
    """Items that take a byte at least."""

    def read(cursor: Cursor, count: int) -> None:
        _spend(cursor, count, path)
        for _ in range(count):
            item(cursor)

    return read


def _blocks(block: Block, path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        while (count := _long(cursor, path)) != 0:
            end = None
            if count < 0:  # a block that says its size in bytes, for readers that skip
                count = -count
                size = _long(cursor, path)
                end = _advance(cursor, size, path) + size
                cursor.position = end - size
            block(cursor, count)
            if end is not None and cursor.position != end:
                _fail(Code.AVRO_LENGTH, path, "a block of another size than it says")

    return read


def _index(count: int, path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        if not 0 <= _long(cursor, path) < count:
            _fail(Code.AVRO_INDEX, path, f"a symbol beyond the {count} of the enum")

    return read


def _nothing_at(path: str, *, counted: bool) -> Reader:
    """Takes no byte; counted where it may stand any number of times in a record."""

    def read(cursor: Cursor) -> None:
        if counted:
            _spend(cursor, 1, path)

    return read


def _bytes_of(size: int, path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        _advance(cursor, size, path)

    return read


def _long_at(path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        _long(cursor, path)

    return read


def _int_at(path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        if not -INT_MAX - 1 <= _long(cursor, path) <= INT_MAX:
            _fail(Code.AVRO_RANGE, path, "an int beyond 32 bits")

    return read


def _boolean_at(path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        if cursor.body[_advance(cursor, 1, path)] > 1:
            _fail(Code.AVRO_RANGE, path, "a boolean other than 0 and 1")

    return read


def _bytes_at(path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        _advance(cursor, _long(cursor, path), path)

    return read


def _string_at(path: str) -> Reader:
    def read(cursor: Cursor) -> None:
        start = _advance(cursor, _long(cursor, path), path)
        try:
            cursor.body[start : cursor.position].decode()
        except UnicodeDecodeError:
            _fail(Code.BAD_UTF8, path, "a text that is not UTF-8")

    return read


_PRIMITIVES: Final[dict[str, Callable[[str], Reader]]] = {
    "boolean": _boolean_at,
    "int": _int_at,
    "long": _long_at,
    "float": lambda path: _bytes_of(4, path),
    "double": lambda path: _bytes_of(8, path),
    "bytes": _bytes_at,
    "string": _string_at,
}
