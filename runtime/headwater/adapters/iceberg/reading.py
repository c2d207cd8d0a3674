"""What Iceberg's metadata says: the files of a version, its commits and where their cuts ended."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.types import IntegerType, LongType, PrimitiveType

from headwater.errors import StartRefusedError, UnverifiableError
from headwater.ports import CommitRecord, TableFile, UnreadableRecord
from headwater.snapshot.record import KEY, from_text

FORMAT_VERSION: Final = 2  # of Iceberg; what lies above are features we do not keep
ATTEMPT: Final = "headwater.attempt"  # the writer's own name for a snapshot
OFFSETS: Final = "headwater.offsets"  # the ends of the cuts as JSON, by topic id and partition
NEWEST: Final = "headwater.newest"  # the table's version of the newest cut
PRODUCT: Final = "headwater.product"
TOPIC: Final = "headwater.topic"

Offsets = Mapping[str, Mapping[int, int]]
_OFFSETS: Final[TypeAdapter[Offsets]] = TypeAdapter(Offsets)


def require_known(table: Table, location: str) -> None:
    """Raises StartRefusedError (TABLE_FEATURE) for a table that asks more of writers than we do."""
    found = []
    if table.metadata.format_version != FORMAT_VERSION:
        found.append(f"format version {table.metadata.format_version}")
    if not table.spec().is_unpartitioned():
        found.append("partitions")
    if found:
        raise StartRefusedError(
            f"The table in {location} asks its writers for features of Iceberg that are not kept"
            f" here ({', '.join(found)}); nothing was written. Drop the feature, or begin a new"
            f" snapshot with --to.",
            code="TABLE_FEATURE",
        )


def version(table: Table) -> int:
    """The sequence number of the newest snapshot; 0 before the first."""
    found = table.current_snapshot()
    return 0 if found is None else _number(found)


def ancestry(table: Table) -> Iterator[Snapshot]:
    """The snapshots that the newest one comes from, itself first; expired ones are not there."""
    yield from ancestors_of(table.current_snapshot(), table.metadata)


def offsets(table: Table) -> Offsets:
    """The ends of the cuts. Raises ValueError when the table does not tell them.

    The snapshots are asked first: a table that was rolled back is where its snapshot says. The
    property is for one whose own snapshots have expired behind those of other writers.
    """
    for each in ancestry(table):
        if (text := _said(each, OFFSETS)) is not None:
            return _OFFSETS.validate_json(text)
    if (text := table.properties.get(OFFSETS)) is not None:
        return _OFFSETS.validate_json(text)
    if table.current_snapshot() is None:
        return {}
    message = "nothing in its metadata tells how far it got"
    raise ValueError(message)


def commits(table: Table) -> list[tuple[int, CommitRecord | UnreadableRecord]]:
    """Our commits, oldest first; when all have expired, the newest by the table's property."""
    told = [(_number(each), from_text(_said(each, KEY))) for each in ancestry(table)]
    found = [(number, record) for number, record in reversed(told) if record is not None]
    if not found and (newest := from_text(table.properties.get(KEY))) is not None:
        found = [(int(table.properties[NEWEST]), newest)]
    return found


def number_of(table: Table, attempt: str) -> int | None:
    """The version of a writer's attempt, if the newest snapshot comes from it."""
    found = (_number(each) for each in ancestry(table) if _said(each, ATTEMPT) == attempt)
    return next(found, None)


def snapshot_at(table: Table, number: int) -> Snapshot | None:
    """The version of this number, if it is still kept."""
    return next((each for each in table.snapshots() if _number(each) == number), None)


def data_files(table: Table, snapshot: Snapshot | None) -> list[DataFile]:
    """The files of a version; none before the first.

    Raises UnverifiableError when other files say which of their rows are deleted.
    """
    found: list[DataFile] = []
    for manifest in [] if snapshot is None else snapshot.manifests(table.io):
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if entries and manifest.content != ManifestContent.DATA:
            raise UnverifiableError(
                f"The table in {table.location()} uses a feature of Iceberg that is not read here:"
                f" rows deleted by files of their own"
            )
        found += [entry.data_file for entry in entries]
    return found


def table_file(table: Table, file: DataFile) -> TableFile:
    """A file, and what its manifest says of it."""
    return TableFile(
        name=name_of(table, file),
        rows=file.record_count,
        partitions=_bounds(table, file, "_partition"),
        offsets=_bounds(table, file, "_offset"),
        bytes=file.file_size_in_bytes,
    )


def name_of(table: Table, file: DataFile) -> str:
    """The path below the table's directory; of a file elsewhere, all of it."""
    path = Path(file.file_path.removeprefix("file://"))
    directory = Path(table.location())
    return str(path.relative_to(directory) if path.is_relative_to(directory) else path)


def moved(found: Offsets, record: CommitRecord | None) -> str:
    """The ends of the cuts after a commit, as JSON."""
    ends = {topic_id: dict(each) for topic_id, each in found.items()}
    if record is not None:
        taken = {each.partition: each.end for each in record.ranges}
        ends[record.topic_id] = ends.get(record.topic_id, {}) | taken
    return json.dumps(ends)


def _bounds(table: Table, file: DataFile, column: str) -> tuple[int, int] | None:
    field = table.schema().find_field(column)
    if not isinstance(kind := field.field_type, IntegerType | LongType):
        return None
    first = _bound(kind, (file.lower_bounds or {}).get(field.field_id))
    last = _bound(kind, (file.upper_bounds or {}).get(field.field_id))
    return None if first is None or last is None else (first, last)


def _bound(kind: PrimitiveType, content: bytes | None) -> int | None:
    return None if content is None else int(from_bytes(kind, content))


def _said(snapshot: Snapshot, key: str) -> str | None:
    return None if snapshot.summary is None else snapshot.summary.additional_properties.get(key)


def _number(snapshot: Snapshot) -> int:
    return snapshot.sequence_number or 0
