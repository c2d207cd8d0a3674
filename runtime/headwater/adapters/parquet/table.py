"""A snapshot table as Parquet files in a local directory, with a manifest for each version.

A manifest is put only if there is none of its version, and a writer looks at all that came before
its own: so two snapshotters never take a range twice. Old manifests stay: they hold the records.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import xxhash

from headwater.adapters.directory.durable import sync
from headwater.adapters.directory.statistics import (
    discard_statistics,
    get_statistics,
    put_statistics,
)
from headwater.adapters.parquet import manifest
from headwater.adapters.parquet.files import DataFile, WrittenFiles, write_files
from headwater.adapters.parquet.manifest import FOLDER, FORMAT, Head, Manifest
from headwater.adapters.parquet.reading import dataset, placed, scan
from headwater.errors import DamagedError, StartRefusedError
from headwater.ports import Change, CommitRecord, NewFile, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next
from headwater.snapshot.record import from_text
from headwater.snapshot.refusals import (
    another_table,
    damaged,
    damaged_record,
    gone,
    not_ours,
    storage_refuses,
)

if TYPE_CHECKING:
    import pyarrow.dataset as ds


class ParquetSnapshotTable:
    """One handle on the table of one topic; the directory is made by the first `commit`.

    A cut is judged by what the last `offsets` of this handle saw. Every method raises
    StartRefusedError (NOT_OUR_TABLE when the directory holds something else, TABLE_FEATURE for
    manifests of a later release), DamagedError when a manifest cannot be read, and RetriableError
    (SNAPSHOT_STORAGE) when the storage refuses.
    """

    def __init__(self, directory: Path, *, product: str, topic: str) -> None:
        self._directory = directory
        self._product = product
        self._topic = topic
        self._newest: Manifest | None = None
        self._written: dict[str, DataFile] = {}  # of the versions that this handle has seen
        self._reload()

    @property
    def location(self) -> str:
        """Where readers find it."""
        return str(self._directory)

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._reload()
        return {} if self._newest is None else self._newest.head.offsets.get(topic_id, {})

    def topic_ids(self) -> frozenset[str]:
        """Every incarnation of a topic this table holds rows of."""
        found = set()
        for version, record in self.commits():
            if isinstance(record, UnreadableRecord):
                raise damaged_record(self.location, version, record.reason)
            found.add(record.topic_id)
        return frozenset(found)

    def columns(self) -> pa.Schema | None:
        """Those of the newest version; None before the first commit."""
        return None if self._newest is None else self._newest.columns

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too."""
        stored = self.columns()
        return wanted if stored is None else evolved(stored, wanted, self.location, widening=False)

    def differing_columns(self, wanted: pa.Schema) -> str:
        """How stored columns differ from others in name or type; empty when they do not."""
        return "" if self._newest is None else differing(self._newest.columns, wanted)

    def commit(self, change: Change) -> int:
        """Do all of a change in one commit; returns the table version.

        Raises OvertakenError (SNAPSHOT_TAKEN) when another cut was committed since the last
        `offsets`, or a file to be removed is gone, StartRefusedError (SNAPSHOT_COLUMNS) for other
        columns than the table's.
        """
        with self._writing():
            newest = self._newest or self._create(change)
            self._require_next(newest, change)
            columns = change.columns or newest.columns
            if phrase := differing(columns, self.evolved(columns)):
                raise refused(self.location, phrase)
            shaped = [self._shaped(each, columns) for each in change.files]
            files = write_files(self._directory, shaped)
            version = self._put(newest, files, change)
        self._reload()
        return version

    def commits(self) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits, oldest first, with their table versions."""
        with self._reading():
            found = manifest.versions(self._directory)
            if missing := sorted(set(range(found[-1] if found else 0)) - set(found)):
                numbers = ", ".join(map(str, missing))
                raise damaged(self.location, f"it lacks the manifest of version {numbers}")
            told = list(manifest.records(self._directory, found))
        read = ((version, from_text(text)) for version, text in told)
        return [(version, record) for version, record in read if record is not None]

    def version(self) -> int | None:
        """The newest version; None before the first commit."""
        self._reload()
        return None if self._newest is None else self._newest.head.version or None

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """What a version consists of, and what its manifest says of it."""
        if version is None and self._newest is None:
            return []
        return [_told(each) for each in self._at(version).files.values()]

    def dataset(self, version: int) -> "ds.Dataset":
        """The rows of a version, with its columns."""
        found = self._at(version)
        told = ((self._directory / each.path, placed(_told(each))) for each in found.files.values())
        return dataset(told, found.columns)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file, in the table's types, after its bytes were held to their digest."""
        if self._newest is not None:
            with self._reading():
                path = self._directory / name
                if name not in self._written:
                    raise DamagedError(f"{name} is gone", code="FILE_GONE")
                _require_written(path, self._written[name])
                yield from scan(path, self._newest.columns)

    def statistics(self, name: str) -> bytes | None:
        """Those that a record names; None when they are gone."""
        with self._reading():
            return get_statistics(self._directory, name)

    def rows(self) -> int:
        """Rows in the newest version, as its manifest counts them."""
        return 0 if self._newest is None else sum(f.rows for f in self._newest.files.values())

    # -- opening ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        with self._reading():
            found = manifest.versions(self._directory)
            if not found:
                if self._directory.exists() and not self._is_unused():
                    raise not_ours(self.location, self._topic, "it holds other files")
                self._newest = None
            elif self._newest is None or self._newest.head.version != found[-1]:
                self._newest = self._known(manifest.read(self._directory, found[-1]))

    def _known(self, found: Manifest) -> Manifest:
        if found.head.topic != self._topic:
            raise another_table(self.location, self._topic, found.head.topic)
        if found.head.format != FORMAT:
            raise StartRefusedError(
                f"The table in {self.location} has manifests of format {found.head.format}, and"
                f" this release knows {FORMAT}; nothing was written. Use the release that wrote it,"
                f" or begin a new snapshot with --to.",
                code="TABLE_FEATURE",
            )
        self._written.update(found.files)
        return found

    def _at(self, version: int | None) -> Manifest:
        """A version, by default the newest."""
        if version is None and self._newest is not None:
            return self._newest
        with self._reading():
            if version not in manifest.versions(self._directory):
                raise gone(self.location, version or 0)
            return self._known(manifest.read(self._directory, version))

    def _is_unused(self) -> bool:
        # A folder without manifests is what a crash or a full disk leaves of a creation.
        return self._directory.is_dir() and all(
            path.name == FOLDER for path in self._directory.iterdir()
        )

    def _create(self, change: Change) -> Manifest:
        """Version 0: whose table it is, and no rows."""
        (self._directory / FOLDER).mkdir(parents=True, exist_ok=True)
        for path in (self._directory, self._directory.parent):
            sync(path)
        columns = change.columns or change.files[0].rows.schema
        head = Head(
            format=FORMAT,
            version=0,
            attempt=uuid.uuid4().hex,
            product=self._product,
            topic=self._topic,
            schema=manifest.encoded(columns),
            offsets={},
        )
        created = Manifest(head, columns, {})
        if not manifest.put(self._directory, created, None):
            raise overtaken(self.location)
        self._newest = created
        return created

    # -- writing ---------------------------------------------------------------------------------

    def _shaped(self, file: NewFile, columns: pa.Schema) -> NewFile:
        """The rows under the table's own schema, names of fields and their nulls included."""
        if phrase := differing(columns, file.rows.schema):
            raise refused(self.location, phrase)
        return replace(file, rows=file.rows.cast(columns))

    def _require_next(self, newest: Manifest, change: Change) -> None:
        """Raises OvertakenError when the change does not follow what the table now is."""
        if (record := change.record) is not None:
            require_next(newest.head.offsets.get(record.topic_id, {}), record, self.location)
        if not newest.files.keys() >= set(change.removed):
            raise overtaken(self.location)

    def _put(self, newest: Manifest, files: WrittenFiles, change: Change) -> int:
        """Put the manifest behind the newest; returns the version.

        Where another one was first, it may go behind that, if that is no cut and removed nothing
        of ours.
        """
        first, attempt = newest.head.version + 1, uuid.uuid4().hex
        try:
            put_statistics(self._directory, change)
            while not manifest.put(
                self._directory, _following(newest, files, change, attempt), change.record
            ):
                self._reload()
                newest = self._newest or newest
                self._require_next(newest, change)
        except BaseException as cause:
            # Whether it happened only the directory can tell; while that is not known, files stay.
            version = self._landed(first, attempt)
            if version is None:
                files.discard()
                discard_statistics(self._directory, change)
                raise
            if not isinstance(cause, Exception):  # a Ctrl-C, in the moment it was done
                raise
            return version
        return newest.head.version + 1

    def _landed(self, first: int, attempt: str) -> int | None:
        """The version of this attempt, if it is there."""
        with self._reading():
            numbers = [each for each in manifest.versions(self._directory) if each >= first]
            for version, found in manifest.attempts(self._directory, numbers):
                if found == attempt:
                    return version
        return None

    # -- errors ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the storage, as one sentence."""
        try:
            yield
        except OSError as cause:
            raise storage_refuses(self.location, "write", _reason(cause)) from cause

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of the storage, and manifests that cannot be read, as one sentence."""
        try:
            yield
        except OSError as cause:
            raise storage_refuses(self.location, "read", _reason(cause)) from cause
        except ValueError as cause:  # of JSON, of its shape, of base64, of Arrow
            raise damaged(self.location, "a manifest is not what was written") from cause


def _following(newest: Manifest, files: WrittenFiles, change: Change, attempt: str) -> Manifest:
    """The version that a change makes of the newest one."""
    removed = set(change.removed)
    kept = [each for name, each in newest.files.items() if name not in removed]
    columns = change.columns or newest.columns
    head = replace(
        newest.head,
        version=newest.head.version + 1,
        attempt=attempt,
        schema=manifest.encoded(columns),
        offsets=_moved(newest.head.offsets, change.record),
    )
    return Manifest(head, columns, {each.path: each for each in [*kept, *files.files]})


def _moved(
    offsets: Mapping[str, Mapping[int, int]], record: CommitRecord | None
) -> Mapping[str, Mapping[int, int]]:
    """Where the cuts stand after a commit."""
    if record is None:
        return offsets
    ends = {taken.partition: taken.end for taken in record.ranges}
    return {**offsets, record.topic_id: {**offsets.get(record.topic_id, {}), **ends}}


def _told(file: DataFile) -> TableFile:
    return TableFile(file.path, file.rows, file.partitions, file.offsets, file.size)


def _require_written(path: Path, file: DataFile) -> None:
    """Raises DamagedError unless a file holds the very bytes that were written."""
    try:
        with path.open("rb") as content:
            found = xxhash.xxh3_128()
            while part := content.read(1 << 20):
                found.update(part)
    except FileNotFoundError as error:
        raise DamagedError(f"{path.name} is gone", code="FILE_GONE") from error
    if found.hexdigest() != file.digest:
        raise DamagedError(f"{path.name} does not hold what a snapshot wrote")


def _reason(cause: OSError) -> str:
    return cause.strerror or type(cause).__name__
