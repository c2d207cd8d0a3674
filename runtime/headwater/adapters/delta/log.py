"""Entries of a Delta log, written by ourselves: one file, put only if it is not there yet.

deltalake's own writer cannot take chosen files out, evolve columns and move a cut in one commit.
The format is that of the Delta Transaction Log Protocol, "Actions"; deltalake reads it.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from headwater.adapters.tables.files import TableFiles
from headwater.errors import StartRefusedError

LOG: Final = "_delta_log"
ENGINE: Final = "headwater"
READER_VERSION: Final = 1
WRITER_VERSION: Final = 2  # of the protocol: what lies above are features we do not keep
FEATURES_READER_VERSION: Final = 3
FEATURES_VERSION: Final = 7  # above, a table names its features one by one
LOCAL_TIMES: Final = "timestampNtz"
FEATURES_KEPT: Final = frozenset({LOCAL_TIMES, "appendOnly", "invariants"})

Action = Mapping[str, Any]


def require_known(table: DeltaTable, location: str) -> None:
    """Raises StartRefusedError (TABLE_FEATURE) for a table that asks more of writers than we do."""
    protocol = table.protocol()
    version, features = protocol.min_writer_version, set(protocol.writer_features or ())
    is_known = version <= WRITER_VERSION or (
        version == FEATURES_VERSION and features <= FEATURES_KEPT
    )
    if not is_known:
        what = ", ".join(sorted(features - FEATURES_KEPT)) or f"version {version}"
        raise StartRefusedError(
            f"The table in {location} asks its writers for features of Delta that are not kept"
            f" here ({what}); nothing was written. Drop the feature, or begin a new snapshot with"
            f" --to.",
            code="TABLE_FEATURE",
        )


def commit_info(timestamp_ms: int, metadata: Mapping[str, str], operation: str = "WRITE") -> Action:
    """Who wrote an entry, and our record in it."""
    told = {"timestamp": timestamp_ms, "operation": operation, "engineInfo": ENGINE}
    return {"commitInfo": {**told, **metadata}}


def transaction(app_id: str, version: int, timestamp_ms: int) -> Action:
    """The number that an application's writes have come to."""
    return {"txn": {"appId": app_id, "version": version, "lastUpdated": timestamp_ms}}


def removal(path: str, timestamp_ms: int, *, changes_data: bool) -> Action:
    """A file that newer versions do not have."""
    return {"remove": {"path": path, "deletionTimestamp": timestamp_ms, "dataChange": changes_data}}


def new_metadata(
    name: str,
    columns: pa.Schema,
    divided_by: str | None,
    configuration: Mapping[str, str],
    created_ms: int,
) -> Action:
    """The description of a table that begins, under an id of its own."""
    return {
        "metaData": {
            "id": str(uuid.uuid4()),
            "name": name,
            "description": None,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": Schema.from_arrow(columns).to_json(),
            "partitionColumns": [] if divided_by is None else [divided_by],
            "createdTime": created_ms,
            "configuration": configuration,
        }
    }


def metadata(table: DeltaTable, schema: str) -> Action:
    """The table's description with other columns; `schema` is Delta's JSON."""
    found = table.metadata()
    return {
        "metaData": {
            "id": str(found.id),
            "name": found.name,
            "description": found.description,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema,
            "partitionColumns": list(found.partition_columns),
            "createdTime": found.created_time,
            "configuration": dict(found.configuration),
        }
    }


def local_times(columns: pa.Schema) -> bool:
    """Whether a column holds, at any depth, times without a zone: a feature of its own in Delta."""
    kinds = list(columns.types)
    while kinds:
        kind = kinds.pop()
        if pa.types.is_timestamp(kind) and kind.tz is None:
            return True
        kinds += [kind.field(place).type for place in range(kind.num_fields)]
    return False


def new_protocol(columns: pa.Schema) -> Action:
    """What a table that begins with these columns asks of its readers and writers."""
    if local_times(columns):
        return _by_features({LOCAL_TIMES}, {LOCAL_TIMES})
    return {"protocol": {"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION}}


def with_local_times(table: DeltaTable) -> Action | None:
    """The protocol that a table needs for times without a zone; None when it has that."""
    protocol = table.protocol()
    if LOCAL_TIMES in (protocol.writer_features or ()):
        return None
    readers = {*(protocol.reader_features or ()), LOCAL_TIMES}
    # a table that names its features has none of the older ones unless it names them
    older = () if protocol.min_writer_version == FEATURES_VERSION else ("appendOnly", "invariants")
    writers = {*(protocol.writer_features or ()), *older, LOCAL_TIMES}
    return _by_features(readers, writers)


def _by_features(readers: Iterable[str], writers: Iterable[str]) -> Action:
    return {
        "protocol": {
            "minReaderVersion": FEATURES_READER_VERSION,
            "minWriterVersion": FEATURES_VERSION,
            "readerFeatures": sorted(readers),
            "writerFeatures": sorted(writers),
        }
    }


def put_entry(files: TableFiles, version: int, actions: Iterable[Action]) -> bool:
    """Write the entry of a version durably; False when there is one already."""
    lines = "".join(json.dumps(each) + "\n" for each in actions)
    return files.put_if_absent(entry(version), lines.encode())


def commit_told(files: TableFiles, version: int) -> Action | None:
    """What an entry says of its own commit; None where there is no entry.

    Raises DeltaError, and OSError.
    """
    try:
        lines = files.read(entry(version)).decode("utf-8").splitlines()
        told = [json.loads(line) for line in lines if '"commitInfo"' in line]
    except FileNotFoundError:
        return None
    except ValueError as cause:
        raise DeltaError(f"its entry {version} is not JSON") from cause
    return next((each["commitInfo"] for each in told if "commitInfo" in each), {})


def commits_told(files: TableFiles, versions: Iterable[int]) -> Iterator[tuple[int, Action]]:
    """What the entries of ascending versions say of their own commits, each with its version.

    The oldest may be gone, since other writers clean the log. Versions are those of the entries'
    names: deltalake's history counts down from a newest version that it asks for apart from the
    entries, so one that lands in between would move the numbers of all.
    Raises DeltaError where one in the middle is gone, and OSError.
    """
    is_behind_cleaned = False
    for version in versions:
        if (told := commit_told(files, version)) is not None:
            is_behind_cleaned = True
            yield version, told
        elif is_behind_cleaned:
            raise DeltaError(f"its log lacks version {version}")


def is_newest(files: TableFiles, version: int) -> bool:
    """Whether no entry follows that of a version; without a list of the whole log."""
    return files.exists(entry(version)) and not files.exists(entry(version + 1))


def entry(version: int) -> str:
    """Where the entry of a version stands."""
    return f"{LOG}/{version:020d}.json"
