"""Kafka keys of a contract: as Kafka's own serializers write them; framed Avro for composites."""

import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

from headwater.contract.schema import Contract
from headwater.contract.tables import exported
from headwater.contract.tree import Decimal, Enum, Field, Fixed, Leaf, Primitive, Record
from headwater.contract.types import KeyEncoding, key_encoding

_FORMATS: Final[dict[KeyEncoding | None, tuple[Literal["i", "q"], int]]] = {
    "int": ("i", 4),
    "long": ("q", 8),
}  # array typecode, bytes
WIDTHS: Final[Mapping[KeyEncoding | None, int]] = {
    encoding: width for encoding, (_, width) in _FORMATS.items()
}
"""Bytes of a key that is a number."""


def key_record(contract: Contract) -> Record | None:
    """The schema of a key of several fields; None for a plain key or none."""
    if len(contract.key) < 2:  # noqa: PLR2004 - several
        return None
    by_name = {each.name: each for each in contract.record.fields}
    fields = tuple(Field(name, by_name[name].type) for name in contract.key)
    return Record(f"{contract.record.name}Key", fields)


def key_schema(contract: Contract) -> str | None:
    """The Avro JSON to register under `<topic>-key`; None for a plain key or none."""
    if (record := key_record(contract)) is None:
        return None
    written: set[str] = set()
    fields = [{"name": each.name, "type": _json(each.type, written)} for each in record.fields]  # type: ignore[arg-type]  # keys are leaves
    schema = {"type": "record", "name": record.name, "fields": fields}
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _json(type_: Leaf, written: set[str]) -> Any:
    """Avro JSON of a plain type; a name is defined once."""
    match type_:
        case Primitive(kind, None):
            return kind
        case Primitive(kind, logical):
            return {"type": kind, "logicalType": logical}
        case Decimal(precision, scale, size):
            base = {"logicalType": "decimal", "precision": precision, "scale": scale}
            if size is None:
                return {"type": "bytes", **base}
            name = f"Decimal_{precision}_{scale}_{size}"
            return _once(name, {"type": "fixed", "name": name, "size": size, **base}, written)
        case Fixed(name, size, logical):
            meaning = {"logicalType": logical} if logical else {}
            return _once(name, {"type": "fixed", "name": name, "size": size, **meaning}, written)
        case Enum(name, symbols):
            return _once(name, {"type": "enum", "name": name, "symbols": list(symbols)}, written)


def _once(name: str, definition: Mapping[str, Any], written: set[str]) -> Any:
    if name in written:
        return name
    written.add(name)
    return definition


def plain_keys(series: pl.Series, physical: Any, type_: Leaf) -> Any:
    """Keys of one field, as an array: UTF-8, or big-endian two's complement of 4 or 8 bytes.

    A text is taken from the column, a number from its physical form.
    """
    encoding = key_encoding(type_)
    if encoding in _FORMATS:
        return big_endian(physical, encoding)
    return exported(series.cast(pl.String)).cast(pa.large_binary())


def is_lookup_key(contract: Contract) -> bool:
    """Whether a column can be compared with the key: one field, a text or an integer."""
    if len(contract.key) != 1:
        return False
    return contract.columns[contract.key[0]] in {pl.String(), pl.Int32(), pl.Int64()}


def lookup_keys(contract: Contract, keys: Sequence[bytes]) -> pl.Series:
    """Sound keys as a column; the inverse of `plain_keys`, for `is_lookup_key` alone."""
    name = contract.key[0]
    dtype = contract.columns[name]
    series = pl.Series(name, keys, dtype=pl.Binary)
    if dtype == pl.String():
        return series.cast(pl.String)
    return series.bin.reinterpret(dtype=dtype, endianness="big")


def big_endian(numbers: Any, encoding: KeyEncoding | None) -> Any:
    """Keys of whole numbers, none of them null, as an array: two's complement of 4 or 8 bytes."""
    code, width = _FORMATS[encoding]
    held = array(code, numbers.buffers()[1].to_pybytes()[: len(numbers) * width])
    if sys.byteorder == "little":
        held.byteswap()
    buffer = pa.py_buffer(held.tobytes())
    return pa.Array.from_buffers(pa.binary(width), len(numbers), [None, buffer])
