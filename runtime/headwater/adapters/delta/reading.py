"""Files of a Delta table, read by no statistics: what they hold may not be what the log says."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaProtocolError
from pyarrow import fs

from headwater.errors import DamagedError, UnverifiableError
from headwater.ports import TableFile

BATCH_ROWS: Final = 20_000  # large enough for columns, small beside a file
_READAHEAD: Final = 2  # batches decoded in advance; pyarrow's 16 would be a file in memory
_BACKTRACE: Final = re.compile(r"^\s*(\d+: |at )")
_FORMAT: Final = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def files(table: DeltaTable, location: str) -> list[TableFile]:
    """The files of a table. Raises UnverifiableError when they are not all there is to its rows."""
    dataset(table, location)  # reads nothing; asks whether the files alone are the rows
    return [_file(added) for added in pa.table(table.get_add_actions(flatten=True)).to_pylist()]


def dataset(table: DeltaTable, location: str) -> ds.Dataset:
    """The rows of a table's files. Raises UnverifiableError as `files` does."""
    try:
        return table.to_pyarrow_dataset(schema=pa.schema(table.schema().to_arrow()))
    except DeltaProtocolError as error:
        raise UnverifiableError(
            f"The table in {location} uses a feature of Delta that is not read here: {error}"
        ) from error


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
