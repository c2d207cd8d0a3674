"""A SQL catalogue as one table uses it, reading each metadata file once."""

from copy import copy
from typing import Any, Self

from pyiceberg.catalog.sql import SqlCatalog, SqlCatalogBaseTable
from pyiceberg.io import FileIO
from pyiceberg.table import Table
from pyiceberg.typedef import EMPTY_DICT, Properties
from sqlalchemy.schema import CreateTable

from headwater.adapters.iceberg.storage import FILES, TableFileIO, below, is_url, root_of
from headwater.adapters.tables.files import TableFiles


class ElsewhereError(LookupError):
    """The catalogue knows the table in another place, which the text is."""


class RememberingCatalog(SqlCatalog):
    """pyiceberg reads and parses the newest metadata at each look, and a commit looks some 9 times.

    A metadata file never changes, so the one of the last look is remembered by its name. The name
    of a table is its row's, which may be another than at the last look.
    """

    _last: Table | None = None

    def of(self, files: TableFiles) -> Self:
        """The same catalogue, with the same connections, for the files of one table."""
        found = copy(self)
        found.properties = {**self.properties, FILES: files}
        return found

    def create_tables(self) -> None:
        """Make the catalogue's own tables, those that are not there yet.

        pyiceberg looks first: of two processes that begin one at the same moment, it would fail.
        """
        with self.engine.begin() as connection:
            for table in SqlCatalogBaseTable.metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))

    def _load_file_io(
        self,
        properties: Properties = EMPTY_DICT,  # noqa: ARG002  a table does not say who reads it
        location: str | None = None,  # noqa: ARG002  of any kind
    ) -> FileIO:
        return TableFileIO(self.properties)

    def _convert_orm_to_iceberg(self, orm_table: Any) -> Table:
        known = self._last
        if known is None or known.metadata_location != orm_table.metadata_location:
            self._require_reachable(str(orm_table.metadata_location))
            known = super()._convert_orm_to_iceberg(orm_table)
            self._last = known
        name = (*self.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name)
        return Table(name, known.metadata, known.metadata_location, known.io, self)

    def _require_reachable(self, location: str) -> None:
        """One directory's files can be read from another's, but not from a bucket's."""
        root = root_of(self.properties[FILES])
        if below(root, location) == location and (is_url(location) or is_url(root)):
            raise ElsewhereError(location.rpartition("/metadata/")[0] or location)
