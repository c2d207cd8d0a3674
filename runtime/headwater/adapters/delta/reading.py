"""What a Delta log says of its files, and what stands in the way of reading it."""

import re
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaProtocolError

from headwater.errors import UnverifiableError
from headwater.ports import TableFile

_BACKTRACE: Final = re.compile(r"^\s*(\d+: |at )")


def files(table: DeltaTable, location: str) -> list[TableFile]:
    """The files of a table. Raises UnverifiableError when they are not all there is to its rows."""
    try:
        table.to_pyarrow_dataset()  # reads nothing; asks whether the files alone are the rows
    except DeltaProtocolError as error:
        raise UnverifiableError(
            f"The table in {location} uses a feature of Delta that is not read here: {error}"
        ) from error
    return [_file(added) for added in pa.table(table.get_add_actions(flatten=True)).to_pylist()]


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
