"""Finds the table of a place in its catalogue, or that one may begin there."""

from typing import Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from headwater.adapters.iceberg.catalogue import FILE, identifier, open_catalogue
from headwater.adapters.iceberg.reading import TOPIC
from headwater.adapters.iceberg.remembering import ElsewhereError
from headwater.adapters.iceberg.storage import root_of
from headwater.adapters.tables.files import TableFiles
from headwater.errors import DamagedError, StartRefusedError
from headwater.snapshot.refusals import another_table, damaged, elsewhere, not_ours

DATA: Final = "data"  # the folder of data files, where Iceberg's writers have theirs
METADATA: Final = "metadata"  # likewise, of all else
JOURNAL: Final = f"{FILE}-journal"  # SQLite's, while somebody writes the catalogue


def open_table(files: TableFiles, topic: str, url: str) -> Table | None:
    """The table of a topic; None where one may begin.

    `url` is that of a shared catalogue, empty where the table has its own. Raises StartRefusedError
    (NOT_OUR_TABLE), DamagedError, OSError, and what SQLAlchemy raises.
    """
    try:
        return _found(files, topic, url)
    except (StartRefusedError, DamagedError):  # or it was begun between two looks
        return _found(files, topic, url)


def _found(files: TableFiles, topic: str, url: str) -> Table | None:
    place = files.location
    if not url and not files.exists(FILE):
        _require_unused(files, topic)
        return None
    catalogue = open_catalogue(files, url)
    try:
        table = catalogue.load_table(identifier(topic))
    except ElsewhereError as found:
        raise elsewhere(place, topic, str(found)) from None
    except NoSuchTableError:
        if not url and (names := _tables_of(catalogue)):
            raise another_table(place, topic, names[0]) from None
        if _has_rows(files):
            raise damaged(place, "its catalogue does not know the table") from None
        _require_unused(files, topic)
        return None
    if (owner := table.properties.get(TOPIC)) != topic:
        raise another_table(place, topic, owner)
    if url and table.location() != root_of(files):
        raise elsewhere(place, topic, table.location())
    return table


def _require_unused(files: TableFiles, topic: str) -> None:
    """What a crash or a full disk leaves of a creation is no table yet; all else is another's."""
    if not files.children() <= {FILE, JOURNAL, DATA, METADATA} or _has_rows(files):
        raise not_ours(files.location, topic, "it holds other files")


def _has_rows(files: TableFiles) -> bool:
    return any(each.name.endswith(".parquet") for each in files.listed(DATA))


def _tables_of(catalogue: SqlCatalog) -> list[str]:
    return [
        ".".join(found)
        for space in catalogue.list_namespaces()
        for found in catalogue.list_tables(space)
    ]
