"""Files of a Delta table, read by no statistics: what they hold may not be what the log says."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaProtocolError
from pyarrow import fs

from headwater.errors import DamagedError, UnverifiableError
from headwater.ports import TableFile

PLACED: Final = ("_partition", "_offset")  # columns whose bounds tell which files to skip
BATCH_ROWS: Final = 20_000  # large enough for columns, small beside a file
_READAHEAD: Final = 2  # batches decoded in advance; pyarrow's 16 would be a file in memory
_BACKTRACE: Final = re.compile(r"^\s*(\d+: |at )")
_FORMAT: Final = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def files(table: DeltaTable, location: str) -> list[TableFile]:
    """The files of a table. Raises UnverifiableError when they are not all there is to its rows."""
    return [_file(added) for added in _added(table, location)]


def dataset(table: DeltaTable, directory: Path) -> ds.Dataset:
    """The rows of a table's files. Raises UnverifiableError as `files` does.

    Not deltalake's own: where an entry tells no least and greatest value of a column, that one
    takes every row for smaller than null, and a filter on the column finds nothing.
    """
    schema, local = pa.schema(table.schema().to_arrow()), fs.LocalFileSystem()
    fragments = [
        _FORMAT.make_fragment(
            str(directory / unquote(added["path"])),
            local,
            partition_expression=_told(added, schema),
        )
        for added in _added(table, str(directory))
    ]
    return ds.FileSystemDataset(fragments, schema, _FORMAT, local)


def _told(added: dict[str, Any], schema: pa.Schema) -> ds.Expression:
    """What an entry says of all rows of its file: values that divide the table, and its place."""
    known = ds.scalar(True)  # noqa: FBT003  # what is said of a file of which nothing is
    for name, value in added.items():
        column = name.removeprefix("partition.")
        if column != name:
            wanted = pa.scalar(value).cast(schema.field(column).type)
            known &= ds.field(column).is_null() if value is None else ds.field(column) == wanted
    for column in PLACED:
        if (bounds := _bounds(added, column)) is not None:
            known &= (ds.field(column) >= bounds[0]) & (ds.field(column) <= bounds[1])
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
    return TableFile(
        name=added["path"],
        rows=added.get("num_records"),
        partitions=_bounds(added, "_partition"),
        offsets=_bounds(added, "_offset"),
    )


def _bounds(added: dict[str, Any], column: str) -> tuple[int, int] | None:
    first, last = added.get(f"min.{column}"), added.get(f"max.{column}")
    return None if first is None or last is None else (first, last)


def scan(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Every row of a file. Raises DamagedError, and OSError when the storage refuses."""
    try:
        fragment = _FORMAT.make_fragment(str(path), fs.LocalFileSystem())
        batches = fragment.to_batches(
            schema=schema, batch_size=BATCH_ROWS, batch_readahead=_READAHEAD
        )
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except FileNotFoundError as error:
        raise DamagedError(f"{path.name} is gone", code="FILE_GONE") from error
    except (OSError, pa.ArrowException) as error:
        # Arrow's own complaints about content are an OSError without a number; those of the
        # system have one. What they say may quote a value.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        raise DamagedError(f"{path.name} does not hold what a snapshot wrote") from error


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
