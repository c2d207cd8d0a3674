"""The columnar codec: whole batches between framed bytes and physical columns. Door of pyruhvro.

The five bytes of the Confluent frame are read and written as two more fields, a boolean (the magic
0) and a float (four raw bytes, the schema id), so that no value is sliced or glued one by one.

Never trusted: pyruhvro turns an int beyond 32 bits into garbage, ignores trailing bytes and lets
bad UTF-8 through. What it decoded must encode to the very bytes it was given.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from headwater.contract.arrays import KEY, entries, repeated_keys
from headwater.contract.expansion import expansion, size_of
from headwater.contract.framing import ID_BYTES, MAGIC
from headwater.contract.physical import is_columnar, physical_schema
from headwater.contract.tree import Map, Record, Type, descend
from headwater.contract.wire_leaves import BUDGET_PER_BYTE

PANIC: Final = "PanicException"  # of pyo3_runtime, which cannot be imported
PADDING: Final = bytes(256)
"""Put behind values some of which may end too early: zeros are data of nearly every type.

They do not encode to what was given, so such values are in doubt alone, and not with all others.
"""
CHUNKS: Final = 1  # more would start threads; one process is one thread of the data path


@dataclass(frozen=True, slots=True)
class Columns:
    """Physical columns by name, and a mask of the rows not to be trusted; None when all are."""

    arrays: dict[str, Any]
    doubtful: Any


class ColumnarCodec:
    """Encodes and decodes one schema under one schema id; None means no frame."""

    def __init__(self, record: Record, schema_id: int | None) -> None:
        schema = physical_schema(record)
        self._prefix: tuple[bytes, ...] = ()
        if schema_id is not None:
            names = [each["name"] for each in schema["fields"]]
            frame = [_unused("magic", names), _unused("schema_id", names)]
            schema["fields"][:0] = [
                {"name": frame[0], "type": "boolean"},
                {"name": frame[1], "type": "float"},
            ]
            self._prefix = (MAGIC, schema_id.to_bytes(ID_BYTES, "big"))
        self._text = json.dumps(schema)
        self._names = [each["name"] for each in schema["fields"]]
        self._frame: list[Any] = []
        self._expansion = expansion(record)
        self._has_maps = any(isinstance(each, Map) for _, each in descend(record))

    @staticmethod
    def takes(type_: Type) -> bool:
        """Whether this codec may be used for a schema: it never takes what the budget refuses."""
        return is_columnar(type_) and expansion(type_).per_byte <= BUDGET_PER_BYTE

    def decode(self, values: Sequence[bytes | None]) -> Columns | None:
        """The columns; None when a value cannot be decoded, or when they might be too large."""
        given = pa.array(values, pa.binary())
        if not isinstance(given, pa.BinaryArray):
            return None
        if not self._expansion.bounds(len(values), given.total_values_length):
            return None
        columns = None if given.null_count else self._read(self._raw(values))
        if columns is None:
            columns = self._read(self._raw_padded(values))
        if columns is None:
            return None
        written = self.write(columns)
        doubtful = None
        if not written.equals(given):
            doubtful = pc.fill_null(pc.not_equal(written, given), True)  # noqa: FBT003 - Arrow's
        return Columns(self._named(columns), doubtful)

    def decode_unproved(self, values: Sequence[bytes | None]) -> dict[str, Any] | None:
        """The columns by name, which may be garbage: whoever asks looks what they encode to.

        Of values in pieces as `Expansion` makes them. None where `decode` would have to look for
        the value that cannot be decoded.
        """
        if len(values) == 1 and not self._expansion.bounds(1, size_of(values)):
            return None
        columns = self._read(self._raw(values))
        return None if columns is None else self._named(columns)

    def _named(self, columns: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self._names[len(self._prefix) :], columns, strict=True))

    def reads(self, values: Sequence[bytes | None]) -> bool:
        """Whether `decode` makes columns of these values, whatever is in them; at a third of it."""
        columns = self._raw_padded(values)
        return (
            columns is not None
            and all(pa.types.is_string(each.type) or _mended(each) is not None for each in columns)
            and not self._repeats(columns)
        )

    def _read(self, raw: list[Any] | None) -> list[Any] | None:
        """The columns, texts mended; None when one cannot be had."""
        if raw is None:
            return None
        columns = [_mended(each) for each in raw]
        if any(each is None for each in columns) or self._repeats(columns):
            return None
        return columns

    def _raw_padded(self, values: Sequence[bytes | None]) -> list[Any] | None:
        """The columns as they are read with zeros behind; these may be items of a collection."""
        padded = [(value or b"") + PADDING for value in values]
        return self._raw(padded) if self._expansion.bounds(len(padded), size_of(padded)) else None

    def _raw(self, values: Sequence[bytes | None]) -> list[Any] | None:
        """The columns as they are read; None when one cannot be."""
        try:
            batch = pyruhvro.deserialize_array(list(values), self._text)
            batch.validate()
        except ValueError:
            return None
        except BaseException as error:
            # A panic of Rust is no Exception. None is known for the schemas `takes` lets through.
            if type(error).__name__ != PANIC:
                raise
            return None
        columns: list[Any] = batch.columns[len(self._prefix) :]
        return columns if batch.num_rows == len(values) else None

    def encode(self, columns: Sequence[Any]) -> list[bytes]:
        """One value per row, framed; `columns` physical, in the order of the fields."""
        values: list[bytes] = self.write(columns).to_pylist()
        return values

    def write(self, columns: Sequence[Any]) -> Any:
        """The same as an array."""
        rows = len(columns[0])
        frame = self._frame_columns(rows) if self._prefix else []
        batch = pa.RecordBatch.from_arrays([*frame, *columns], names=self._names)
        (values,) = pyruhvro.serialize_record_batch(batch, self._text, CHUNKS)
        return values

    def _frame_columns(self, rows: int) -> list[Any]:
        if not self._frame or len(self._frame[0]) < rows:
            magic = pa.repeat(pa.scalar(False), rows)  # noqa: FBT003 - Arrow's signature
            ids = pa.py_buffer(self._prefix[1] * rows)
            self._frame = [magic, pa.Array.from_buffers(pa.float32(), rows, [None, ids])]
        return [each.slice(0, rows) for each in self._frame]

    def _repeats(self, columns: Sequence[Any]) -> bool:
        """Whether a map has a key twice: legal bytes, which no table can hold as they are."""
        return self._has_maps and any(_repeats(each) for each in columns)


def _repeats(array: Any) -> bool:
    kind = array.type
    if pa.types.is_map(kind):
        lists = entries(array)
        return repeated_keys(lists, lists.values.field(KEY)) is not None or _repeats(array.items)
    if pa.types.is_list(kind):
        return _repeats(array.values)
    if pa.types.is_struct(kind):
        return any(_repeats(array.field(index)) for index in range(kind.num_fields))
    return False


def _mended(column: Any) -> Any | None:
    """The column, texts that are not UTF-8 emptied; None when one is deeper inside.

    Like everything that was not read as it stands, an emptied text encodes to other bytes.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if not pa.types.is_string(column.type):
            return None
        texts = column.cast(pa.binary()).to_pylist()
        return pa.array([each if _is_text(each) else b"" for each in texts]).cast(pa.string())
    return column


def _is_text(value: bytes | None) -> bool:
    if value is None or value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unused(name: str, names: Sequence[str]) -> str:
    while name in names:
        name += "_"
    return name
