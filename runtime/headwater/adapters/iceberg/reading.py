"""What Iceberg's metadata says: the files of a version, its commits and where their cuts ended."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from pydantic import TypeAdapter
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.partitioning import (
    PARTITION_FIELD_ID_START,
    UNPARTITIONED_PARTITION_SPEC,
    PartitionField,
    PartitionSpec,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, IntegerType, LongType, PrimitiveType

from headwater.adapters.iceberg.storage import below, is_url
from headwater.errors import StartRefusedError, UnverifiableError
from headwater.ports import CommitRecord, TableFile, UnreadableRecord
from headwater.snapshot.division import text_of
from headwater.snapshot.record import KEY, from_text

FORMAT_VERSION: Final = 2  # of Iceberg; what lies above are features we do not keep
ATTEMPT: Final = "headwater.attempt"  # the writer's own name for a snapshot
OFFSETS: Final = "headwater.offsets"  # the ends of the cuts as JSON, by topic id and partition
RECORDS: Final = "headwater.records"  # the newest file with records of expired snapshots
NEWEST: Final = "headwater.newest"  # the table's version of the newest cut
_ROWS: Final = "total-records"  # of Iceberg's specification, "Optional Snapshot Summary Fields"
PRODUCT: Final = "headwater.product"
TOPIC: Final = "headwater.topic"
EPOCH: Final = date(1970, 1, 1)  # what Iceberg counts the days of a date from

Commit = tuple[int, CommitRecord | UnreadableRecord]
Offsets = Mapping[str, Mapping[int, int]]
_OFFSETS: Final[TypeAdapter[Offsets]] = TypeAdapter(Offsets)


def require_known(table: Table, location: str) -> None:
    """Raises StartRefusedError (TABLE_FEATURE) for a table that asks more of writers than we do."""
    found = []
    if table.metadata.format_version != FORMAT_VERSION:
        found.append(f"format version {table.metadata.format_version}")
    fields = table.spec().fields
    if len(table.specs()) > 1 or len(fields) > 1 or not all(map(_is_identity, fields)):
        found.append("partitions that were changed, or by more than the values of one column")
    if found:
        raise StartRefusedError(
            f"The table in {location} asks its writers for features of Iceberg that are not kept"
            f" here ({', '.join(found)}); nothing was written. Drop the feature, or begin a new"
            f" snapshot with --to.",
            code="TABLE_FEATURE",
        )


def _is_identity(field: PartitionField) -> bool:
    return isinstance(field.transform, IdentityTransform)


def divided_by(table: Table) -> str | None:
    """The column that divides a table, if any."""
    fields = table.spec().fields
    return table.schema().find_field(fields[0].source_id).name if fields else None


def spec_of(columns: Schema, by: str | None) -> PartitionSpec:
    """How Iceberg calls a table that a column divides."""
    if by is None:
        return UNPARTITIONED_PARTITION_SPEC
    source = columns.find_field(by)
    return PartitionSpec(
        PartitionField(
            source_id=source.field_id,
            field_id=PARTITION_FIELD_ID_START,
            transform=IdentityTransform(),
            name=by,
        )
    )


def version(table: Table | None) -> int:
    """The sequence number of the newest snapshot; 0 before the first."""
    found = None if table is None else table.current_snapshot()
    return 0 if found is None else sequence_number(found)


def ancestry(table: Table) -> Iterator[Snapshot]:
    """The snapshots that the newest one comes from, itself first; expired ones are not there."""
    yield from ancestors_of(table.current_snapshot(), table.metadata)


def offsets(table: Table) -> Offsets:
    """The ends of the cuts. Raises ValueError when the table does not tell them.

    The snapshots are asked first: a table that was rolled back is where its snapshot says. The
    property is for one whose own snapshots have expired behind those of other writers.
    """
    for each in ancestry(table):
        if (text := said(each, OFFSETS)) is not None:
            return _OFFSETS.validate_json(text)
    if (text := table.properties.get(OFFSETS)) is not None:
        return _OFFSETS.validate_json(text)
    if table.current_snapshot() is None:
        return {}
    message = "nothing in its metadata tells how far it got"
    raise ValueError(message)


def commits(
    table: Table, expired: Callable[[], Sequence[tuple[int, str]]], after: int
) -> list[Commit]:
    """Our commits behind a version, oldest first, those of expired snapshots too.

    `expired` is asked only where the snapshots do not reach back so far. Where another writer's
    expiry left nothing of them, the newest by the table's property.
    """
    line = list(ancestry(table))
    told: list[tuple[int, str | None]] = [(sequence_number(each), said(each, KEY)) for each in line]
    # a table may have been rolled back to a pinned version: what came behind it is not its own
    oldest = told[-1][0] if told else 0
    if oldest > after + 1:
        told += [each for each in reversed(expired()) if each[0] < oldest]
    found = [(version, from_text(text)) for version, text in reversed(told) if version > after]
    return [(version, record) for version, record in found if record is not None] or [
        each for each in _by_property(table) if each[0] > after
    ]


def last_commit(table: Table) -> Commit | None:
    """The newest of our commits, by its own snapshot or else by the table's property."""
    for each in ancestry(table):
        if (record := from_text(said(each, KEY))) is not None:
            return sequence_number(each), record
    return next(_by_property(table), None)


def _by_property(table: Table) -> Iterator[Commit]:
    if (newest := from_text(table.properties.get(KEY))) is not None:
        yield int(table.properties[NEWEST]), newest


def rows(table: Table) -> int | None:
    """How many rows the newest snapshot says the table has; None where it does not."""
    newest = table.current_snapshot()
    told = None if newest is None else said(newest, _ROWS)
    return None if told is None else int(told)


def number_of(table: Table, attempt: str) -> int | None:
    """The version of a writer's attempt, if the newest snapshot comes from it."""
    found = (sequence_number(each) for each in ancestry(table) if said(each, ATTEMPT) == attempt)
    return next(found, None)


def snapshot_at(table: Table, number: int) -> Snapshot | None:
    """The version of this number, if it is still kept."""
    return next((each for each in table.snapshots() if sequence_number(each) == number), None)


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
        value=_value(table, file),
        size=file.file_size_in_bytes,
    )


def _value(table: Table, file: DataFile) -> str | None:
    """What the manifest says of the column that divides the table."""
    fields = table.spec().fields
    if not fields or (value := file.partition[0]) is None:
        return None
    if isinstance(table.schema().find_field(fields[0].source_id).field_type, DateType):
        return text_of(EPOCH + timedelta(days=value))
    return text_of(value)


def name_of(table: Table, file: DataFile) -> str:
    """The path below the table's place; of a file elsewhere, all of it.

    Raises UnverifiableError for one in a bucket that is not below the table's prefix.
    """
    name = below(table.location(), file.file_path)
    if is_url(name):
        raise UnverifiableError(
            f"The table in {table.location()} uses a feature of Iceberg that is not read here:"
            f" files in other places than its own"
        )
    return name


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


def said(snapshot: Snapshot, key: str) -> str | None:
    """What stands in the summary of a snapshot."""
    return None if snapshot.summary is None else snapshot.summary.additional_properties.get(key)


def sequence_number(snapshot: Snapshot) -> int:
    """The table's version that a snapshot is."""
    return snapshot.sequence_number or 0


def reason(cause: Exception) -> str:
    """What the system says; statements and their values stay out of it."""
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    found = str(getattr(cause, "orig", None) or type(cause).__name__)
    return found.split("\n", maxsplit=1)[0]
