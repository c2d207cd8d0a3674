"""Rows of a snapshot that older versions of the contract took, as engines read them."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from headwater.contract import Contract, to_arrow
from headwater.snapshot.place import PLACE


class Batches(Protocol):
    """Rows in parts, as often as they are asked for."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, of these columns or all, with their places."""
        ...


class RowStream:
    """The rows as a stream of Arrow that begins anew whenever it is read.

    By the Arrow PyCapsule interface, which pyarrow, Polars and DuckDB read.
    """

    def __init__(self, rows: Batches) -> None:
        self._rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        """The stream as a capsule."""
        reader = pa.RecordBatchReader.from_batches(self._rows.schema, self._rows.batches())
        return reader.__arrow_c_stream__(requested_schema)


def evolved_lazy(rows: Batches) -> pl.LazyFrame:
    """A lazy frame of the rows, which makes only the columns that are asked for."""
    schema = _frame(rows.schema.empty_table()).schema

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        asked = list(schema) if with_columns is None else with_columns
        left = n_rows
        for batch in rows.batches([name for name in asked if name not in PLACE.names]):
            frame = _frame(pa.Table.from_batches([batch])).select(asked)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    return register_io_source(source, schema=schema)


def with_places(frame: pl.DataFrame, contract: Contract, names: Sequence[str]) -> pa.Table:
    """A frame in the contract's types in those of a table, with the places of its rows."""
    rows = to_arrow(frame, contract, names)
    for each in PLACE:
        rows = rows.append_column(each, frame[each.name].to_arrow().cast(each.type))
    return rows


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  # of a table it is one; for the checker
    return frame
