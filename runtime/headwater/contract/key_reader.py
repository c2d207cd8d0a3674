"""Reads Kafka keys: which are not what a contract says, and what the others hold.

Never raises for keys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import polars as pl
import pyarrow as pa

from headwater.contract.arrays import Faults, Place
from headwater.contract.decoder import Decoder
from headwater.contract.keys import WIDTHS, key_record, key_schema
from headwater.contract.leaves import physical_type, to_logical
from headwater.contract.schema import Contract
from headwater.contract.tables import as_frame, exported
from headwater.contract.tree import Enum, Primitive
from headwater.contract.types import ROW, ROW_TYPE, KeyEncoding, key_encoding, polars_type
from headwater.model import Code, SchemaRef

MAX_KEY_BYTES: Final = 65_536  # keys are held by partitioners, compaction and state; 64 KiB is wide


class KeyReader:
    """The keys of one contract's topic: UTF-8, 4 or 8 bytes, or framed Avro of several fields.

    `lookup` gives the Avro JSON of a schema id, as for a `Decoder`; only keys of several fields
    need it.
    """

    def __init__(self, contract: Contract, lookup: Callable[[SchemaRef], str]) -> None:
        self._contract = contract
        self._has_key = bool(contract.key)
        self._encoding = _encoding(contract)
        self._decoder = _decoder(contract, lookup)

    def faults(self, keys: Sequence[bytes | None]) -> Mapping[int, str]:
        """What is wrong with keys, by their places; nothing where the contract has no key.

        Raises RetriableError when the schema of a framed key cannot be had now.
        """
        if not self._has_key or self._are_sound(keys):
            return {}
        found = {row: fault for row, key in enumerate(keys) if (fault := self._fault(key))}
        if self._decoder is not None:
            held = [None if row in found else key for row, key in enumerate(keys)]
            for refused in self._decoder.decode(held).quarantined:
                found.setdefault(refused.row, refused.message)
        return found

    def columns(self, keys: Sequence[bytes | None]) -> tuple[pl.DataFrame, Mapping[int, str]]:
        """What keys hold, and what is wrong with the others, by their places.

        The frame has the columns of the contract's key and `_row`, ascending: the place in `keys`.
        Raises RetriableError as `faults` does.
        """
        if self._decoder is not None:
            decoded = self._decoder.decode(keys)
            return decoded.frame, {each.row: each.message for each in decoded.quarantined}
        faults = dict(self.faults(keys))
        rows: Sequence[int] = range(len(keys))
        if faults:
            rows = [row for row in rows if row not in faults]
        series = pl.Series([keys[row] for row in rows], dtype=pl.Binary)
        marked = Faults()
        (name,) = self._contract.key
        array = self._logical(series, Place(name), marked)
        faults |= {rows[place]: message for place, (_, message) in marked.found.items()}
        frame = as_frame(pa.table({name: array}), self._contract.columns)
        frame = frame.with_columns(pl.Series(ROW, rows, dtype=ROW_TYPE))
        return (frame.filter(~pl.col(ROW).is_in(list(faults))) if faults else frame), faults

    def _logical(self, series: pl.Series, place: Place, faults: Faults) -> Any:
        """Keys of one field that are sound bytes, as values of that field."""
        (type_,) = (e.type for e in self._contract.record.fields if e.name == place.path)
        if self._encoding in WIDTHS:
            dtype = pl.Int32() if self._encoding == "int" else pl.Int64()
            numbers = series.bin.reinterpret(dtype=dtype, endianness="big")
            return to_logical(exported(numbers), cast("Primitive", type_), place, faults)
        texts = series.cast(pl.String)
        if isinstance(type_, Enum):
            known = texts.is_in(type_.symbols)
            faults.add(place, exported(~known), Code.BAD_KEY, "is none of the symbols")
            texts = texts.set(~known, None)
        if isinstance(type_, Primitive):
            array = exported(texts).cast(physical_type(type_))
            return to_logical(array, type_, place, faults)
        return exported(texts)  # of a uuid that values hold as bytes, the key is the text

    def _are_sound(self, keys: Sequence[bytes | None]) -> bool:
        """Asked of every batch, so all of it runs in C: 0.04 us a key."""
        sound = cast("Sequence[bytes]", keys)  # a null is a TypeError here
        try:
            if (width := WIDTHS.get(self._encoding)) is not None:
                return set(map(len, sound)) <= {width}
            if max(map(len, sound), default=0) > MAX_KEY_BYTES:
                return False
            if self._decoder is not None:
                return not self._decoder.decode(keys).quarantined
            # no key can complete a character of another across a byte of ASCII
            b"\0".join(sound).decode()
        except (TypeError, UnicodeDecodeError):
            return False
        return True

    def _fault(self, key: bytes | None) -> str | None:
        """What is wrong with one key that needs no schema to tell."""
        if key is None:
            return "the key is null"
        if (width := WIDTHS.get(self._encoding)) is not None:
            return None if len(key) == width else f"a key of {len(key)} bytes where {width} belong"
        if len(key) > MAX_KEY_BYTES:
            return f"a key of {len(key)} bytes; more than {MAX_KEY_BYTES} are refused"
        try:
            if self._encoding == "utf8":
                key.decode()
        except UnicodeDecodeError:
            return "a key that is not UTF-8"
        return None


def _encoding(contract: Contract) -> KeyEncoding | None:
    """How a key of one field is written; None for several fields, or none."""
    if len(contract.key) != 1:
        return None
    (type_,) = (each.type for each in contract.record.fields if each.name == contract.key[0])
    return key_encoding(type_)


def _decoder(contract: Contract, lookup: Callable[[SchemaRef], str]) -> Decoder | None:
    record, text = key_record(contract), key_schema(contract)
    if record is None or text is None:
        return None
    columns = {each.name: polars_type(each.type) for each in record.fields}
    return Decoder(replace(contract, record=record, columns=columns, text=text), lookup)
