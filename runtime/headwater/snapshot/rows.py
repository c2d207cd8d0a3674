"""Records of the log as rows of a snapshot, and rows as the numbers that are hashed."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract import (
    ROW,
    Bodies,
    Contract,
    Decoder,
    Encoder,
    frame_of,
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


NUMBERED: Final[Mapping[str, pl.DataType]] = {
    "offset": pl.Int64(),
    "stamp": pl.Int64(),
    "digest": pl.UInt128(),
}
"""Columns of a row in numbers: where it stands, when it was published in µs, its digest."""


@dataclass(frozen=True, slots=True)
class NumberedRows:
    """Rows of one partition in offset order, in the columns of NUMBERED."""

    partition: int
    columns: pl.DataFrame

    def __len__(self) -> int:
        return self.columns.height

    @property
    def offsets(self) -> pl.Series:
        """Where they stand."""
        return self.columns["offset"]

    @property
    def digests(self) -> pl.Series:
        """What is hashed of them."""
        return self.columns["digest"]


@dataclass(frozen=True, slots=True)
class LogRows:
    """What records of one partition hold: rows, and records that are no rows with their offset.

    `keys` are those the rows have in the log, `contract_keys` those their columns make:
    arrays of large_binary.
    """

    numbered: NumberedRows
    frame: pl.DataFrame
    refused: Sequence[tuple[int, Quarantine]]
    keys: Any
    contract_keys: Any

    def under_another_key(self) -> int | None:
        """The first offset of a row under another key than its columns make; None without one."""
        if self.keys.equals(self.contract_keys):
            return None
        both = zip(self.keys.to_pylist(), self.contract_keys.to_pylist(), strict=True)
        is_other = pl.Series([key != own for key, own in both])
        return int(self.numbered.offsets.filter(is_other)[0])


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
        self._frame = frame_of(schema_id)
        self._is_plain = True  # as far as is known, all bodies are what our own encoder makes

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
        return self._proved_by_bodies(records) or self._decoded(records)

    def as_written(self, records: Records) -> NumberedRows | None:
        """Records of one partition as rows, numbered by the very bytes of their bodies.

        The digests are those of `from_log` where each body is the encoding that equal values share.
        Others are no rows, or hold a -0.0, a NaN of another kind, a list in several blocks. None
        where a record is not framed under our schema's id.
        """
        bodies = self._bodies(records)
        return None if bodies is None else _hashed(records, _keys(records), bodies)

    def _bodies(self, records: Records) -> Any | None:
        """The bodies of records that are all framed under our schema's id."""
        if schema_headers(records.headers()):
            return None
        values = pa.array(records.values, pa.large_binary())
        if values.null_count or not pc.all(pc.starts_with(values, self._frame)).as_py():
            return None
        # binary_slice fails where it takes a few bytes away from many values (Arrow 26)
        return pc.binary_replace_slice(values, 0, len(self._frame), b"")

    def _proved_by_bodies(self, records: Records) -> LogRows | None:
        """Rows whose columns encode to the very bodies of the records; None where one does not.

        Nearly all do. So rows are encoded once, which proves what was decoded and gives what is
        hashed.
        """
        written = self._bodies(records) if self._is_plain else None
        if written is None:
            return None
        frame = self._decoder.decode_unproved(records.values, self.schema_id)  # type: ignore[arg-type]  # none is null
        if frame is not None:
            bodies = self._encoder.bodies(frame)
            if bodies.values.equals(written):
                keys = _keys(records)
                return LogRows(_hashed(records, keys, written), frame, (), keys, bodies.keys)
        self._is_plain = False  # who wrote one such record writes more: none is decoded twice
        return None

    def _decoded(self, records: Records) -> LogRows:
        """The same of any records, whatever is wrong with some."""
        decoded = self._decoder.decode(records.values, schema_headers(records.headers()))
        bodies = self._encoder.bodies(decoded.frame)
        offsets, keys, stamps = _offsets(records), _keys(records), _stamps(records)
        bad = [*decoded.quarantined, *bodies.quarantined]
        refused = [(offsets[each.row], each) for each in bad]
        frame = decoded.frame
        if bad:
            kept = bodies.rows
            offsets, stamps, keys = offsets.gather(kept), stamps.gather(kept), _taken(keys, kept)
            frame = frame.filter(frame[ROW].is_in(kept.implode()))
        partition = records.raw(0).partition.index  # of all: they are of one
        numbered = _numbered(
            partition, offsets, stamps, digests(partition, offsets, keys, bodies.values)
        )
        return LogRows(numbered, frame, refused, keys, bodies.keys)

    def bodies(self, frame: pl.DataFrame) -> Bodies:
        """Rows in the contract's columns as keys and canonical bodies."""
        return self._encoder.bodies(frame)

    def from_table(self, table: pa.Table) -> NumberedRows:
        """Number rows of one partition as a table holds them, by our layout. Never empty.

        A row whose values the contract cannot take gets a number that equals no row of the log.
        """
        offsets = pl.Series(table["_offset"], dtype=pl.Int64)
        stamps = table["_timestamp"].cast(MICROSECONDS).cast(pa.int64()).fill_null(NO_TIME)
        partition = table["_partition"][0].as_py()
        numbers = self._numbers(table, partition, offsets)
        return _numbered(partition, offsets, pl.Series(stamps), numbers)

    def keys(self, table: pa.Table) -> Any:
        """The keys of rows as a table holds them (large_binary); null where the columns make none.

        All are null where a value is one that the contract's key does not take.
        """
        try:
            rows = self.layout.from_stored(table)
            frame = from_arrow(rows.select(list(self.contract.key)), self.contract)
        except pa.ArrowInvalid:
            return pa.nulls(table.num_rows, pa.large_binary())
        return self._encoder.keys(frame)

    def _numbers(self, table: pa.Table, partition: int, offsets: pl.Series) -> pl.Series:
        none = pl.repeat(NO_BODY, len(offsets), dtype=NUMBERED["digest"], eager=True)
        try:
            rows = self.layout.from_stored(table)
            frame = from_arrow(rows.select(list(self.contract.columns)), self.contract)
        except pa.ArrowInvalid:  # a value finer or larger than the contract's type
            if len(offsets) == 1:
                return none
            half = len(offsets) // 2  # down to the rows that hold one
            return pl.concat(
                [
                    self._numbers(table.slice(0, half), partition, offsets[:half]),
                    self._numbers(table.slice(half), partition, offsets[half:]),
                ]
            )
        bodies = self._encoder.bodies(frame)
        kept = bodies.rows
        numbers = digests(partition, offsets.gather(kept), bodies.keys, bodies.values)
        if len(kept) < len(offsets):
            numbers = none.scatter(kept, numbers)
        if self.divided_by == DATE:
            # It is no part of the log: a row with another day than its event time is not ours.
            is_right = event_dates(frame, self.contract).eq_missing(pl.Series(table[DATE]))
            numbers = numbers.zip_with(is_right, none)
        return numbers

    def recheck(
        self, records: Records, rows: NumberedRows, every: int
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Read records again with the row codec: those whose offset `every` divides.

        Returns their offsets, and the offsets of those that come out otherwise than in `rows`.
        """
        offsets = _offsets(records)
        sample = (offsets % every == 0).arg_true()
        if not len(sample):
            return (), ()
        places = sample.to_list()
        values, headers = [records.values[row] for row in places], schema_headers(records.headers())
        of_sample = {at: headers[row] for at, row in enumerate(places) if row in headers}
        by_row = self._decoder.decode_by_row(values, of_sample).frame
        asked = offsets.gather(sample)
        bodies = self._encoder.bodies(by_row)
        kept = sample.gather(bodies.rows)
        found, known = offsets.gather(kept), records.keys()
        keys = pa.array([known[row] for row in kept.to_list()], pa.large_binary())
        again = pl.DataFrame(
            {
                "offset": found,
                "again": digests(rows.partition, found, keys, bodies.values),
            }
        )
        both = asked.alias("offset").to_frame()
        for each in (again, rows.columns.select("offset", "digest")):
            both = both.join(each, on="offset", how="left", maintain_order="left")
        other = both.filter(pl.col("again").ne_missing(pl.col("digest")))
        return asked.to_list(), other["offset"].to_list()

    def to_table(self, rows: LogRows) -> pa.Table:
        """The rows with their place, as a snapshot stores them."""
        table = to_arrow(rows.frame, self.contract)
        numbered = rows.numbered
        place = (
            pa.repeat(pa.scalar(numbered.partition, pa.int32()), len(numbered)),
            numbered.offsets.to_arrow(),
            numbered.columns["stamp"].to_arrow().cast(MICROSECONDS),
        )
        for each, column in zip(PLACE, place, strict=True):
            table = table.append_column(each, column)
        if self.divided_by == DATE:
            days = event_dates(rows.frame, self.contract).to_arrow()
            table = table.append_column(DATE_FIELD, days)
        return table


def contract_of(schema: str, schema_id: int, topic: str) -> Contract:
    """The contract in a schema of the registry. Raises DeclarationError when it is none."""
    path = Path(f"schema {schema_id} of the registry")
    return registered_contract(schema, topic=topic, version=UNVERSIONED, path=path)


def _numbered(
    partition: int, offsets: pl.Series, stamps: pl.Series, numbers: pl.Series
) -> NumberedRows:
    columns = zip(NUMBERED, (offsets, stamps, numbers), strict=True)
    return NumberedRows(partition, pl.DataFrame(dict(columns)))


def _hashed(records: Records, keys: Any, bodies: Any) -> NumberedRows:
    """Records of which each is a row."""
    partition = records.raw(0).partition.index  # of all: they are of one
    offsets = _offsets(records)
    numbers = digests(partition, offsets, keys, bodies)
    return _numbered(partition, offsets, _stamps(records), numbers)


def _offsets(records: Records) -> pl.Series:
    return pl.Series(records.offsets(), dtype=pl.Int64)


def _keys(records: Records) -> Any:
    return pa.array(records.keys(), pa.large_binary())


def _taken(values: Any, rows: pl.Series) -> Any:
    return values.take(rows.to_arrow())


def _stamps(records: Records) -> pl.Series:
    return pl.Series(records.timestamps_ms(), dtype=pl.Int64) * _US
