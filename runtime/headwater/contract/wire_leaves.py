"""Plain Avro values, read strictly from one body; a cursor says how far. See `wire`."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from headwater.contract.expansion import MAX_SLOTS
from headwater.contract.tree import Decimal, Enum, Fixed, Leaf, Primitive
from headwater.model import Code

MAX_VARINT: Final = 10  # bytes of 64 bits, seven at a time
SHIFTS: Final = range(7, 7 * MAX_VARINT, 7)  # bits, of the bytes behind the first
LARGE: Final = 0x80  # a byte from here on says that the number has another one
NO_SHORT_LENGTH: Final = LARGE | 1  # bits of a first byte: more bytes, or a negative number
BEYOND: Final = "a length beyond the end of the record"
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


Reader: TypeAlias = Callable[[Cursor], Any]
"""Reads one value and gives it."""


def fail(code: Code, path: str, what: str) -> NoReturn:
    """Refuse a body for what is wrong at a place of the schema."""
    raise WireError(code, f"{path.lstrip('.')}: {what}" if path else what)


def number(cursor: Cursor, path: str) -> int:
    """A zigzag varint of at most 64 bits."""
    body, position = cursor.body, cursor.position
    try:
        byte = body[position]
        if byte < LARGE:  # branches, lengths of texts: most numbers are one byte
            cursor.position = position + 1
            return (byte >> 1) ^ -(byte & 1)
        result = byte & 0x7F
        for shift in SHIFTS:
            position += 1
            byte = body[position]
            result |= (byte & 0x7F) << shift
            if byte < LARGE:
                if result >> LONG_BITS:
                    fail(Code.AVRO_VARINT, path, "a number of more than 64 bits")
                cursor.position = position + 1
                return (result >> 1) ^ -(result & 1)
    except IndexError:
        fail(Code.AVRO_LENGTH, path, "the record ends inside a number")
    fail(Code.AVRO_VARINT, path, f"a number of more than {MAX_VARINT} bytes")


def advance(cursor: Cursor, count: int, path: str) -> int:
    """Pass `count` bytes; returns where they begin."""
    start = cursor.position
    if count < 0:
        fail(Code.AVRO_INDEX, path, "a negative length")
    if count > cursor.end - start:
        fail(Code.AVRO_LENGTH, path, BEYOND)
    cursor.position = start + count
    return start


def _sized(cursor: Cursor, path: str) -> bytes:
    """Bytes behind their length."""
    body, position = cursor.body, cursor.position
    start = position + 1
    if start <= cursor.end and not (length := body[position]) & NO_SHORT_LENGTH:
        end = start + (length >> 1)
        if end <= cursor.end:
            cursor.position = end
            return body[start:end]
    start = advance(cursor, number(cursor, path), path)
    return body[start : cursor.position]


def spend(cursor: Cursor, elements: int, path: str) -> None:
    """Count elements that take a byte each, or stand for one."""
    cursor.elements -= elements
    if cursor.elements < 0:
        fail(Code.AVRO_BUDGET, path, "more elements than a record of this length may hold")


def spend_empty(cursor: Cursor, elements: int, path: str) -> None:
    """Count elements that take no byte."""
    cursor.empty -= elements
    if cursor.empty < 0:
        fail(Code.AVRO_BUDGET, path, f"more than {MAX_EMPTY} elements that take no byte")


def leaf(type_: Leaf, path: str) -> Reader:
    """A plain value that takes a byte at least."""
    match type_:
        case Primitive(kind):
            return _PRIMITIVES[kind](path)
        case Decimal() | Fixed():
            return _bytes_at(path) if type_.size is None else _bytes_of(type_.size, path)
        case Enum(symbols=symbols):
            return _symbol(symbols, path)


def _symbol(symbols: Sequence[str], path: str) -> Reader:
    def read(cursor: Cursor) -> str:
        index = number(cursor, path)
        if not 0 <= index < len(symbols):
            fail(Code.AVRO_INDEX, path, f"a symbol beyond the {len(symbols)} of the enum")
        return symbols[index]

    return read


def constant(value: Any, path: str, *, counted: bool) -> Reader:
    """The one value of a type that takes no byte.

    It is counted where it may stand any number of times in a record.
    """
    if not counted:
        return lambda _cursor: value

    def read(cursor: Cursor) -> Any:
        spend(cursor, 1, path)
        return value

    return read


def _bytes_of(size: int, path: str) -> Reader:
    def read(cursor: Cursor) -> bytes:
        start = advance(cursor, size, path)
        return cursor.body[start : cursor.position]

    return read


def _float(form: str, path: str) -> Reader:
    wire = struct.Struct(form)
    size, unpack_from = wire.size, wire.unpack_from

    def read(cursor: Cursor) -> float:
        start = cursor.position
        cursor.position = start + size
        try:
            value: float = unpack_from(cursor.body, start)[0]
        except struct.error:
            fail(Code.AVRO_LENGTH, path, BEYOND)
        return value

    return read


def _long_at(path: str) -> Reader:
    return lambda cursor: number(cursor, path)


def _int_at(path: str) -> Reader:
    def read(cursor: Cursor) -> int:
        value = number(cursor, path)
        if not -INT_MAX - 1 <= value <= INT_MAX:
            fail(Code.AVRO_RANGE, path, "an int beyond 32 bits")
        return value

    return read


def _boolean_at(path: str) -> Reader:
    def read(cursor: Cursor) -> bool:
        byte = cursor.body[advance(cursor, 1, path)]
        if byte > 1:
            fail(Code.AVRO_RANGE, path, "a boolean other than 0 and 1")
        return byte == 1

    return read


def _bytes_at(path: str) -> Reader:
    return lambda cursor: _sized(cursor, path)


def text(path: str) -> Reader:
    """A text of UTF-8."""

    def read(cursor: Cursor) -> str:
        try:
            return _sized(cursor, path).decode()
        except UnicodeDecodeError:
            fail(Code.BAD_UTF8, path, "a text that is not UTF-8")

    return read


_PRIMITIVES: Final[dict[str, Callable[[str], Reader]]] = {
    "boolean": _boolean_at,
    "int": _int_at,
    "long": _long_at,
    "float": lambda path: _float("<f", path),
    "double": lambda path: _float("<d", path),
    "bytes": _bytes_at,
    "string": text,
}
