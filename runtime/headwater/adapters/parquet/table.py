"""A snapshot table as Parquet files, with a manifest for each version.

A manifest is put only if there is none of its version, and a writer looks at all that came before
its own: so two snapshotters never take a range twice. Old manifests stay: they hold the records.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from headwater.adapters.parquet import manifest
from headwater.adapters.parquet.files import DataFile, WrittenFiles, write_files
from headwater.adapters.parquet.manifest import FOLDER, FORMAT, Head, Manifest
from headwater.adapters.parquet.reading import dataset, placed, scan, valued
from headwater.adapters.parquet.upkeep import sweep
from headwater.adapters.tables.files import TableFiles
from headwater.adapters.tables.kept import KeptTable
from headwater.adapters.tables.statistics import (
    discard_statistics,
    get_statistics,
    put_statistics,
)
from headwater.errors import DamagedError, StartRefusedError
from headwater.ports import Change, CommitRecord, NewFile, Swept, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next
from headwater.snapshot.record import from_text
from headwater.snapshot.refusals import (
    another_table,
    damaged,
    gone,
    not_ours,
    storage_refuses,
)

if TYPE_CHECKING:
    import pyarrow.dataset as ds


class ParquetSnapshotTable(KeptTable):
    """One handle on the table of one topic; its place is empty before the first `commit`.

    A cut is judged by what the last `offsets` of this handle saw. Every method raises
    StartRefusedError (NOT_OUR_TABLE when its place holds something else, TABLE_FEATURE for
    manifests of a later release), DamagedError when a manifest cannot be read, and RetriableError
    (SNAPSHOT_STORAGE) when the storage refuses.
    """

    def __init__(self, files: TableFiles, *, product: str, topic: str) -> None:
        self._files = files
        self._product = product
        self._topic = topic
        self._newest: Manifest | None = None
        self._written: dict[str, DataFile] = {}  # of the versions that this handle has seen
        self._reload()
        self._see()

    @property
    def location(self) -> str:
        """Where readers find it."""
        return self._files.location

    @property
    def divided_by(self) -> str | None:
        """The column that divides it, if any."""
        return None if self._newest is None else self._newest.head.divided_by

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._reload()
        self._see()
        return {} if self._newest is None else self._newest.head.offsets.get(topic_id, {})

    def columns(self) -> pa.Schema | None:
        """Those of the newest version; None before the first commit."""
        return None if self._newest is None else self._newest.columns

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too."""
        stored = self.columns()
        return wanted if stored is None else evolved(stored, wanted, self.location, widening=False)

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
            files = write_files(self._files, shaped, newest.head.divided_by)
            version = self._put(newest, files, change)
        self._seen = version
        self._reload()
        return version

    def commits(self, after: int = 0) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits behind a version, oldest first, with theirs."""
        self._reload()
        newest = 0 if self._newest is None else self._newest.head.version
        with self._reading():
            # no further than `files` goes: whoever compares the two would miss rows
            found = [each for each in manifest.versions(self._files) if each <= newest]
            if missing := sorted(set(range(found[-1] if found else 0)) - set(found)):
                numbers = ", ".join(map(str, missing))
                raise damaged(self.location, f"it lacks the manifest of version {numbers}")
            told = list(manifest.records(self._files, [each for each in found if each > after]))
        read = ((version, from_text(text)) for version, text in told)
        return [(version, record) for version, record in read if record is not None]

    def last_commit(self) -> tuple[int, CommitRecord | UnreadableRecord] | None:
        """The newest of our commits."""
        self._reload()
        newest = 0 if self._newest is None else self._newest.head.version
        with self._reading():
            for version, text in manifest.records(self._files, range(newest, 0, -1)):
                if (record := from_text(text)) is not None:
                    return version, record
        return None

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
        by = found.head.divided_by
        told = (
            (each.path, placed(_told(each)) & valued(by, each.value, found.columns))
            for each in found.files.values()
        )
        return dataset(self._files, told, found.columns)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file, in the table's types, after its bytes were held to their digest."""
        if self._newest is not None:
            with self._reading():
                if (file := self._written.get(name)) is None:
                    raise DamagedError(f"{name} is gone", code="FILE_GONE")
                yield from scan(self._files, name, self._newest.columns, digest=file.digest)

    def statistics(self, name: str) -> bytes | None:
        """Those that a record names; None when they are gone."""
        with self._reading():
            return get_statistics(self._files, name)

    def rows(self) -> int:
        """Rows in the newest version, as its manifest counts them."""
        return 0 if self._newest is None else sum(f.rows for f in self._newest.files.values())

    # -- upkeep ----------------------------------------------------------------------------------

    def _sweep(self, now_ms: int, keep_ms: int) -> Swept:
        """Let go of versions that nobody needs, and of what only they have."""
        commits = self.commits()
        with self._reading():
            return sweep(self._files, commits, now_ms, keep_ms)

    # -- opening ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        with self._reading():
            if self._newest is not None and self._is_there(self._newest.head.version):
                self._newest = self._followed(self._newest)
            elif found := self._versions():
                self._newest = self._known(manifest.read(self._files, found[-1]))
            else:
                self._newest = None

    def _see(self) -> None:
        """What a cut is judged by from here on."""
        self._seen = 0 if self._newest is None else self._newest.head.version

    def _versions(self) -> list[int]:
        """Those that there are. Raises StartRefusedError where there is something else."""
        found = manifest.versions(self._files)
        if found or self._is_unused():
            return found
        if begun := manifest.versions(self._files):  # between the two looks
            return begun
        raise not_ours(self.location, self._topic, "it holds other files")

    def _followed(self, newest: Manifest) -> Manifest:
        """The newest version from one that was it: asked for by names, without a list of all."""
        number = newest.head.version
        while self._is_there(number + 1):
            number += 1
        if number == newest.head.version:
            return newest
        return self._known(manifest.read(self._files, number))

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
            if version is None or not self._is_there(version):
                raise gone(self.location, version or 0)
            found = self._known(manifest.read(self._files, version))
            if found.head.is_expired:
                raise gone(self.location, version)
            return found

    def _is_there(self, version: int) -> bool:
        return self._files.exists(manifest.name_of(version))

    def _is_unused(self) -> bool:
        # A folder without manifests is what a crash or a full disk leaves of a creation.
        return self._files.children() <= {FOLDER}

    def _create(self, change: Change) -> Manifest:
        """Version 0: whose table it is, and no rows."""
        columns = change.columns or change.files[0].rows.schema
        head = Head(
            format=FORMAT,
            version=0,
            attempt=uuid.uuid4().hex,
            product=self._product,
            topic=self._topic,
            schema=manifest.encoded(columns),
            offsets={},
            divided_by=change.divided_by,
        )
        created = Manifest(head, columns, {})
        if not manifest.put(self._files, created, None):
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
            since = range(self._seen + 1, newest.head.version + 1)
            if any(text is not None for _, text in manifest.records(self._files, since)):
                raise overtaken(self.location)  # though it may have moved no offset
        if not newest.files.keys() >= set(change.removed):
            raise overtaken(self.location)

    def _put(self, newest: Manifest, files: WrittenFiles, change: Change) -> int:
        """Put the manifest behind the newest; returns the version.

        Where another one was first, it may go behind that, if that is no cut and removed nothing
        of ours.
        """
        first, attempt = newest.head.version + 1, uuid.uuid4().hex
        try:
            put_statistics(self._files, change)
            while not manifest.put(
                self._files, _following(newest, files, change, attempt), change.record
            ):
                self._reload()
                newest = self._newest or newest
                self._require_next(newest, change)
        except BaseException as cause:
            # Whether it happened only the manifests can tell; while that is not known, files stay.
            version = self._landed(first, attempt)
            if version is None:
                if self._files.is_settled:
                    files.discard()
                    discard_statistics(self._files, change)
                raise
            if not isinstance(cause, Exception):  # a Ctrl-C, in the moment it was done
                raise
            return version
        return newest.head.version + 1

    def _landed(self, first: int, attempt: str) -> int | None:
        """The version of this attempt, if it is there."""
        with self._reading():
            version = first
            while self._is_there(version):
                if manifest.attempt(self._files, version) == attempt:
                    return version
                version += 1
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
    return TableFile(
        file.path, file.rows, file.partitions, file.offsets, value=file.value, size=file.size
    )


def _reason(cause: OSError) -> str:
    return cause.strerror or type(cause).__name__
