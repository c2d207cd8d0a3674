"""Records of a log as frames: decoded rows with their place, and rows that tell of deletions."""

from typing import Final

import polars as pl

from headwater.clock import Clock
from headwater.contract import ROW, ROW_TYPE, Contract, Decoder, KeyReader, schema_headers
from headwater.errors import FatalError
from headwater.model import Code, Partition
from headwater.ports import Records, Registry
from headwater.snapshot.place import PLACE

DELETED: Final = "_deleted"
"""Whether a row says that its key was deleted: of logs whose newer records replace older ones."""

_DELETION: Final = (
    "it has no value, which deletes a key only on a compacted topic, or for .read() from a table of"
    " the latest rows"
)


def frame_columns(contract: Contract, *, is_upsert: bool) -> list[str]:
    """The columns of every frame: the contract's, then where and when a row was published."""
    return [*contract.columns, *PLACE.names, *([DELETED] if is_upsert else [])]


def as_upserts(rows: pl.DataFrame, *, is_deleted: bool = False) -> pl.DataFrame:
    """Rows as frames of an upsert log have them."""
    return rows.with_columns(pl.lit(is_deleted).alias(DELETED))


class LogFrames:
    """Makes frames of the records of one topic under one contract.

    With `is_upsert` a record without a value is a row too: DELETED, its key in the columns of the
    key, all others null. Then the contract has a key, and that of a record must be its columns'.
    """

    def __init__(
        self, contract: Contract, registry: Registry, clock: Clock, *, is_upsert: bool
    ) -> None:
        self._contract = contract
        self._decoder = Decoder(contract, registry.schema, clock=clock)
        self._keys = KeyReader(contract, registry.schema) if is_upsert else None

    def frame(self, records: Records) -> pl.DataFrame:
        """The rows in order. Raises FatalError (UNREADABLE_RECORD) for a record that is none."""
        rows = self._rows(records) if self._keys is None else self._upserts(records, self._keys)
        return rows.with_columns(
            pl.Series("_partition", records.partitions(), pl.Int32),
            pl.Series("_offset", records.offsets(), pl.Int64),
            pl.Series("_timestamp", records.timestamps_ms(), pl.Int64)
            .cast(pl.Datetime("ms", "UTC"))
            .cast(pl.Datetime("us", "UTC")),
        ).select(frame_columns(self._contract, is_upsert=self._keys is not None))

    def _rows(self, records: Records) -> pl.DataFrame:
        """What all records hold, with `_row`."""
        decoded = self._decoder.decode(records.values, schema_headers(records.headers()))
        for bad in decoded.quarantined:
            why = _DELETION if records.values[bad.row] is None else bad.message
            raise self._refused(records, bad.row, f"{bad.code}: {why}")
        return decoded.frame

    def _present(self, records: Records, is_deleted: pl.Series) -> pl.DataFrame:
        """What those hold that are no deletions, with `_row`."""
        rows = (~is_deleted).arg_true().to_list()
        values, headers = records.values, schema_headers(records.headers())
        decoded = self._decoder.decode(
            [values[row] for row in rows],
            {place: headers[row] for place, row in enumerate(rows) if row in headers},
        )
        for bad in decoded.quarantined:
            raise self._refused(records, rows[bad.row], f"{bad.code}: {bad.message}")
        return decoded.frame.with_columns(pl.Series(ROW, rows, ROW_TYPE))

    def _upserts(self, records: Records, reader: KeyReader) -> pl.DataFrame:
        keys, faults = reader.columns(records.keys())
        for row, fault in sorted(faults.items()):
            raise self._refused(records, row, f"{Code.BAD_KEY}: {fault}")
        values = records.values
        if None not in values:
            rows = self._rows(records)
            self._require_same_keys(records, rows, keys)
            return as_upserts(rows)
        is_deleted = pl.Series([value is None for value in values], dtype=pl.Boolean)
        rows = self._present(records, is_deleted)
        self._require_same_keys(records, rows, keys.filter(~is_deleted))
        deletions = as_upserts(keys.filter(is_deleted), is_deleted=True)
        return pl.concat([as_upserts(rows), deletions], how="diagonal").sort(ROW)

    def _require_same_keys(self, records: Records, rows: pl.DataFrame, keys: pl.DataFrame) -> None:
        own = rows.select(keys.columns)
        if not own.equals(keys):
            (row, *_) = own.join(keys, on=keys.columns, how="anti", maintain_order="left")[ROW]
            raise self._refused(records, row, f"{Code.BAD_KEY}: the key is not that of its columns")

    def _refused(self, records: Records, row: int, why: str) -> FatalError:
        place = Partition(records.topic, records.partitions()[row])
        return FatalError(
            f"{place}@{records.offsets()[row]} is no row of the contract v{self._contract.version}"
            f" ({why}); ask the product's owner who wrote it to the log.",
            code="UNREADABLE_RECORD",
        )
