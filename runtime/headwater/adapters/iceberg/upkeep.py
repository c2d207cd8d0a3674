"""Upkeep of an Iceberg table: snapshots that expire, with their records carried on, and files gone.

Its metadata repeats every snapshot in each commit, so their number is bounded too.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots

from headwater.adapters.iceberg import reading, records
from headwater.adapters.iceberg.storage import below, root_of
from headwater.adapters.iceberg.transaction import LeanTransaction
from headwater.adapters.tables.files import StoredFile, TableFiles
from headwater.adapters.tables.upkeep import (
    Commits,
    is_beside,
    is_data,
    needed_since,
    pins,
    remove,
    statistics_of,
)
from headwater.ports import Swept

SNAPSHOTS_KEPT: Final = 40  # each costs every commit some 0.3 ms; pinned ones come on top


def expire(table: Table, files: TableFiles, now_ms: int, keep_ms: int) -> None:
    """Let go of snapshots that nobody needs, but not of their records.

    Raises OSError and SQLAlchemyError. Does nothing where another writer was faster.
    """
    line = list(reversed(list(reading.ancestry(table))))
    needed = _needed(line, now_ms - keep_ms) | set(pins(files).values())
    leaving = [each for each in line if reading.sequence_number(each) not in needed]
    parted = {each.snapshot_id for each in (*line, *_heads(table))}
    leaving += [
        each
        for each in table.snapshots()
        if each.snapshot_id not in parted
        and each.timestamp_ms <= now_ms - keep_ms
        and reading.sequence_number(each) not in needed
    ]
    if leaving:
        _expire(table, files, line, leaving)


def _needed(line: Sequence[Snapshot], cutoff_ms: int) -> set[int]:
    """The newest versions, as far as they were the newest since then."""
    written = {reading.sequence_number(each): float(each.timestamp_ms) for each in line}
    since = needed_since(written, cutoff_ms)
    return {each for each in list(written)[-SNAPSHOTS_KEPT:] if each >= since}


def _expire(
    table: Table, files: TableFiles, line: Sequence[Snapshot], leaving: Sequence[Snapshot]
) -> None:
    # behind one that leaves, a pinned one is no ancestor any more: its record is told apart too
    ids = {each.snapshot_id for each in leaving}
    last = max((place for place, each in enumerate(line) if each.snapshot_id in ids), default=-1)
    transaction = LeanTransaction(table)
    if (name := records.put_records(table, files, line[: last + 1])) is not None:
        transaction.set_properties({reading.RECORDS: name})
    update = ExpireSnapshots(transaction)
    update.by_ids([each.snapshot_id for each in leaving if each not in _heads(table)])
    update.commit()
    try:
        transaction.commit_transaction()
    except (CommitFailedException, ValueError):  # ValueError: one of them has expired meanwhile
        table.refresh()


def _heads(table: Table) -> list[Snapshot]:
    """Where branches and tags stand."""
    found = (table.snapshot_by_id(each.snapshot_id) for each in table.refs().values())
    return [each for each in found if each is not None]


def sweep(table: Table, files: TableFiles, commits: Commits, now_ms: int) -> Swept:
    """Remove the files that no snapshot has. Raises OSError."""
    root = root_of(files)
    if table.location() != root:
        return Swept()  # a copy: its metadata names the files of the original
    listed = list(files.listed())
    found = [each for each in listed if is_beside(each) or is_data(each) or _is_metadata(each)]
    kept = {below(root, each) for each in _named(table)}
    kept |= {f"{records.METADATA}/{name}" for name in records.names(table, files)}
    versions = {reading.sequence_number(each) for each in table.snapshots()}
    kept |= statistics_of(commits, versions.__contains__)
    return remove(files, found, kept, now_ms)


def _named(table: Table) -> Iterator[str]:
    """Every file that the table's metadata leads to."""
    yield table.metadata_location
    yield from (each.metadata_file for each in table.metadata.metadata_log)
    seen: set[str] = set()
    for snapshot in table.snapshots():
        yield snapshot.manifest_list
        for manifest in _manifests(table, snapshot):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                yield manifest.manifest_path
                for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                    yield entry.data_file.file_path


def _manifests(table: Table, snapshot: Snapshot) -> Sequence[ManifestFile]:
    return snapshot.manifests(table.io)


def _is_metadata(file: StoredFile) -> bool:
    path = PurePosixPath(file.name)
    return any(
        path.match(f"{records.METADATA}/{pattern}")
        for pattern in ("*.avro", "*.metadata.json", records.PATTERN)
    )
