"""Framed values -> columns of the reader's contract. Never raises for bad data, it quarantines.

The values of a batch mostly share one schema id and are sound: then they are decoded whole. What is
left in doubt is grouped by schema id; of a group in which a value cannot be decoded at all, halving
finds the few records near it. A strict walk finds the bad ones among those in doubt, and the row
codec decides about each that stays so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import SYSTEM, Clock
from headwater.contract.arrays import Faults
from headwater.contract.columnar import ColumnarCodec
from headwater.contract.expansion import expansion
from headwater.contract.framing import (
    FRAME_BYTES,
    BadFrameError,
    Key,
    common_key,
    reference,
    rows_by_key,
)
from headwater.contract.parser import parse
from headwater.contract.physical import physical_schema
from headwater.contract.resolve import Resolution
from headwater.contract.rows import RowDecoder
from headwater.contract.schema import Contract
from headwater.contract.tables import as_frame
from headwater.contract.tree import NULL, Record, Type
from headwater.contract.types import ROW, ROW_TYPE
from headwater.contract.wire_leaves import WireError
from headwater.errors import UnknownSchemaError
from headwater.model import Code, Quarantine, SchemaRef

SMALLEST_BATCH: Final = 8  # rows: below, halving costs more than the strict walk of each row
REFUSED_FOR_S: Final = 60.0  # an id may be registered late; asking for each record would be a flood
NO_HEADERS: Final[Mapping[int, bytes]] = {}
MAX_MESSAGE: Final = 1_000  # characters: it becomes a header, and a schema may be any size
MOST_REFUSED: Final = 1_024  # ids remembered as refused: hostile input must not fill the memory


@dataclass(frozen=True, slots=True)
class Decoded:
    """`frame`: the contract's columns and `_row`, ascending, without quarantined rows.

    `unreadable` are those of the quarantined rows whose writer's schema the contract can never
    resolve, whatever they hold.
    """

    frame: pl.DataFrame
    quarantined: list[Quarantine]
    unreadable: Sequence[int] = ()


@dataclass(slots=True)
class _Batch:
    """What was decoded so far of one call."""

    values: Sequence[bytes | None]
    headers: Mapping[int, bytes]
    frames: list[pl.DataFrame] = field(default_factory=list)
    quarantined: list[Quarantine] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)

    def of(self, rows: Sequence[int]) -> Sequence[bytes | None]:
        """The values of these rows."""
        return self.values if len(rows) == len(self.values) else [self.values[r] for r in rows]

    def refuse(self, row: int, code: Code, message: str) -> None:
        self.quarantined.append(Quarantine(row, code, message))


class Decoder:
    """Decodes values of any writer's schema into the columns of one contract.

    `lookup` gives the Avro JSON of a schema's id or GUID. It raises UnknownSchemaError for a
    definite no, whose code becomes that of the records, and RetriableError when it cannot tell.
    """

    def __init__(
        self,
        contract: Contract,
        lookup: Callable[[SchemaRef], str],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        self.contract = contract
        self.expansion = expansion(contract.record)
        self._lookup = lookup
        self._clock = clock
        self._writers: dict[Key, _Writer] = {}
        self._refused: dict[Key, _Refusal] = {}

    def decode(
        self, values: Sequence[bytes | None], headers: Mapping[int, bytes] = NO_HEADERS
    ) -> Decoded:
        """Decode values; `_row` is the place in `values`.

        `headers` are the schema headers of the rows that have one (`schema_headers`): their values
        are bodies without a frame.
        Raises RetriableError when the registry cannot tell a schema: nothing was decoded then.
        """
        batch = _Batch(values, headers)
        every, left = range(len(values)), None
        if (first := common_key(values, headers)) is not None:
            writer = self._writer(first)
            if isinstance(writer, _Writer):
                left = writer.decode_columns(batch, every)
        groups = self._groups(batch, every if left is None else left)
        if left is not None and first is not None:
            tried = {first: groups.pop(first, ())}
            self._decode_groups(batch, tried, _Writer.decode_strictly)
        self._decode_groups(batch, groups, _Writer.decode_sifted)
        return self._finish(batch)

    def decode_unproved(self, values: Sequence[bytes], schema_id: int) -> pl.DataFrame | None:
        """All of values that are framed under one id, if the columnar codec makes columns of them.

        Nothing says that they are right: whoever asks must find that they encode to these values.
        Raises RetriableError as `decode` does.
        """
        writer = self._writer(schema_id)
        if not isinstance(writer, _Writer):
            return None
        batch = _Batch(values, NO_HEADERS)
        pieces = writer.expansion.pieces(values)
        if not all(writer.decode_unproved(batch, piece) for piece in pieces):
            return None
        return self._finish(batch).frame

    def decode_by_row(
        self, values: Sequence[bytes | None], headers: Mapping[int, bytes] = NO_HEADERS
    ) -> Decoded:
        """The same by the row codec alone: slow, and the proof of the other.

        Raises RetriableError as `decode` does.
        """
        batch = _Batch(values, headers)
        self._decode_groups(batch, self._groups(batch, None), _Writer.decode_by_row)
        return self._finish(batch)

    def decode_groups(
        self,
        values: Sequence[bytes | None],
        headers: Mapping[int, bytes],
        groups: Mapping[Key, Sequence[int]],
    ) -> Decoded:
        """Decode these rows of `values`, by schema as `rows_by_key` tells them.

        Raises RetriableError as `decode` does.
        """
        batch = _Batch(values, headers)
        self._decode_groups(batch, groups, _Writer.decode_sifted)
        return self._finish(batch)

    def type_of(self, key: Key) -> str | None:
        """The full name of a schema's record; None when it is refused, or is no record.

        Raises RetriableError when the registry cannot tell.
        """
        writer = self._writer(key)
        return writer.name if isinstance(writer, _Writer) else None

    def _groups(self, batch: _Batch, rows: Sequence[int] | None) -> dict[Key, list[int]]:
        return rows_by_key(batch.values, batch.headers, batch.quarantined, rows)

    def _decode_groups(
        self,
        batch: _Batch,
        groups: Mapping[Key, Sequence[int]],
        decode: "Callable[[_Writer, _Batch, Sequence[int]], None]",
    ) -> None:
        for key, rows in groups.items():
            writer = self._writer(key)
            if isinstance(writer, _Writer):
                for piece in writer.expansion.pieces([batch.values[row] for row in rows]):
                    decode(writer, batch, [rows[place] for place in piece])
                continue
            for row in rows:
                batch.refuse(row, writer.code, writer.message)

    def check(self, writer_schema: str) -> list[str]:
        """Why records of this schema (Avro JSON) can never be read under the contract."""
        return _Writer(self.contract, writer_schema, 0, FRAME_BYTES).reasons

    def _writer(self, key: Key) -> "_Writer | _Refusal":
        """The plan for a writer's schema, or why there is none."""
        if (writer := self._writers.get(key)) is not None:
            return writer
        now = self._clock.monotonic()
        refusal = self._refused.get(key)
        if refusal is not None and refusal.until_s > now:
            return refusal
        try:
            named = reference(key)
            text = self._lookup(named)
        except BadFrameError as error:
            return _Refusal(error.code, str(error), now)
        except UnknownSchemaError as error:
            return self._refuse(key, _refusal(error, named, now + REFUSED_FOR_S))
        start = FRAME_BYTES if isinstance(key, int) else 0
        return self._writers.setdefault(key, _Writer(self.contract, text, named, start))

    def _refuse(self, key: Key, refusal: "_Refusal") -> "_Refusal":
        if len(self._refused) >= MOST_REFUSED:
            self._refused.clear()
        self._refused[key] = refusal
        return refusal

    def _finish(self, batch: _Batch) -> Decoded:
        if not batch.frames:
            schema = {**self.contract.columns, ROW: ROW_TYPE}
            return Decoded(
                pl.DataFrame(schema=schema), in_order(batch.quarantined), sorted(batch.unreadable)
            )
        frame = batch.frames[0]
        if len(batch.frames) > 1:
            frame = pl.concat(batch.frames, rechunk=True).sort(ROW)
        return Decoded(frame, in_order(batch.quarantined), sorted(batch.unreadable))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why no record of a schema is read, as far as is known until `until_s` of the clock."""

    code: Code
    message: str
    until_s: float


class _Writer:
    """One writer's schema, planned for one contract; bodies begin `start` bytes into values."""

    def __init__(self, contract: Contract, text: str, named: SchemaRef, start: int) -> None:
        self._columns = contract.columns
        self._named = named
        self._start = start
        self._columnar: ColumnarCodec | None = None
        self._rows: RowDecoder | None = None
        self._is_as_read = False  # whether its bytes are those that the contract's encoder makes
        schema, self.reasons = _parsed(text)
        self.name = schema.name if isinstance(schema, Record) else None
        self.expansion = expansion(schema)
        if self.reasons:
            return
        self._resolution = Resolution(schema, contract.record)
        self.reasons = self._resolution.reasons
        used = self._resolution.used
        if not self.reasons and isinstance(schema, Record) and isinstance(used, Record):
            self._rows = RowDecoder(schema, used)
            self._is_as_read = physical_schema(schema) == physical_schema(contract.record)
            if ColumnarCodec.takes(schema):
                self._columnar = ColumnarCodec(
                    schema, named if isinstance(named, int) and start else None
                )

    def decode_columns(self, batch: _Batch, rows: Sequence[int]) -> Sequence[int] | None:
        """Decode these rows by column; the rows left in doubt, None for all of them."""
        if self._columnar is None:
            return None
        columns = self._columnar.decode(batch.of(rows))
        if columns is None:
            return None
        if columns.doubtful is None:
            self._resolve(batch, columns.arrays, rows)
            return ()
        sound = pc.invert(columns.doubtful)
        arrays = {name: array.filter(sound) for name, array in columns.arrays.items()}
        is_sound = sound.to_pylist()
        self._resolve(batch, arrays, list(compress(rows, is_sound)))
        return [row for row, held in zip(rows, is_sound, strict=True) if not held]

    def decode_unproved(self, batch: _Batch, rows: Sequence[int]) -> bool:
        """Decode these rows by column, right or not; whether each is made.

        Of another writer none is: the contract's own bytes could be none that it writes.
        """
        if self._columnar is None or not self._is_as_read:
            return False
        arrays = self._columnar.decode_unproved(batch.of(rows))
        if arrays is not None:
            self._resolve(batch, arrays, rows)
        return arrays is not None and not batch.quarantined

    def decode_sifted(self, batch: _Batch, rows: Sequence[int]) -> None:
        """Decode rows of this schema by column, but for those the strict walk refuses."""
        left = self.decode_columns(batch, rows)
        if left is None and self._columnar is not None:
            near = self._unreadable(self._columnar, batch, rows)
            others = sorted(set(rows).difference(near))
            found = self.decode_columns(batch, others) if others else ()
            # None again where they are too large with zeros behind each: the walk finds the bad one
            left = [*near, *(others if found is None else found)]
        self.decode_strictly(batch, rows if left is None else left)

    def _unreadable(
        self, codec: ColumnarCodec, batch: _Batch, rows: Sequence[int]
    ) -> Sequence[int]:
        """The rows next to one of which the codec can make no column, found by halving."""
        if codec.reads([batch.values[row] for row in rows]):
            return ()
        if len(rows) <= SMALLEST_BATCH:
            return rows
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        return [row for half in halves for row in self._unreadable(codec, batch, half)]

    def decode_strictly(self, batch: _Batch, rows: Sequence[int]) -> None:
        """Decode rows in doubt: refuse those the strict walk refuses, and read the others."""
        if self._rows is None or self._columnar is None:
            self.decode_by_row(batch, rows)
            return
        errors = self._rows.errors([batch.values[row] or b"" for row in rows], self._start)
        for place, error in errors.items():
            batch.refuse(rows[place], error.code, str(error))
        sound = [row for place, row in enumerate(rows) if place not in errors]
        left = self.decode_columns(batch, sound) if sound else ()
        self.decode_by_row(batch, sound if left is None else left)

    def decode_by_row(self, batch: _Batch, rows: Sequence[int]) -> None:
        """Decode rows of this schema id one by one."""
        if self._rows is None:
            message = f"schema {self._named}: {'; '.join(self.reasons)}"[:MAX_MESSAGE]
            for row in rows:
                batch.refuse(row, Code.INCOMPATIBLE_SCHEMA, message)
            batch.unreadable += rows
            return
        errors: dict[int, WireError] = {}
        values = [batch.values[row] or b"" for row in rows]
        for columns, places in self._rows.decode(values, self._start, errors):
            self._resolve(batch, columns, [rows[place] for place in places])
        for place, error in errors.items():
            batch.refuse(rows[place], error.code, str(error))

    def _resolve(self, batch: _Batch, columns: dict[str, Any], rows: Sequence[int]) -> None:
        faults = Faults()
        arrays = self._resolution.resolve(columns, len(rows), faults)
        for place, (code, message) in faults.found.items():
            batch.refuse(rows[place], code, message)
        if isinstance(rows, range):
            places = pl.int_range(rows.start, rows.stop, dtype=ROW_TYPE, eager=True)
        else:
            places = pl.Series(rows, dtype=ROW_TYPE)
        table = pa.Table.from_arrays(arrays, names=list(self._columns))
        frame = as_frame(table, self._columns).with_columns(places.alias(ROW))
        if faults.found:
            frame = frame.filter(~frame[ROW].is_in([rows[place] for place in faults.found]))
        batch.frames.append(frame)


def record_name(text: str) -> str | None:
    """The full name of the record that an Avro schema (JSON) describes; None when it is none."""
    schema, mistakes = _parsed(text)
    return schema.name if isinstance(schema, Record) and not mistakes else None


def in_order(quarantined: list[Quarantine]) -> list[Quarantine]:
    """By row."""
    return sorted(quarantined, key=lambda each: each.row)


def _refusal(error: UnknownSchemaError, named: SchemaRef, until_s: float) -> _Refusal:
    code = Code(error.code)
    if code is Code.UNKNOWN_SCHEMA_ID:
        text = f"the registry has no schema of id {named}"
        if not isinstance(named, int):
            text = f"the registry has no schema of GUID {named}, or gives its schemas no GUIDs"
        return _Refusal(code, text, until_s)
    return _Refusal(code, str(error), until_s)


def _parsed(text: str) -> tuple[Type, list[str]]:
    """A writer's schema as a tree, and what is wrong with it."""
    try:
        parsed = parse(json.loads(text))
    except (ValueError, RecursionError):  # ValueError also for a number of too many digits
        return NULL, ["the writer's schema is not JSON that can be read"]
    return parsed.type, [str(each) for each in parsed.mistakes]
