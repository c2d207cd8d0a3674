"""Records of the log as rows of a snapshot, and rows as the numbers that are hashed."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import polars as pl
import pyarrow as pa

from headwater.contract import (
    ROW,
    Contract,
    Decoder,
    Encoded,
    Encoder,
    from_arrow,
    registered_contract,
    schema_headers,
    to_arrow,
)
from headwater.model import Quarantine, SchemaRef
from headwater.ports import Records
from headwater.snapshot.division import DATE, DATE_FIELD, event_dates
from headwater.snapshot.layout import Layout, Names
from headwater.snapshot.multiset import digests
from headwater.snapshot.place import MICROSECONDS, PLACE

_US: Final = 1_000  # in a millisecond

UNVERSIONED: Final = 0  # a contract of which only the registry knows
NO_TIME: Final = -1  # of a row without publish time: no row of the log is that old
NO_BODY: Final = 0  # the digest of a row the contract cannot encode: it equals no row of the log


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NumberedRows:
    """Rows of one partition in offset order, each as a 128-bit digest."""

    partition: int
    offsets: Sequence[int]
    timestamps_us: Sequence[int]
    digests: Sequence[int]

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True, slots=True)
class LogRows:
    """What records of one partition hold: rows, and records that are no rows with their offset.

    `keys` are those the rows have in the log, `contract_keys` those their columns make.
    """

    numbered: NumberedRows
    frame: pl.DataFrame
    refused: Sequence[tuple[int, Quarantine]]
    keys: Sequence[bytes | None]
    contract_keys: Sequence[bytes | None]


class RowCodec:
    """Reads rows under one contract; the ids are the registry's, that of keys for composite ones.

    `lookup` gives the Avro text of a writer's schema id or GUID. `divided_by` is the column that
    divides the table, if any; DATE is a column of such a table only.
    """

    def __init__(
        self,
        contract: Contract,
        schema_id: int,
        key_schema_id: int | None = None,
        *,
        lookup: Callable[[SchemaRef], str],
        divided_by: str | None = None,
    ) -> None:
        self.contract = contract
        self.schema_id = schema_id
        self.divided_by = divided_by
        self.layout = Layout(contract, is_dated=divided_by == DATE)
        self._lookup = lookup
        self._decoder = Decoder(contract, lookup)
        self._encoder = Encoder(contract, schema_id, key_schema_id=key_schema_id)

    def laid_out(self, names: Names) -> "RowCodec":
        """The same for a table that has fields under these names."""
        found = copy(self)
        found.layout = replace(self.layout, stored_names=names)
        return found

    def divided(self, by: str | None) -> "RowCodec":
        """The same for a table that is divided by another column, or by none."""
        found = copy(self)
        found.divided_by = by
        found.layout = replace(self.layout, is_dated=by == DATE)
        return found

    def contract_of(self, schema_id: int) -> Contract:
        """The contract that the registry knows under another id.

        Raises UnknownSchemaError, and DeclarationError when it is none.
        """
        return contract_of(self._lookup(schema_id), schema_id, self.contract.topic)

    def from_log(self, records: Records) -> LogRows:
        """Decode records of one partition with the columnar codec."""
        decoded = self._decoder.decode(records.values, schema_headers(records.headers()))
        encoded = self._encoder.bodies(decoded.frame)
        offsets, keys = records.offsets(), records.keys()
        stamps: Sequence[int] = [stamp * _US for stamp in records.timestamps_ms()]
        bad = [*decoded.quarantined, *encoded.quarantined]
        refused = [(offsets[each.row], each) for each in bad]
        frame = decoded.frame
        if bad:
            kept = encoded.rows.to_list()
            offsets, stamps, keys = _taken(offsets, kept), _taken(stamps, kept), _taken(keys, kept)
            frame = frame.filter(frame[ROW].is_in(kept))
        partition = records.raw(0).partition.index  # of all: they are of one
        numbers = digests(partition, offsets, keys, encoded.values)
        numbered = NumberedRows(partition, offsets, stamps, numbers)
        return LogRows(numbered, frame, refused, keys, encoded.keys)

    def encoded(self, frame: pl.DataFrame) -> Encoded:
        """Rows in the contract's columns as keys and canonical bodies."""
        return self._encoder.bodies(frame)

    def from_table(self, table: pa.Table) -> NumberedRows:
        """Number rows of one partition as a table holds them, by our layout. Never empty.

        A row whose values the contract cannot take gets a number that equals no row of the log.
        """
        offsets = _integers(table["_offset"])
        stamps = _integers(
            table["_timestamp"].cast(MICROSECONDS).cast(pa.int64()).fill_null(NO_TIME)
        )
        partition = table["_partition"][0].as_py()
        return NumberedRows(partition, offsets, stamps, self._numbers(table, partition, offsets))

    def keys(self, table: pa.Table) -> list[bytes | None]:
        """The keys of rows as a table holds them; None where the columns make none.

        All are None where a value is one that the contract's key does not take.
        """
        try:
            rows = self.layout.from_stored(table)
            frame = from_arrow(rows.select(list(self.contract.key)), self.contract)
        except pa.ArrowInvalid:
            return [None] * table.num_rows
        return self._encoder.keys(frame)

    def _numbers(self, table: pa.Table, partition: int, offsets: Sequence[int]) -> list[int]:
        numbers = [NO_BODY] * len(offsets)
        try:
            rows = self.layout.from_stored(table)
            frame = from_arrow(rows.select(list(self.contract.columns)), self.contract)
        except pa.ArrowInvalid:  # a value finer or larger than the contract's type
            if len(offsets) == 1:
                return numbers
            half = len(offsets) // 2  # down to the rows that hold one
            return [
                *self._numbers(table.slice(0, half), partition, offsets[:half]),
                *self._numbers(table.slice(half), partition, offsets[half:]),
            ]
        encoded = self._encoder.bodies(frame)
        kept = encoded.rows.to_list()
        found = digests(partition, _taken(offsets, kept), encoded.keys, encoded.values)
        for row, number in zip(kept, found, strict=True):
            numbers[row] = number
        if self.divided_by == DATE:
            # It is no part of the log: a row with another day than its event time is not ours.
            is_right = event_dates(frame, self.contract).eq_missing(pl.Series(table[DATE]))
            for row in (~is_right).arg_true().to_list():
                numbers[row] = NO_BODY
        return numbers

    def recheck(
        self, records: Records, rows: LogRows, every: int
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Read records again with the row codec: those whose offset `every` divides.

        Returns their offsets, and the offsets of those that come out otherwise than in `rows`.
        """
        offsets = records.offsets()
        sample = [row for row, offset in enumerate(offsets) if offset % every == 0]
        if not sample:
            return (), ()
        values, headers = _taken(records.values, sample), schema_headers(records.headers())
        of_sample = {place: headers[row] for place, row in enumerate(sample) if row in headers}
        by_row = self._decoder.decode_by_row(values, of_sample).frame
        if len(sample) == len(records) and by_row.equals(rows.frame):
            return offsets, ()  # equal columns have equal digests
        encoded = self._encoder.bodies(by_row)
        kept = _taken(sample, encoded.rows.to_list())
        places, keys = _taken(offsets, kept), _taken(records.keys(), kept)
        numbered = rows.numbered
        again = dict(
            zip(places, digests(numbered.partition, places, keys, encoded.values), strict=True)
        )
        places = _taken(offsets, sample)
        return places, [each for each in places if again.get(each) != _digest_at(numbered, each)]

    def to_table(self, rows: LogRows) -> pa.Table:
        """The rows with their place, as a snapshot stores them."""
        table = to_arrow(rows.frame, self.contract)
        numbered = rows.numbered
        place = (
            pa.repeat(pa.scalar(numbered.partition, pa.int32()), len(numbered)),
            pa.array(numbered.offsets, pa.int64()),
            pa.array(numbered.timestamps_us, pa.int64()).cast(MICROSECONDS),
        )
        for each, column in zip(PLACE, place, strict=True):
            table = table.append_column(each, column)
        if self.divided_by == DATE:
            days = event_dates(rows.frame, self.contract).to_arrow()
            table = table.append_column(DATE_FIELD, days)
        return table


def _digest_at(rows: NumberedRows, offset: int) -> int | None:
    """The digest of the row at an offset; None where there is no row."""
    place = bisect_left(rows.offsets, offset)
    is_there = place < len(rows) and rows.offsets[place] == offset
    return rows.digests[place] if is_there else None


def contract_of(schema: str, schema_id: int, topic: str) -> Contract:
    """The contract in a schema of the registry. Raises DeclarationError when it is none."""
    path = Path(f"schema {schema_id} of the registry")
    return registered_contract(schema, topic=topic, version=UNVERSIONED, path=path)


def _taken(column: Sequence[T], rows: Sequence[int]) -> list[T]:
    return [column[row] for row in rows]


def _integers(column: pa.ChunkedArray) -> list[int]:
    return pl.Series(column).to_list()  # several times faster than pyarrow's own
