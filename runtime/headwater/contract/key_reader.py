"""Reads Kafka keys only to find those that are not what a contract says. Never raises for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from headwater.contract.decoder import Decoder
from headwater.contract.keys import WIDTHS, key_record, key_schema
from headwater.contract.schema import Contract
from headwater.contract.types import KeyEncoding, key_encoding, polars_type
from headwater.model import SchemaRef

MAX_KEY_BYTES: Final = 65_536  # keys are held by partitioners, compaction and state; 64 KiB is wide


class KeyReader:
    """The keys of one contract's topic: UTF-8, 4 or 8 bytes, or framed Avro of several fields.

    `lookup` gives the Avro JSON of a schema id, as for a `Decoder`; only keys of several fields
    need it.
    """

    def __init__(self, contract: Contract, lookup: Callable[[SchemaRef], str]) -> None:
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
