"""Records of snapshots that have expired, in files beside Iceberg's metadata.

Each is written once, durable before the table's property `headwater.records` names it, and names
the one before it: nobody writes old records again.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from headwater.adapters.iceberg import reading
from headwater.adapters.tables.files import TableFiles
from headwater.snapshot.record import KEY

METADATA: Final = "metadata"
PATTERN: Final = "records-*.jsonl"

Told = tuple[int, str]
"""The version of a commit, and its record as text."""


def kept(table: Table, files: TableFiles) -> list[Told]:
    """The records of expired snapshots, oldest first. Raises OSError and ValueError."""
    found: list[Told] = []
    for name in names(table, files):
        _, *lines = _lines(files, name)
        found[:0] = [(int(version), str(text)) for version, text in lines]
    return found


def names(table: Table, files: TableFiles) -> Iterator[str]:
    """The files with records, newest first. Raises OSError and ValueError."""
    name = table.properties.get(reading.RECORDS)
    while name is not None:
        yield name
        name = _lines(files, name)[0]


def put_records(table: Table, files: TableFiles, expiring: Sequence[Snapshot]) -> str | None:
    """Write down the records of snapshots, oldest first; the name of the newest file afterwards."""
    told = [
        [reading.sequence_number(each), text]
        for each in expiring
        if (text := reading.said(each, KEY)) is not None
    ]
    before = table.properties.get(reading.RECORDS)
    if not told:
        return before
    name = f"records-{told[-1][0]}-{uuid.uuid4().hex}.jsonl"
    content = "".join(json.dumps(each) + "\n" for each in [before, *told])
    files.put(f"{METADATA}/{name}", content.encode())
    return name


def _lines(files: TableFiles, name: str) -> list[Any]:
    content = files.read(f"{METADATA}/{PurePosixPath(name).name}")
    return [json.loads(line) for line in content.splitlines()]
