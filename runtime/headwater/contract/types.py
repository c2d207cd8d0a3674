"""Avro types as column types: Polars, plain Arrow (what Delta stores), Kafka keys. docs/types.md.

Knows no data: only types in, types out.
"""

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias, assert_never

import polars as pl
import pyarrow as pa

from headwater.contract.tree import (
    Decimal,
    Enum,
    Fixed,
    Leaf,
    Mistake,
    Primitive,
    Record,
    Reference,
    Shapes,
    Type,
    Union,
    descend,
    fold,
    optional,
)

ROW: Final = "_row"
"""The column beside the contract's that leads a row back to its place in the batch."""
ROW_TYPE: Final = pl.UInt32()

MAX_PRECISION: Final = 38  # digits of Arrow's, Polars' and Delta's 128-bit decimal

KeyEncoding: TypeAlias = Literal["utf8", "int", "long"]

_POLARS: Final[dict[tuple[str, str | None], pl.DataType]] = {
    ("boolean", None): pl.Boolean(),
    ("int", None): pl.Int32(),
    ("int", "date"): pl.Date(),
    ("int", "time-millis"): pl.Time(),
    ("long", None): pl.Int64(),
    ("long", "time-micros"): pl.Time(),
    ("long", "timestamp-millis"): pl.Datetime("ms", "UTC"),
    ("long", "timestamp-micros"): pl.Datetime("us", "UTC"),
    ("long", "timestamp-nanos"): pl.Datetime("ns", "UTC"),
    ("long", "local-timestamp-millis"): pl.Datetime("ms"),
    ("long", "local-timestamp-micros"): pl.Datetime("us"),
    ("long", "local-timestamp-nanos"): pl.Datetime("ns"),
    ("float", None): pl.Float32(),
    ("double", None): pl.Float64(),
    ("bytes", None): pl.Binary(),
    ("string", None): pl.String(),
    ("string", "uuid"): pl.String(),
}

_ARROW: Final[dict[tuple[str, str | None], pa.DataType]] = {
    ("boolean", None): pa.bool_(),
    ("int", None): pa.int32(),
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.int64(),
    ("long", None): pa.int64(),
    ("long", "time-micros"): pa.int64(),
    ("long", "timestamp-millis"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.int64(),
    ("long", "local-timestamp-millis"): pa.timestamp("us"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.int64(),
    ("float", None): pa.float32(),
    ("double", None): pa.float64(),
    ("bytes", None): pa.binary(),
    ("string", None): pa.string(),
    ("string", "uuid"): pa.string(),
}

_KEYS: Final[dict[str, KeyEncoding]] = {"string": "utf8", "int": "int", "long": "long"}


def column_mistakes(record: Type) -> Iterator[Mistake]:
    """Everything inside a record that has no column type, with its path."""
    for path, type_ in descend(record):
        if (reason := _refused(type_)) is not None:
            yield Mistake(path, reason, "UNSUPPORTED_TYPE")


def _refused(type_: Type) -> str | None:
    """Why a type, looked at alone, has no column type; None when it has one."""
    reason: str | None = None
    match type_:
        case Union() if optional(type_) is None:
            reason = "a union other than [null, T]"
        case Reference(name):
            reason = f"{name}, which contains itself,"
        case Record(fields=()):
            reason = "a record without fields"
        case Fixed(size=0):
            reason = "a fixed of no bytes"
        case Decimal(precision) if precision > MAX_PRECISION:
            reason = f"a decimal of more than {MAX_PRECISION} digits"
        case Primitive("null"):
            reason = "null alone"
        case _:
            return None
    return f"{reason} has no column type"


def polars_type(type_: Type) -> pl.DataType:
    """The Polars type of an Avro type that has one (see `column_mistakes`)."""
    return fold(type_, _POLARS_SHAPES)


def arrow_type(type_: Type) -> pa.DataType:
    """The plain Arrow type Delta stores. Fields are all nullable: a later version may ask."""
    return fold(type_, _ARROW_SHAPES)


def _polars_leaf(type_: Leaf) -> pl.DataType:
    match type_:
        case Primitive(kind, logical):
            return _POLARS[kind, logical]
        case Decimal(precision, scale):
            return pl.Decimal(precision, scale)
        case Fixed(logical=logical):
            return pl.String() if logical == "uuid" else pl.Binary()
        case Enum(symbols=symbols):
            return pl.Enum(symbols)
        case _:
            assert_never(type_)


def _arrow_leaf(type_: Leaf) -> pa.DataType:
    match type_:
        case Primitive(kind, logical):
            return _ARROW[kind, logical]
        case Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        case Fixed(logical=logical):
            return pa.string() if logical == "uuid" else pa.binary()
        case Enum():
            return pa.string()
        case _:
            assert_never(type_)


_POLARS_SHAPES: Final[Shapes[pl.DataType]] = Shapes(
    leaf=_polars_leaf,
    array=pl.List,
    map=lambda values: pl.List(pl.Struct({"key": pl.String(), "value": values})),
    record=lambda fields: pl.Struct(dict(fields)),
)
_ARROW_SHAPES: Final[Shapes[pa.DataType]] = Shapes(
    leaf=_arrow_leaf,
    array=pa.list_,
    map=lambda values: pa.map_(pa.string(), values),
    record=pa.struct,
)


def key_encoding(type_: Type) -> KeyEncoding | None:
    """How Kafka's own serializers write a key of this type; None when they cannot.

    utf8: the text's UTF-8 bytes; int, long: 4 or 8 bytes, big-endian, two's complement.
    """
    match type_:
        case Primitive(kind):
            return _KEYS.get(kind)
        case Enum() | Fixed(logical="uuid"):
            return "utf8"
        case _:
            return None


def composite_part(type_: Type) -> bool:
    """Whether a field can be part of a key of several fields: a plain value that is never null.

    Floating point is out: -0.0 and NaN have more than one encoding, and a key must have one.
    """
    match type_:
        case Primitive(kind):
            return kind not in {"null", "float", "double"}
        case Decimal() | Fixed() | Enum():
            return True
        case _:
            return False
