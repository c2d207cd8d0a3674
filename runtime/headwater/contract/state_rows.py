"""Rows of a state store <-> bytes. What a store holds of a key is one such value.

A value is framed like one of the log: a byte of format version (0), four bytes that name what it
is, and an Avro record without logical types, every field nullable. It is named because Avro is not:
bytes of other columns would be read as these, and be nonsense nobody notices. So would those of
columns of the same names that stand under other keys, or that mean something else.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa

from headwater.contract.arrays import Faults, Place
from headwater.contract.columnar import ColumnarCodec
from headwater.contract.expansion import expansion, size_of
from headwater.contract.framing import FRAME_BYTES, ID_BYTES, MAGIC
from headwater.contract.leaves import physical_type
from headwater.contract.rows import RowDecoder, RowEncoder
from headwater.contract.tables import Rebuild, as_frame, exported
from headwater.contract.tree import NULL, Array, Field, Leaf, Primitive, Record, Type, Union
from headwater.contract.wire_leaves import WireError
from headwater.errors import DeclarationError, Problem, RebuildError, StartRefusedError

_AVRO_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # Avro 1.12, "Names"
_PRIMITIVES: Final[Mapping[pl.DataType, str]] = {
    pl.Boolean(): "boolean",
    pl.Int32(): "int",
    pl.Int64(): "long",
    pl.Float32(): "float",
    pl.Float64(): "double",
    pl.String(): "string",
    pl.Binary(): "bytes",
}
_WIDENED: Final[Mapping[pl.DataType, pl.DataType]] = {
    pl.Int8(): pl.Int32(),
    pl.Int16(): pl.Int32(),
    pl.UInt8(): pl.Int32(),
    pl.UInt16(): pl.Int32(),
    pl.UInt32(): pl.Int64(),
    pl.UInt64(): pl.String(),  # beyond a long, and seldom: not worth a case of its own
    pl.Int128(): pl.String(),  # beyond any number of Avro: exact sums
    pl.Date(): pl.Int32(),
    pl.Time(): pl.Int64(),
}


class StateRows:
    """Encodes and decodes the rows of one store; `columns` are its names and types, at least one.

    `keys` are the columns that rows are stored under, `meaning` is what else of the declaration a
    row depends on, texts and numbers, as the size of its window: values can be read where all of
    it is the same.
    Takes every type a contract can have, integers of any width, durations, and lists and structs
    of them. All go through the columnar codec, but for Binary inside a list or struct.
    Raises DeclarationError (STATE_COLUMN) for a type or a name that has no Avro form.
    """

    def __init__(
        self,
        columns: Mapping[str, pl.DataType],
        *,
        keys: Mapping[str, pl.DataType] | None = None,
        meaning: Mapping[str, object] | None = None,
    ) -> None:
        self.columns = pl.Schema(columns)
        if problems := _problems(self.columns):
            raise DeclarationError([Problem("STATE_COLUMN", each) for each in problems])
        # Bytes make the columnar codec panic, and row by row they cost eighty times as much.
        self._binary = [name for name, kind in self.columns.items() if kind == pl.Binary()]
        self._stored = pl.Schema(
            {
                name: pl.String() if name in self._binary else _stored(kind)
                for name, kind in self.columns.items()
            }
        )
        self._fields = tuple(Field(name, _avro(kind)) for name, kind in self._stored.items())
        record = Record("state", self._fields)
        words: Any = _named(self.columns)
        if keys is not None or meaning is not None:
            words = [words, _named(keys or {}), dict(meaning or {})]
        self._frame = MAGIC + zlib.crc32(json.dumps(words).encode()).to_bytes(ID_BYTES, "big")
        self._read, self._write = _codec(record, self._frame)
        self._rebuild = Rebuild(_physical, maps=False, strict=False)

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One value per row. The frame has these columns, in any order, and may have others.

        Raises TypeError when a column is missing or of another type.
        """
        given = frame.select(name for name in self.columns if name in frame)
        if given.schema != self.columns:
            message = f"a store of {self.columns} was given {frame.schema}"
            raise TypeError(message)
        if not frame.height:
            return []
        texts = given.with_columns(pl.col(name).bin.encode("base64") for name in self._binary)
        stored = texts.cast(self._stored)
        arrays = [
            self._rebuild.apply(exported(stored[each.name]), each.type, Place(each.name))
            for each in self._fields
        ]
        return self._write(arrays)

    def decode(self, values: Sequence[bytes]) -> pl.DataFrame:
        """The rows of values that `encode` made, in order.

        Raises StartRefusedError for values of a later release (STATE_FORMAT) or of another
        declaration (STATE_COLUMNS), RebuildError for any other bytes.
        """
        if not values:
            return self.columns.to_frame()
        arrays = self._read(values)
        if arrays is None:
            raise self._unreadable(values)
        table = pa.Table.from_arrays(arrays, names=self.columns.names())
        try:
            texts = as_frame(table, self._stored)
            binary = (pl.col(name).str.decode("base64") for name in self._binary)
            return texts.with_columns(binary).cast(self.columns)
        except pl.exceptions.InvalidOperationError as error:  # a symbol the columns lost
            raise _other_columns() from error
        except pl.exceptions.ComputeError as error:  # no base64
            raise _damaged() from error

    def refuse_foreign(self, values: Sequence[bytes | None]) -> None:
        """Look at the frames of values, None among them: at a start, long before they are decoded.

        Raises StartRefusedError as `decode` does.
        """
        frames = {value[:FRAME_BYTES] for value in values if value is not None} - {self._frame}
        if frames:
            raise _later(frames) or _other_columns()

    def _unreadable(self, values: Sequence[bytes]) -> StartRefusedError | RebuildError:
        """Why some of these values cannot be read; the first cause in order of consequence."""
        if later := _later(values):
            return later
        if any(value[:FRAME_BYTES] != self._frame for value in values if len(value) > ID_BYTES):
            return _other_columns()
        return _damaged()


