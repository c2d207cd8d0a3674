"""A product's table at one cut, as whatever its reader computes with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract import Contract
from headwater.errors import ConfigurationError, DamagedError, Problem, ReadRefusedError
from headwater.ports import CommitRecord, Table, TableFile
from headwater.reader.cuts import SnapshotCut
from headwater.reader.evolved import RowStream, admitted, evolved_lazy, in_table_types, lazy_frame
from headwater.reader.position import bad_token
from headwater.snapshot.contract_rows import ContractOf, ContractRows
from headwater.snapshot.days import ClosedDays, closed_days
from headwater.snapshot.division import DATE, scalar_of
from headwater.snapshot.layout import Layout
from headwater.snapshot.place import PLACE

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as ds  # brings pandas in, where that is installed

END: Any = (float("inf"), float("inf"))  # behind every place: a file of which the table says none


class Snapshot:
    """The rows of one cut, pinned: what is committed meanwhile does not change them.

    The columns are the contract's and `_partition`, `_offset`, `_timestamp`, in the table's types
    (docs/types.md), and `_date` of a table that is divided by it, also of rows that older versions
    of the contract took: they are what the log gives for the same events. Filters on the column
    that divides a table pass by the files of other values. Every method raises ReadRefusedError:
    SNAPSHOT_GONE once the table does not keep this version any more, SNAPSHOT_COLUMNS for rows
    that the contract cannot read.
    """

    def __init__(
        self, table: Table, contract: Contract, cut: SnapshotCut, contract_of: ContractOf
    ) -> None:
        self.cut = cut
        self._table = table
        self._contract = contract
        self._contract_of = contract_of

    @property
    def rows(self) -> int:
        """How many rows there are."""
        counted = [each.rows for each in self.files()]
        known = [each for each in counted if each is not None]
        return sum(known) if len(known) == len(counted) else self.dataset().count_rows()

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self.layout.contract_columns

    @cached_property
    def layout(self) -> Layout:
        """How the table would have the contract's columns if it held no other version's."""
        return Layout(self._contract, is_dated=self._table.divided_by == DATE)

    def dataset(self) -> "ds.Dataset":
        """A dataset of pyarrow. Reads nothing yet.

        Raises ReadRefusedError (SNAPSHOT_EVOLVED) when the columns of older rows are not those of
        the contract as they stand: under another name, or to be filled in with a default. What
        else a snapshot is given as does that.
        """
        if (found := self._as_stored()) is None:
            raise ReadRefusedError(
                f"The snapshot in {self._table.location} has rows of older versions of its contract"
                f" whose columns a dataset cannot give as today's; take .lazy(), .duckdb() or"
                f" .batches().",
                code="SNAPSHOT_EVOLVED",
            )
        return found

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in parts: these columns of the contract or all, and always those beside it.

        Raises ReadRefusedError (NO_COLUMN) for one that is neither.
        """
        asked = self._contract.columns if columns is None else dict.fromkeys(columns)
        known = self.schema.names
        if unknown := [name for name in asked if name not in known]:
            raise ReadRefusedError(
                f"No column {', '.join(map(str, unknown))} in {self._contract.topic}; it has"
                f" {', '.join(known)}.",
                code="NO_COLUMN",
            )
        names = [name for name in asked if name in self._contract.columns]
        with self._pinned():
            found, rows = self._table.dataset(self.cut.read_version), self._rows
            stored = rows.stored_columns(names, found.schema)
            for batch in found.to_batches(columns=stored):
                if batch.num_rows:
                    frame = rows.frame(pa.Table.from_batches([batch]), names)
                    yield from in_table_types(frame, self.layout, names).to_batches()

    def lazy(self) -> pl.LazyFrame:
        """A lazy frame of Polars, which reads only the columns that are asked for.

        Where `dataset` can be given, a filter on the column that divides the table passes by the
        files of other values.
        """
        found = self._as_stored()
        if found is None:
            return evolved_lazy(self)

        def batches(names: Sequence[str], predicate: pl.Expr | None) -> Iterator[pa.RecordBatch]:
            wanted = None if predicate is None else self._files_with(predicate)
            with self._pinned():
                yield from found.to_batches(columns=list(names), filter=wanted)

        return lazy_frame(found.schema, batches)

    def _files_with(self, predicate: pl.Expr) -> "ds.Expression | None":
        """What is true of all rows of the files that may hold what fulfils a predicate."""
        by = self._table.divided_by
        if by is None or by not in self.schema.names:
            return None
        kind = self.schema.field(by).type
        values = {each.value: scalar_of(each.value, kind).as_py() for each in self.files()}
        held = pl.DataFrame(pa.table({by: pa.array(values.values(), kind)}))[by]
        wanted = admitted(held, predicate)
        known = pc.field(by).isin(pa.array(wanted.drop_nulls().to_list(), kind))
        return known | pc.field(by).is_null() if wanted.has_nulls() else known

    def pandas(self) -> Any:
        """A frame of pandas, all rows in memory. Raises ConfigurationError (NOT_INSTALLED).

        Integers are of pandas' own types, which know null: as floats they would lose digits.
        """
        with installed("pandas"):
            import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415  # no stubs; only who asks needs it
        found = self._as_stored()
        rows = pa.table(RowStream(self)) if found is None else found.to_table()
        integers = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
        return rows.to_pandas(types_mapper=integers.get)

    def duckdb(self) -> "duckdb.DuckDBPyRelation":
        """A relation of DuckDB. Raises ConfigurationError (NOT_INSTALLED)."""
        with installed("duckdb"):
            import duckdb  # noqa: PLC0415  # only who asks for it needs it
        return duckdb.from_arrow(self.scannable())

    def scannable(self) -> Any:
        """What DuckDB reads any number of times: the dataset, else a stream of the same rows."""
        found = self._as_stored()
        return RowStream(self) if found is None else found

    def _as_stored(self) -> "ds.Dataset | None":
        """The table's dataset with the columns of the contract, if that is all there is to do."""
        with self._pinned():
            found = self._table.dataset(self.cut.read_version)
        wanted = self.schema
        if found.schema.names == wanted.names and self._rows.are_as_stored(found.schema):
            return found
        if not self._rows.are_as_stored(found.schema):
            return None
        types = dict(zip(found.schema.names, found.schema.types, strict=True))
        return found.replace_schema(
            pa.schema([each.with_type(types.get(each.name, each.type)) for each in wanted])
        )

    @cached_property
    def _rows(self) -> ContractRows:
        commits = [each for version, each in self._table.commits() if version <= self.cut.version]
        records = [each for each in commits if isinstance(each, CommitRecord)]
        return ContractRows(self.layout, records, self._contract_of)

    def days(self) -> ClosedDays:
        """Which days of event time are closed; of mode "daily" only. Reads no rows."""
        commits = self._table.commits()
        found = closed_days(each for version, each in commits if version <= self.cut.version)
        if self._table.divided_by != DATE:
            return found
        rows: dict[date | None, int | None] = {}
        for file in self.files():
            day = None if file.value is None else date.fromisoformat(file.value)
            before = rows.get(day, 0)
            rows[day] = None if before is None or file.rows is None else before + file.rows
        return replace(found, rows=rows)

    def files(self) -> Sequence[TableFile]:
        """The files, in the order of the log as far as the table tells it."""
        with self._pinned():
            found = self._table.files(self.cut.read_version)
        return sorted(found, key=_place)

    def frames(self, files: int = 0, rows: int = 0) -> Iterator[tuple[pl.DataFrame, int, int]]:
        """The rows in the contract's types, in parts, but for so many files and rows of the next.

        With each part, how many files and rows of the next one were read then. Raises
        ReadRefusedError (BAD_TOKEN) where there are not so many: rows would be passed over.
        """
        found = self.files()
        if files > len(found) or (rows and files == len(found)):
            raise _behind_all()
        for place, file in enumerate(found[files:], files):
            done, skipped = 0, rows if place == files else 0
            with self._pinned():
                for batch in self._table.scan(file.name):
                    news = batch.slice(max(0, skipped - done))
                    done += batch.num_rows
                    if news.num_rows:
                        rows = pa.Table.from_batches([news])
                        yield self._frame(rows), place, done
            if done < skipped:
                raise _behind_all()

    def of_file(self, file: TableFile) -> Iterator[pl.DataFrame]:
        """The rows of one file in the contract's types, in parts, as they stand in it.

        Raises DamagedError for a value that the contract's type cannot hold.
        """
        try:
            with self._pinned():
                for batch in self._table.scan(file.name):
                    yield self._frame(pa.Table.from_batches([batch]))
        except pa.ArrowInvalid as error:  # its message may quote the value
            raise DamagedError(f"{file.name} holds a value that no row of the log has") from error

    def _frame(self, rows: pa.Table) -> pl.DataFrame:
        """Rows as the log gives them: without the day by which a table is divided."""
        return self._rows.frame(rows).select([*self._contract.columns, *PLACE.names])

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        try:
            yield
        except (DamagedError, FileNotFoundError) as error:  # of a dataset it is the system's own
            if isinstance(error, DamagedError) and error.code != "FILE_GONE":
                raise
            raise ReadRefusedError(
                f"The snapshot in {self._table.location} does not keep its version"
                f" {self.cut.read_version} any more: what is older than its retention was cleaned"
                f" up. Begin again from the newest snapshot.",
                code="SNAPSHOT_GONE",
            ) from error


def _behind_all() -> ReadRefusedError:
    return bad_token("This token is behind more rows than its snapshot has")


def _place(file: TableFile) -> tuple[Any, Any, str]:
    return (file.partitions or END, file.offsets or END, file.name)


@contextmanager
def installed(package: str) -> Iterator[None]:
    """Says what to install where this package is not. Raises ConfigurationError (NOT_INSTALLED)."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = f"{package} is not installed: run `pip install {package}`"
        raise ConfigurationError([Problem("NOT_INSTALLED", hint)]) from error
