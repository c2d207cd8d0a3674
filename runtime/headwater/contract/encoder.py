"""Columns -> keys and framed values of one contract. Rows that do not fit it are quarantined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from headwater.contract.arrays import Faults, Place
from headwater.contract.columnar import ColumnarCodec
from headwater.contract.fitting import fitted, misfits
from headwater.contract.framing import ID_BYTES, MAGIC
from headwater.contract.keys import key_record, plain_keys
from headwater.contract.leaves import to_canonical, to_physical
from headwater.contract.rows import RowEncoder
from headwater.contract.schema import Contract
from headwater.contract.tables import Rebuild, exported
from headwater.contract.tree import Leaf, Record
from headwater.contract.types import ROW, ROW_TYPE
from headwater.errors import DeclarationError, Problem
from headwater.model import Quarantine


@dataclass(frozen=True, slots=True)
class Encoded:
    """Columns of equal length: `keys`, `values`, and `rows`, the `_row` each came from (UInt32)."""

    keys: list[bytes | None]
    values: list[bytes]
    rows: pl.Series
    quarantined: list[Quarantine]


class Encoder:
    """Encodes frames as records of one contract.

    `schema_id` is the registry's id of the contract, None where a header names it and values have
    no frame; `key_schema_id` is that of its composite key.
    """

    def __init__(
        self, contract: Contract, schema_id: int | None, key_schema_id: int | None = None
    ) -> None:
        self.contract = contract
        self._fields = contract.record.fields
        self._framed = _codec(contract.record, schema_id)
        self._plain = _codec(contract.record, None)
        self._fitting: pl.Schema | None = None
        key = key_record(contract)
        self._key = _codec(key, key_schema_id) if key is not None else None

    def encode(self, frame: pl.DataFrame) -> Encoded:
        """Framed values and keys of the rows that fit the contract; `_row` is passed on.

        Raises DeclarationError when columns are missing, unknown or of another type.
        """
        return self._encode(frame, self._framed, to_physical)

    def bodies(self, frame: pl.DataFrame) -> Encoded:
        """The same without a frame, in the one encoding equal values share (for hashes).

        Every NaN is one NaN and -0.0 is 0.0. Raises DeclarationError as `encode` does.
        """
        return self._encode(frame, self._plain, _to_canonical)

    def keys(self, frame: pl.DataFrame) -> list[bytes | None]:
        """The keys alone, of rows that `encode` takes; other columns than the key's may be absent.

        None is the key of a row whose columns make none.
        """
        types = {each.name: each.type for each in self._fields}
        rebuild = Rebuild(to_physical, maps=True, strict=True)
        logical = [self._column(frame, name, rebuild.faults) for name in self.contract.key]
        physical = [
            rebuild.apply(exported(series), types[name], Place(name))
            for name, series in zip(self.contract.key, logical, strict=True)
        ]
        keys = self._made_keys(logical, physical, frame.height)
        for place in rebuild.faults.found:
            keys[place] = None
        return keys

    def _encode(
        self,
        frame: pl.DataFrame,
        codec: Callable[[Sequence[Any]], list[bytes]],
        leaf: Callable[..., Any],
    ) -> Encoded:
        self._check(frame)
        rows = frame[ROW] if ROW in frame else _numbered(frame.height)
        rebuild = Rebuild(leaf, maps=True, strict=True)
        logical = [self._column(frame, name, rebuild.faults) for name in self.contract.columns]
        physical = [
            rebuild.apply(exported(series), each.type, Place(each.name))
            for series, each in zip(logical, self._fields, strict=True)
        ]
        bad = rebuild.faults.found
        quarantined = [
            Quarantine(rows[place], code, message, "encode")
            for place, (code, message) in sorted(bad.items())
        ]
        if bad:
            sound = ~_numbered(frame.height).is_in(list(bad))
            rows, logical = rows.filter(sound), [each.filter(sound) for each in logical]
            mask = sound.to_arrow()
            physical = [each.filter(mask) for each in physical]
        values = codec(physical) if len(rows) else []
        return Encoded(self._keys(logical, physical, len(rows)), values, rows, quarantined)

    def _check(self, frame: pl.DataFrame) -> None:
        """Refuse columns that no row could fit; asked once per set of columns."""
        if frame.schema == self._fitting:
            return
        if reasons := misfits(self.contract, frame.schema):
            about = f"{self.contract.topic} v{self.contract.version}"
            raise DeclarationError(
                [Problem("CONTRACT_MISMATCH", f"{about}: {reason}") for reason in reasons]
            )
        self._fitting = frame.schema

    def _column(self, frame: pl.DataFrame, name: str, faults: Faults) -> pl.Series:
        if name not in frame:
            return self.contract.defaults[name].new_from_index(0, frame.height)
        return fitted(frame[name], self.contract.columns[name], faults)

    def _keys(
        self, logical: Sequence[pl.Series], physical: Sequence[Any], rows: int
    ) -> list[bytes | None]:
        places = [list(self.contract.columns).index(name) for name in self.contract.key]
        of_key = [logical[place] for place in places], [physical[place] for place in places]
        return self._made_keys(*of_key, rows)

    def _made_keys(
        self, logical: Sequence[pl.Series], physical: Sequence[Any], rows: int
    ) -> list[bytes | None]:
        """Keys of the key's columns, in its order."""
        if not physical or not rows:
            return [None] * rows
        if self._key is not None:
            return list(self._key(physical))
        (name,) = self.contract.key
        (type_,) = (each.type for each in self._fields if each.name == name)
        return plain_keys(logical[0], physical[0], type_)  # type: ignore[arg-type]  # keys are leaves


def _codec(record: Record, schema_id: int | None) -> Callable[[Sequence[Any]], list[bytes]]:
    """The columnar codec where it can, else the row codec."""
    if ColumnarCodec.takes(record):
        return ColumnarCodec(record, schema_id).encode
    prefix = b"" if schema_id is None else MAGIC + schema_id.to_bytes(ID_BYTES, "big")
    return RowEncoder(record, prefix).encode


def _to_canonical(array: Any, type_: Leaf, place: Place, faults: Faults) -> Any:
    return to_canonical(to_physical(array, type_, place, faults))


def _numbered(rows: int) -> pl.Series:
    return pl.int_range(rows, dtype=ROW_TYPE, eager=True).alias(ROW)