def _later(values: Iterable[bytes]) -> StartRefusedError | None:
    if later := max((value[0] for value in values if value), default=0):
        return StartRefusedError(
            f"The state was written by a later release (format {later}, this one reads 0); "
            "run that release, or begin anew (docs/state.md, To begin anew).",
            code="STATE_FORMAT",
        )
    return None


def _damaged() -> RebuildError:
    return RebuildError("A row of the state is damaged.")


def _other_columns() -> StartRefusedError:
    return StartRefusedError(
        "The state was kept by another declaration of the step (other columns, keys, windows or "
        "durations); declare it as it was, or begin anew (docs/state.md, To begin anew).",
        code="STATE_COLUMNS",
    )


def _codec(
    record: Record, frame: bytes
) -> tuple[Callable[[Sequence[bytes]], list[Any] | None], Callable[[Sequence[Any]], list[bytes]]]:
    """How to read and write values: by column where that is possible, else row by row."""
    if ColumnarCodec.takes(record):
        codec = ColumnarCodec(record, int.from_bytes(frame[len(MAGIC) :], "big"))

        memory = expansion(record)

        def by_column(values: Sequence[bytes]) -> list[Any] | None:
            if len(values) > 1 and not memory.bounds(len(values), size_of(values)):
                middle = len(values) // 2  # the codec takes no more at once
                halves = by_column(values[:middle]), by_column(values[middle:])
                return _joined(*halves)
            found = codec.decode(values)
            return None if found is None or found.doubtful is not None else [*found.arrays.values()]

        return by_column, codec.encode

    decoder = RowDecoder(record, record)

    def by_row(values: Sequence[bytes]) -> list[Any] | None:
        if any(value[:FRAME_BYTES] != frame for value in values):
            return None
        errors: dict[int, WireError] = {}
        parts = [columns.values() for columns, _ in decoder.decode(values, FRAME_BYTES, errors)]
        return None if errors else [pa.concat_arrays(each) for each in zip(*parts, strict=True)]

    return by_row, RowEncoder(record, frame).encode


def _joined(one: list[Any] | None, other: list[Any] | None) -> list[Any] | None:
    if one is None or other is None:
        return None
    return [
        pa.chunked_array([*_chunks(left), *_chunks(right)])
        for left, right in zip(one, other, strict=True)
    ]


def _chunks(array: Any) -> list[Any]:
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


def _physical(array: Any, type_: Leaf, _place: Place, _faults: Faults) -> Any:
    return array.cast(physical_type(type_))


def _stored(kind: pl.DataType) -> pl.DataType:
    """The type a column is cast to and back without loss: one that Avro has."""
    match kind:
        case pl.List(inner=inner):
            return pl.List(_stored(inner))  # type: ignore[arg-type]  # an instance, as in any schema
        case pl.Struct(fields=fields):
            return pl.Struct({each.name: _stored(each.dtype) for each in fields})  # type: ignore[arg-type]  # an instance
        case pl.Datetime() | pl.Duration():
            return pl.Int64()
        case pl.Decimal() | pl.Enum():
            return pl.String()
        case _:
            return _WIDENED.get(kind, kind)


def _avro(stored: pl.DataType) -> Type:
    """[null, T] of a stored type."""
    match stored:
        case pl.List(inner=inner):
            held: Type = Array(_avro(inner))  # type: ignore[arg-type]  # an instance, as in any schema
        case pl.Struct(fields=fields):
            held = Record("state", tuple(Field(each.name, _avro(each.dtype)) for each in fields))  # type: ignore[arg-type]  # an instance
        case _:
            held = Primitive(_PRIMITIVES[stored])
    return Union((NULL, held))


def _named(columns: Mapping[str, pl.DataType]) -> dict[str, Any]:
    return {name: _words(kind) for name, kind in columns.items()}


def _words(kind: pl.DataType) -> Any:
    """A type in words that no release of Polars changes. The symbols of an enum may grow."""
    match kind:
        case pl.List(inner=inner):
            return [_words(inner)]  # type: ignore[arg-type]  # an instance, as in any schema
        case pl.Struct(fields=fields):
            return {each.name: _words(each.dtype) for each in fields}  # type: ignore[arg-type]  # an instance
        case pl.Datetime(time_unit=unit, time_zone=zone):
            return f"timestamp {unit} {zone}"
        case pl.Duration(time_unit=unit):
            return f"duration {unit}"
        case pl.Decimal(precision=precision, scale=scale):
            return f"decimal {precision} {scale}"
        case _:
            return type(kind).__name__.lower()


def _problems(columns: Mapping[str, pl.DataType]) -> list[str]:
    if not columns:
        return ["a store needs at least one column"]
    return [problem for name, kind in columns.items() for problem in _problems_of(name, kind, name)]


def _problems_of(name: str, kind: pl.DataType, path: str) -> list[str]:
    if not _AVRO_NAME.fullmatch(name):
        return [f"{path} is no name of letters, digits and underscores"]
    match kind:
        case pl.List(inner=inner):
            return _problems_of(name, inner, f"{path}[]")  # type: ignore[arg-type]  # an instance, as in any schema
        case pl.Struct(fields=[]):
            return [f"{path} is a struct without fields"]
        case pl.Struct(fields=fields):
            return [
                problem
                for each in fields
                for problem in _problems_of(each.name, each.dtype, f"{path}.{each.name}")  # type: ignore[arg-type]  # an instance
            ]
        case _:
            known = _stored(kind) in _PRIMITIVES
            return [] if known else [f"{path} is {kind}, which a store cannot hold"]
