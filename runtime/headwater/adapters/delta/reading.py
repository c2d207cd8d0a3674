"""What a Delta log says of its files, and what stands in the way of reading it."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError

from headwater.adapters.delta.log import LOG, commit_told
from headwater.adapters.parquet.reading import dataset as of_files
from headwater.adapters.parquet.reading import placed, valued
from headwater.adapters.tables.files import StoredFile, TableFiles, numbered
from headwater.errors import UnverifiableError
from headwater.ports import CommitRecord, TableFile, UnreadableRecord
from headwater.snapshot.division import text_of
from headwater.snapshot.file_names import places_of
from headwater.snapshot.record import KEY, from_text

_BACKTRACE: Final = re.compile(r"^\s*(\d+: |at )")

_PARQUET_END: Final = b"PAR1"
LOOKS: Final = 6  # at a log that others write meanwhile

_T = TypeVar("_T")

Commit = tuple[int, CommitRecord | UnreadableRecord]
"""A commit with its table version."""


def load(storage: TableFiles, version: int | None = None) -> DeltaTable:
    """The table, or what it was in a version. Raises DeltaError, OSError."""
    options = dict(storage.options)
    return _listed(lambda: DeltaTable(storage.location, version=version, storage_options=options))


def follow(table: DeltaTable) -> None:
    """Make a table what it is by now. Raises DeltaError, OSError."""
    _listed(table.update_incremental)


def _listed(look: Callable[[], _T]) -> _T:
    """What deltalake finds in the log, which it lists.

    A long directory is listed in steps: of two entries that land meanwhile the second may be found
    without the first, which deltalake takes for a gap. A gap that is there is there at each look.
    """
    for _ in range(LOOKS - 1):
        try:
            return look()
        except TableNotFoundError:
            raise
        except DeltaError:
            continue
    return look()


def newest_commit(storage: TableFiles, version: int) -> Commit | None:
    """The newest entry of ours with a record, at a version or before it.

    Entries are asked for by name, newest first, until one has a record: most have, those of upkeep
    have none. deltalake's history lists the whole log, which only grows. Raises DeltaError.
    """
    while (told := commit_told(storage, version)) is not None:
        if (record := from_text(told.get(KEY))) is not None:
            return version, record
        version -= 1
    return None


def files(table: DeltaTable, location: str) -> list[TableFile]:
    """The files of a table. Raises UnverifiableError when they are not all there is to its rows."""
    by = divided_by(table)
    return [_file(added, by) for added in _added(table, location)]


def dataset(table: DeltaTable, storage: TableFiles) -> ds.Dataset:
    """The rows of a table's files. Raises UnverifiableError as `files` does.

    Not deltalake's own: where an entry tells no least and greatest value of a column, that one
    takes every row for smaller than null, and a filter on the column finds nothing.
    """
    schema = pa.schema(table.schema().to_arrow())
    told = (
        (unquote(added["path"]), _divided(added, schema) & placed(_file(added, None)))
        for added in _added(table, storage.location)
    )
    return of_files(storage, told, schema)


def _divided(added: dict[str, Any], schema: pa.Schema) -> ds.Expression:
    """What an entry says of all rows of its file: the values that divide the table."""
    known = ds.scalar(True)  # noqa: FBT003  # what is said of a file of which nothing is
    for name, value in added.items():
        column = name.removeprefix("partition.")
        if column != name:
            known &= valued(column, text_of(value), schema)
    return known


def divided_by(table: DeltaTable) -> str | None:
    """The column that divides a table, if any."""
    return next(iter(table.metadata().partition_columns), None)


def in_delta(columns: pa.Schema) -> pa.Schema:
    """Columns in Delta's own types: it knows neither milliseconds nor fixed widths."""
    return pa.schema(Schema.from_arrow(columns).to_arrow())


def paths(table: DeltaTable) -> dict[str, str]:
    """The names of a table's files, with their paths as the log has them: escaped."""
    found = pa.table(table.get_add_actions())["path"].to_pylist()
    return {unquote(path): path for path in found}


def _added(table: DeltaTable, location: str) -> list[dict[str, Any]]:
    try:
        table.to_pyarrow_dataset()  # reads nothing; asks whether the files alone are the rows
    except DeltaProtocolError as error:
        raise UnverifiableError(
            f"The table in {location} uses a feature of Delta that is not read here: {error}"
        ) from error
    found: list[dict[str, Any]] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return found


def _file(added: dict[str, Any], by: str | None) -> TableFile:
    """What the entry says, which other readers go by; else what the name does."""
    name = unquote(added["path"])
    partitions, offsets = places_of(name) or (None, None)
    return TableFile(
        name=name,
        rows=added.get("num_records"),
        partitions=_bounds(added, "_partition") or partitions,
        offsets=_bounds(added, "_offset") or offsets,
        value=text_of(added.get(f"partition.{by}")),
        size=added["size_bytes"],
    )


def _bounds(added: dict[str, Any], column: str) -> tuple[int, int] | None:
    first, last = added.get(f"min.{column}"), added.get(f"max.{column}")
    return None if first is None or last is None else (first, last)


def reason(cause: Exception, storage: TableFiles) -> str:
    """What the storage says, else the last and most concrete line of a nested message."""
    if isinstance(cause, OSError) and (told := storage.reason(cause)):
        return told
    lines = [line for line in str(cause).strip().splitlines() if not _BACKTRACE.match(line)]
    return lines[-1].split("Error: ")[-1].strip(" ↳\x1b[]031m") if lines else type(cause).__name__


def checkpoints(listed: Iterable[StoredFile]) -> Iterator[tuple[int, StoredFile]]:
    """The versions that have a checkpoint among listed files, with each part of it."""
    for each in listed:
        path = PurePosixPath(each.name)
        if path.match(f"{LOG}/*.checkpoint*.parquet"):
            yield int(path.name.partition(".")[0]), each


def lack(storage: TableFiles) -> str:
    """What the table's log lacks, as a phrase; empty when it is whole as far as can be told.

    A checkpoint may be cut short where power failed on a writer that waits for no disk. Raises
    OSError.
    """
    listed = list(storage.listed(LOG))
    found = {version for version, _ in numbered(listed, LOG)}
    if found and (missing := sorted(set(range(min(found), max(found))) - found)):
        return f"its log lacks version {', '.join(map(str, missing))}"
    names = sorted(each.name for _, each in checkpoints(listed))
    if torn := [PurePosixPath(name).name for name in names if _is_torn(storage.read(name))]:
        phrase = f"its log's checkpoint {', '.join(torn)} is cut short"
        if 0 in found:
            phrase += "; remove that and _last_checkpoint, the entries beside them hold the same"
        return phrase
    return ""


def _is_torn(content: bytes) -> bool:
    return not content.endswith(_PARQUET_END)
