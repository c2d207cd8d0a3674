"""Rows of a snapshot as engines read them, also those that older versions of the contract took."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from headwater.contract import to_arrow
from headwater.snapshot.division import DATE
from headwater.snapshot.layout import Layout
from headwater.snapshot.place import PLACE


class Batches(Protocol):
    """Rows in parts, as often as they are asked for."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, of these columns of the contract or all, with all others."""
        ...


BatchesOf = Callable[[Sequence[str], pl.Expr | None], Iterator[pa.RecordBatch]]
"""Rows with these columns at least; those that do not fulfil the predicate may be left out."""


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

    def batches(names: Sequence[str], _predicate: pl.Expr | None) -> Iterator[pa.RecordBatch]:
        return rows.batches([name for name in names if name not in {*PLACE.names, DATE}])

    return lazy_frame(rows.schema, batches)


def lazy_frame(schema: pa.Schema, batches: BatchesOf) -> pl.LazyFrame:
    """A lazy frame whose rows Polars itself filters.

    Given to pyarrow, a filter finds other rows: NaN is greater than nothing there, and null is not
    in any list.
    """
    columns = _frame(schema.empty_table()).schema

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        asked = list(columns) if with_columns is None else with_columns
        left = n_rows  # counted before the filter, so that nothing may be passed by
        for batch in batches(asked, predicate if left is None else None):
            frame = _frame(pa.Table.from_batches([batch])).select(asked)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return

    return register_io_source(source, schema=columns)


def admitted(values: pl.Series, predicate: pl.Expr) -> pl.Series:
    """Those values of a column that may fulfil a predicate, null among them.

    All but what one of its terms, of those that must all hold, refuses by this column alone.
    """
    rows = values.to_frame()
    for term in _terms(predicate):
        if set(term.meta.root_names()) == {values.name}:
            rows = rows.filter(term)
    return rows.to_series()


def _terms(predicate: pl.Expr) -> list[pl.Expr]:
    """What must all hold for a predicate to hold."""
    inside = predicate.meta.pop()
    if len(inside) == 2:  # noqa: PLR2004  # of an operator with two sides
        for one, other in (inside, inside[::-1]):
            if (one & other).meta.eq(predicate):
                return [*_terms(one), *_terms(other)]
    return [predicate]


def in_table_types(frame: pl.DataFrame, layout: Layout, names: Sequence[str]) -> pa.Table:
    """These columns of a frame in the contract's types, and all beside it, in those of a table."""
    rows = to_arrow(frame, layout.contract, names)
    beside = [frame[each.name].to_arrow().cast(each.type) for each in layout.beside]
    columns = pa.schema([*rows.schema, *layout.beside])
    return pa.Table.from_arrays([*rows.columns, *beside], schema=columns)


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  # of a table it is one; for the checker
    return frame
