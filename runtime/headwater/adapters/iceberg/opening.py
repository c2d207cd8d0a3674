"""Finds the table of a directory in its catalogue, or that one may begin there."""

from pathlib import Path
from typing import Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from headwater.adapters.iceberg.catalogue import FILE, identifier, open_catalogue
from headwater.adapters.iceberg.reading import TOPIC
from headwater.snapshot.refusals import another_table, damaged, elsewhere, not_ours

DATA: Final = "data"  # the folder of data files, where Iceberg's writers have theirs
METADATA: Final = "metadata"  # likewise, of all else


def open_table(directory: Path, topic: str, url: str) -> Table | None:
    """The table of a topic; None where one may begin.

    `url` is that of a shared catalogue, empty where the table has its own. Raises StartRefusedError
    (NOT_OUR_TABLE), DamagedError, and what SQLAlchemy raises.
    """
    if not url and not (directory / FILE).is_file():
        _require_unused(directory, topic)
        return None
    catalogue = open_catalogue(directory, url)
    try:
        table = catalogue.load_table(identifier(topic))
    except NoSuchTableError:
        if not url and (names := _tables_of(catalogue)):
            raise another_table(str(directory), topic, names[0]) from None
        if _has_rows(directory):
            raise damaged(str(directory), "its catalogue does not know the table") from None
        _require_unused(directory, topic)
        return None
    if (found := table.properties.get(TOPIC)) != topic:
        raise another_table(str(directory), topic, found)
    if url and Path(table.location()) != directory.absolute():
        raise elsewhere(str(directory), topic, table.location())
    return table


def _require_unused(directory: Path, topic: str) -> None:
    """What a crash or a full disk leaves of a creation is no table yet; all else is another's."""
    if not directory.exists():
        return
    is_ours = directory.is_dir() and all(
        path.name in {FILE, DATA, METADATA} for path in directory.iterdir()
    )
    if not is_ours or _has_rows(directory):
        raise not_ours(str(directory), topic, "it holds other files")


def _has_rows(directory: Path) -> bool:
    return any((directory / DATA).rglob("*.parquet"))


def _tables_of(catalogue: SqlCatalog) -> list[str]:
    return [
        ".".join(found)
        for space in catalogue.list_namespaces()
        for found in catalogue.list_tables(space)
    ]
