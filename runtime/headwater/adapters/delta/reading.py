"""What a Delta log says of its files, and what stands in the way of reading it."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaProtocolError

from headwater.adapters.parquet.reading import dataset as of_files
from headwater.adapters.parquet.reading import placed
from headwater.errors import UnverifiableError
from headwater.ports import TableFile
from headwater.snapshot.file_names import places_of

_BACKTRACE: Final = re.compile(r"^\s*(\d+: |at )")


def files(table: DeltaTable, location: str) -> list[TableFile]:
    """The files of a table. Raises UnverifiableError when they are not all there is to its rows."""
    return [_file(added) for added in _added(table, location)]


def dataset(table: DeltaTable, directory: Path) -> ds.Dataset:
    """The rows of a table's files. Raises UnverifiableError as `files` does.

    Not deltalake's own: where an entry tells no least and greatest value of a column, that one
    takes every row for smaller than null, and a filter on the column finds nothing.
    """
    schema = pa.schema(table.schema().to_arrow())
    told = (
        (directory / unquote(added["path"]), _divided(added, schema) & placed(_file(added)))
        for added in _added(table, str(directory))
    )
    return of_files(told, schema)


def _divided(added: dict[str, Any], schema: pa.Schema) -> ds.Expression:
    """What an entry says of all rows of its file: the values that divide the table."""
    known = ds.scalar(True)  # noqa: FBT003  # what is said of a file of which nothing is
    for name, value in added.items():
        column = name.removeprefix("partition.")
        if column != name:
            wanted = pa.scalar(value).cast(schema.field(column).type)
            known &= ds.field(column).is_null() if value is None else ds.field(column) == wanted
    return known


def _added(table: DeltaTable, location: str) -> list[dict[str, Any]]:
    try:
        table.to_pyarrow_dataset()  # reads nothing; asks whether the files alone are the rows
    except DeltaProtocolError as error:
        raise UnverifiableError(
            f"The table in {location} uses a feature of Delta that is not read here: {error}"
        ) from error
    found: list[dict[str, Any]] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return found


def _file(added: dict[str, Any]) -> TableFile:
    """What the entry says, which other readers go by; else what the name does."""
    partitions, offsets = places_of(added["path"]) or (None, None)
    return TableFile(
        name=added["path"],
        rows=added.get("num_records"),
        partitions=_bounds(added, "_partition") or partitions,
        offsets=_bounds(added, "_offset") or offsets,
        bytes=added["size_bytes"],
    )


def _bounds(added: dict[str, Any], column: str) -> tuple[int, int] | None:
    first, last = added.get(f"min.{column}"), added.get(f"max.{column}")
    return None if first is None or last is None else (first, last)


def reason(cause: Exception) -> str:
    """The last and most concrete line of a nested message."""
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    lines = [line for line in str(cause).strip().splitlines() if not _BACKTRACE.match(line)]
    return lines[-1].split("Error: ")[-1].strip(" ↳\x1b[]031m") if lines else type(cause).__name__


def missing_versions(directory: Path) -> list[int]:
    """Entries that the table's log lacks between its first and its last."""
    found = {
        int(path.stem) for path in (directory / "_delta_log").glob("*.json") if _is_entry(path)
    }
    return sorted(set(range(min(found), max(found))) - found) if found else []


def _is_entry(path: Path) -> bool:
    return path.stem.isdigit() and path.is_file()
