"""A SQL catalogue that reads each metadata file once."""

from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table


class RememberingCatalog(SqlCatalog):
    """pyiceberg reads and parses the newest metadata at each look, and a commit looks some 9 times.

    A metadata file never changes, so the one of the last look is remembered by its name.
    """

    _last: Table | None = None

    def _convert_orm_to_iceberg(self, orm_table: Any) -> Table:
        known = self._last
        if known is None or known.metadata_location != orm_table.metadata_location:
            known = super()._convert_orm_to_iceberg(orm_table)
            self._last = known
        return Table(known.name(), known.metadata, known.metadata_location, known.io, self)
