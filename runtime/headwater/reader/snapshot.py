"""A product's table at one cut, as whatever its reader computes with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from headwater.contract import Contract, from_arrow
from headwater.errors import ConfigurationError, DamagedError, Problem, ReadRefusedError
from headwater.ports import Table, TableFile
from headwater.reader.cuts import SnapshotCut
from headwater.snapshot.rows import PLACE

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as ds  # brings pandas in, where that is installed

END: Any = (float("inf"), float("inf"))  # behind every place: a file of which the table says none


class Snapshot:
    """The rows of one cut, pinned: what is committed meanwhile does not change them.

    The columns are the contract's and `_partition`, `_offset`, `_timestamp`, in the table's types
    (docs/types.md). Every method raises ReadRefusedError (SNAPSHOT_GONE) once the table does not
    keep this version any more.
    """

    def __init__(self, table: Table, contract: Contract, cut: SnapshotCut) -> None:
        self.cut = cut
        self._table = table
        self._contract = contract

    @property
    def rows(self) -> int:
        """How many rows there are."""
        counted = [each.rows for each in self.files()]
        known = [each for each in counted if each is not None]
        return sum(known) if len(known) == len(counted) else self.dataset().count_rows()

    def dataset(self) -> "ds.Dataset":
        """A dataset of pyarrow. Reads nothing yet."""
        with self._pinned():
            return self._table.dataset(self.cut.read_version)

    def lazy(self) -> pl.LazyFrame:
        """A lazy frame of Polars, which reads only the columns and rows that are asked for."""
        return pl.scan_pyarrow_dataset(self.dataset())

    def pandas(self) -> Any:
        """A frame of pandas, all rows in memory. Raises ConfigurationError (NOT_INSTALLED)."""
        with installed("pandas"):
            return self.dataset().to_table().to_pandas()

    def duckdb(self) -> "duckdb.DuckDBPyRelation":
        """A relation of DuckDB. Raises ConfigurationError (NOT_INSTALLED)."""
        with installed("duckdb"):
            import duckdb  # noqa: PLC0415  # only who asks for it needs it
        return duckdb.from_arrow(self.dataset())

    def files(self) -> Sequence[TableFile]:
        """The files, in the order of the log as far as the table tells it."""
        with self._pinned():
            found = self._table.files(self.cut.read_version)
        return sorted(found, key=_place)

    def frames(self, files: int = 0, rows: int = 0) -> Iterator[tuple[pl.DataFrame, int, int]]:
        """The rows in the contract's types, in parts, but for so many files and rows of the next.

        With each part, how many files and rows of the next one were read then.
        """
        for place, file in enumerate(self.files()[files:], files):
            done, skipped = 0, rows if place == files else 0
            with self._pinned():
                for batch in self._table.scan(file.name):
                    news = batch.slice(max(0, skipped - done))
                    done += batch.num_rows
                    if news.num_rows:
                        yield self._frame(news), place, done

    def of_file(self, file: TableFile) -> Iterator[pl.DataFrame]:
        """The rows of one file in the contract's types, in parts, as they stand in it.

        Raises DamagedError for a value that the contract's type cannot hold.
        """
        try:
            with self._pinned():
                for batch in self._table.scan(file.name):
                    yield self._frame(batch)
        except pa.ArrowInvalid as error:  # its message may quote the value
            raise DamagedError(f"{file.name} holds a value that no row of the log has") from error

    def _frame(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """Rows under the contract; what is older than a column has its default."""
        contract = self._contract
        wanted = [*contract.columns, *PLACE.names]
        table = pa.Table.from_batches([batch])
        stored = [name for name in wanted if name in table.column_names]
        frame = from_arrow(table.select(stored), contract)
        missing = [name for name in contract.columns if name not in stored]
        if unknown := [name for name in missing if name not in contract.defaults]:
            raise ReadRefusedError(
                f"The snapshot in {self._table.location} has no column {', '.join(unknown)}, for"
                f" which the contract of {contract.topic} has no default; read from the beginning"
                f" of the log, or ask the product's owner for a new snapshot.",
                code="SNAPSHOT_COLUMNS",
            )
        news = [contract.defaults[name].new_from_index(0, frame.height) for name in missing]
        return frame.with_columns(
            each.alias(name) for name, each in zip(missing, news, strict=True)
        ).select(wanted)

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        try:
            yield
        except DamagedError as error:
            if error.code != "FILE_GONE":
                raise
            raise ReadRefusedError(
                f"The snapshot in {self._table.location} does not keep its version"
                f" {self.cut.read_version} any more: what is older than its retention was cleaned"
                f" up. Begin again from the newest snapshot.",
                code="SNAPSHOT_GONE",
            ) from error


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
