"""Columns -> keys and framed values of one contract. Rows that do not fit it are quarantined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract.arrays import Faults, Place
from headwater.contract.columnar import ColumnarCodec
from headwater.contract.fitting import fitted, misfits
from headwater.contract.framing import frame_of
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


@dataclass(frozen=True, slots=True)
class Bodies:
    """The same with `keys` and `values` as arrays of Arrow (large_binary)."""

    keys: Any
    values: Any
    rows: pl.Series
    quarantined: list[Quarantine]


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Rows that fit: their columns as they are and as Avro has them, in the fields' order."""

    logical: Sequence[pl.Series]
    physical: Sequence[Any]
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
        self._known: pl.Schema | None = None
        key = key_record(contract)
        self._key = _codec(key, key_schema_id) if key is not None else None

    def encode(self, frame: pl.DataFrame) -> Encoded:
        """Framed values and keys of the rows that fit the contract; `_row` is passed on.

        Raises DeclarationError when columns are missing, unknown or of another type.
        """
        found = self._fitting(frame, to_physical)
        values = self._framed(found.physical).to_pylist() if len(found.rows) else []
        return Encoded(self._keys(found).to_pylist(), values, found.rows, found.quarantined)

    def bodies(self, frame: pl.DataFrame) -> Bodies:
        """The same without a frame, in the one encoding equal values share (for hashes).

        Every NaN is one NaN and -0.0 is 0.0. Raises DeclarationError as `encode` does.
        """
        found = self._fitting(frame, _to_canonical)
        values = self._plain(found.physical) if len(found.rows) else pa.nulls(0)
        kind = pa.large_binary()
        keys = self._keys(found).cast(kind)
        return Bodies(keys, values.cast(kind), found.rows, found.quarantined)

    def keys(self, frame: pl.DataFrame) -> Any:
        """The keys alone (large_binary), of rows that `encode` takes; null where there is none.

        Other columns than the key's may be absent.
        """
        types = {each.name: each.type for each in self._fields}
        rebuild = Rebuild(to_physical, maps=True, strict=True)
        logical = [self._column(frame, name, rebuild.faults) for name in self.contract.key]
        physical = [
            rebuild.apply(exported(series), types[name], Place(name))
            for name, series in zip(self.contract.key, logical, strict=True)
        ]
        keys = self._made_keys(logical, physical, frame.height).cast(pa.large_binary())
        if bad := list(rebuild.faults.found):
            sound = ~_numbered(frame.height).is_in(bad)
            keys = pc.if_else(sound.to_arrow(), keys, None)
        return keys

    def _fitting(self, frame: pl.DataFrame, leaf: Callable[..., Any]) -> _Fitting:
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
        return _Fitting(logical, physical, rows, quarantined)

    def _check(self, frame: pl.DataFrame) -> None:
        """Refuse columns that no row could fit; asked once per set of columns."""
        if frame.schema == self._known:
            return
        if reasons := misfits(self.contract, frame.schema):
            about = f"{self.contract.topic} v{self.contract.version}"
            raise DeclarationError(
                [Problem("CONTRACT_MISMATCH", f"{about}: {reason}") for reason in reasons]
            )
        self._known = frame.schema

    def _column(self, frame: pl.DataFrame, name: str, faults: Faults) -> pl.Series:
        if name not in frame:
            return self.contract.defaults[name].new_from_index(0, frame.height)
        return fitted(frame[name], self.contract.columns[name], faults)

    def _keys(self, found: _Fitting) -> Any:
        places = [list(self.contract.columns).index(name) for name in self.contract.key]
        logical = [found.logical[place] for place in places]
        return self._made_keys(logical, [found.physical[p] for p in places], len(found.rows))

    def _made_keys(self, logical: Sequence[pl.Series], physical: Sequence[Any], rows: int) -> Any:
        """Keys of the key's columns, in its order."""
        if not physical or not rows:
            return pa.nulls(rows, pa.large_binary())
        if self._key is not None:
            return self._key(physical)
        (name,) = self.contract.key
        (type_,) = (each.type for each in self._fields if each.name == name)
        return plain_keys(logical[0], physical[0], type_)  # type: ignore[arg-type]  # keys are leaves


def _codec(record: Record, schema_id: int | None) -> Callable[[Sequence[Any]], Any]:
    """The columnar codec where it can, else the row codec; gives an array."""
    if ColumnarCodec.takes(record):
        return ColumnarCodec(record, schema_id).write
    prefix = b"" if schema_id is None else frame_of(schema_id)
    by_row = RowEncoder(record, prefix)
    return lambda columns: pa.array(by_row.encode(columns), pa.large_binary())


def _to_canonical(array: Any, type_: Leaf, place: Place, faults: Faults) -> Any:
    return to_canonical(to_physical(array, type_, place, faults))


def _numbered(rows: int) -> pl.Series:
    return pl.int_range(rows, dtype=ROW_TYPE, eager=True).alias(ROW)
