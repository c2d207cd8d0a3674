"""A snapshot table as a Delta table in a local directory.

The transaction `<topic id>/<partition>` of the Delta log holds the end of the last cut. An entry of
the log is put only if there is none of its version, and a writer looks at all that came before its
own: so two snapshotters never take a range twice.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from headwater.adapters.delta.files import additions
from headwater.adapters.delta.log import (
    Action,
    commit_info,
    local_times,
    metadata,
    put_entry,
    removal,
    require_known,
    transaction,
    with_local_times,
)
from headwater.adapters.delta.reading import dataset, files, missing_versions, reason
from headwater.adapters.directory.statistics import (
    discard_statistics,
    get_statistics,
    put_statistics,
)
from headwater.adapters.parquet.files import WrittenFiles, write_files
from headwater.adapters.parquet.reading import scan
from headwater.clock import SYSTEM, Clock
from headwater.ports import Change, CommitRecord, NewFile, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next
from headwater.snapshot.record import KEY, from_text, to_text
from headwater.snapshot.refusals import (
    another_table,
    damaged,
    damaged_record,
    gone,
    not_ours,
    storage_refuses,
)

_PRODUCT: Final = "headwater.product"
_TOPIC: Final = "headwater.topic"
_ATTEMPT: Final = "headwater.attempt"  # the writer's own name for an entry
_PROPERTIES: Final = {
    # The log is the record of every cut: its entries must outlive Delta's 30 days.
    "delta.enableExpiredLogCleanup": "false",
}


class DeltaSnapshotTable:
    """One handle on the table of one topic; the directory is made by the first `commit`.

    A cut is judged by what the last `offsets` of this handle saw. Every method raises
    StartRefusedError (NOT_OUR_TABLE) when the directory holds something else, DamagedError when
    its Delta log cannot be read, and RetriableError (SNAPSHOT_STORAGE) when the storage refuses.
    """

    def __init__(self, directory: Path, *, product: str, topic: str, clock: Clock = SYSTEM) -> None:
        self._directory = directory
        self._product = product
        self._topic = topic
        self._clock = clock
        with self._reading():
            self._table = self._open()

    @property
    def location(self) -> str:
        """Where readers find it."""
        return str(self._directory)

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._reload()
        return self._offsets(topic_id)

    def topic_ids(self) -> frozenset[str]:
        """Every incarnation of a topic this table holds rows of."""
        found = set()
        for version, record in self.commits():
            if isinstance(record, UnreadableRecord):
                raise damaged_record(self.location, version, record.reason)
            found.add(record.topic_id)
        return frozenset(found)

    def columns(self) -> pa.Schema | None:
        """Those of the newest version, in Delta's types; None before the first commit."""
        return None if self._table is None else pa.schema(self._table.schema().to_arrow())

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too, in Delta's types."""
        wanted, stored = _in_delta(wanted), self.columns()
        return wanted if stored is None else evolved(stored, wanted, self.location, widening=False)

    def differing_columns(self, wanted: pa.Schema) -> str:
        """How stored columns differ from others in name or type; empty when they do not."""
        if self._table is None:
            return ""
        return differing(pa.schema(self._table.schema().to_arrow()), _in_delta(wanted))

    def commit(self, change: Change) -> int:
        """Do all of a change in one commit; returns the table version.

        Raises OvertakenError (SNAPSHOT_TAKEN) when another cut was committed since the last
        `offsets`, or a file to be removed is gone, StartRefusedError: SNAPSHOT_COLUMNS for other
        columns than the table's, TABLE_FEATURE when another writer gave it features of Delta that
        are not kept here.
        """
        with self._writing():
            table = self._table or self._create(change)
            self._require_next(table, change)
            require_known(table, self.location)
            columns = self._columns(table, change)
            shaped = [self._shaped(each, columns) for each in change.files]
            files = write_files(self._directory, shaped)
            version = self._put(table, files, change)
        self._reload()
        return version

    def commits(self) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits, oldest first, with their table versions."""
        self._reload()
        if self._table is None:
            return []
        with self._reading():
            history = self._table.history()
        entries = [(entry["version"], from_text(entry.get(KEY))) for entry in history]
        return [(version, record) for version, record in reversed(entries) if record is not None]

    def version(self) -> int | None:
        """The newest version; None before the first commit."""
        self._reload()
        return None if self._table is None else self._table.version()

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """What a version consists of, and what the Delta log says of it."""
        if self._table is None:
            return []
        with self._reading():
            return files(self._at(self._table, version), self.location)

    def dataset(self, version: int) -> ds.Dataset:
        """The rows of a version, with its columns."""
        table = self._table or self._open()
        if table is None:
            raise gone(self.location, version)
        with self._reading():
            return dataset(self._at(table, version), self._directory)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file, in the table's types, whatever the Delta log says of it."""
        if self._table is not None:
            with self._reading():
                yield from scan(self._directory / name, pa.schema(self._table.schema().to_arrow()))

    def statistics(self, name: str) -> bytes | None:
        """What a commit kept under this name; None when it is gone."""
        with self._reading():
            return get_statistics(self._directory, name)

    def rows(self) -> int:
        """Rows in the newest version, as the Delta log counts them."""
        return 0 if self._table is None else self._table.count()

    # -- opening ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        with self._reading():
            if self._table is None:
                self._table = self._open()
            else:
                self._table.update_incremental()

    def _at(self, table: DeltaTable, version: int | None) -> DeltaTable:
        """The table as it was in a version. Raises DamagedError (FILE_GONE)."""
        if version is None or version == table.version():
            return table
        try:
            return DeltaTable(self._directory, version=version)
        except (DeltaError, TableNotFoundError) as cause:
            raise gone(self.location, version) from cause

    def _open(self) -> DeltaTable | None:
        try:
            table = DeltaTable(self._directory)
        except TableNotFoundError:
            if self._directory.exists() and not self._is_unused():
                raise not_ours(self.location, self._topic, "it holds other files") from None
            return None
        found = table.metadata().configuration
        if found.get(_TOPIC) != self._topic:
            raise another_table(self.location, self._topic, found.get(_TOPIC))
        return table

    def _is_unused(self) -> bool:
        # A `_delta_log` without commits is what a crash or a full disk leaves of a creation.
        return self._directory.is_dir() and all(
            path.name == "_delta_log" for path in self._directory.iterdir()
        )

    def _create(self, change: Change) -> DeltaTable:
        columns = change.columns or change.files[0].rows.schema
        configuration = {**_PROPERTIES, _PRODUCT: self._product, _TOPIC: self._topic}
        try:
            self._table = DeltaTable.create(
                self._directory,
                schema=columns,
                name=self._topic,
                configuration=configuration,
                raise_if_key_not_exists=False,  # Delta knows no names of ours
            )
        except DeltaError as cause:
            if DeltaTable.is_deltatable(self.location):
                raise overtaken(self.location) from cause
            raise
        return self._table

    # -- writing ---------------------------------------------------------------------------------

    def _offsets(self, topic_id: str) -> dict[int, int]:
        if self._table is None:
            return {}
        ends: dict[int, int] = {}
        partition = 0
        while (end := self._table.transaction_version(f"{topic_id}/{partition}")) is not None:
            ends[partition] = end
            partition += 1
        return ends

    def _columns(self, table: DeltaTable, change: Change) -> pa.Schema:
        """The columns that the table has from this change on, in its own types."""
        stored = pa.schema(table.schema().to_arrow())
        if change.columns is None:
            return stored
        wanted = _in_delta(change.columns)
        if phrase := differing(wanted, self.evolved(wanted)):
            raise refused(self.location, phrase)
        return wanted

    def _shaped(self, file: NewFile, columns: pa.Schema) -> NewFile:
        """The rows in the table's own types (Delta knows microseconds only)."""
        if phrase := differing(columns, _in_delta(file.rows.schema)):
            raise refused(self.location, phrase)
        return replace(file, rows=file.rows.cast(columns))

    def _require_next(self, table: DeltaTable, change: Change) -> None:
        """Raises OvertakenError when the change does not follow what the table now is."""
        if change.record is not None:
            require_next(self._offsets(change.record.topic_id), change.record, self.location)
        if change.removed and not set(change.removed) <= _names(table):
            raise overtaken(self.location)

    def _put(self, table: DeltaTable, files: WrittenFiles, change: Change) -> int:
        """Write the entry behind the newest; returns the version.

        Where another one was first, it may go behind that, if that is no cut and removed nothing
        of ours.
        """
        before, attempt = table.version(), uuid.uuid4().hex
        try:
            put_statistics(self._directory, change)
            while not put_entry(
                self._directory, table.version() + 1, self._entry(table, files, change, attempt)
            ):
                table.update_incremental()
                self._require_next(table, change)
                require_known(table, self.location)
        except BaseException:
            # Whether it happened only the log can tell.
            table.update_incremental()
            between = table.history(table.version() - before) if table.version() > before else []
            landed = [each["version"] for each in between if each.get(_ATTEMPT) == attempt]
            if not landed:
                files.discard()
                discard_statistics(self._directory, change)
                raise
            return int(landed[0])
        return table.version() + 1

    def _entry(
        self, table: DeltaTable, files: WrittenFiles, change: Change, attempt: str
    ) -> list[Action]:
        record, now_ms = change.record, self._clock.wall_ms()
        told = {_ATTEMPT: attempt} | ({} if record is None else {KEY: to_text(record)})
        actions = [commit_info(now_ms, told)]
        if change.columns is not None:
            if local_times(change.columns) and (protocol := with_local_times(table)) is not None:
                actions.append(protocol)
            actions.append(metadata(table, Schema.from_arrow(change.columns).to_json()))
        if record is not None:
            actions += [
                transaction(f"{record.topic_id}/{taken.partition}", taken.end, now_ms)
                for taken in record.ranges
            ]
        changes_data = record is not None
        actions += [removal(path, now_ms, changes_data=changes_data) for path in change.removed]
        return [
            *actions,
            *additions(files.files, written_at_ms=now_ms, changes_data=changes_data),
        ]

    # -- errors ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the storage, as one sentence."""
        try:
            yield
        except (OSError, DeltaError, pa.ArrowException) as cause:
            raise storage_refuses(self.location, "write", reason(cause)) from cause

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of the storage, and what it holds that Delta cannot read, as one sentence."""
        try:
            yield
        except OSError as cause:
            raise storage_refuses(self.location, "read", reason(cause)) from cause
        except (DeltaError, pa.ArrowException) as cause:
            missing = ", ".join(map(str, missing_versions(self._directory)))
            why = f"its log lacks version {missing}" if missing else reason(cause)
            raise damaged(self.location, why) from cause


def _names(table: DeltaTable) -> set[str]:
    return {Path(uri).name for uri in table.file_uris()}


def _in_delta(columns: pa.Schema) -> pa.Schema:
    """Columns in Delta's own types: it knows neither milliseconds nor fixed widths."""
    return pa.schema(Schema.from_arrow(columns).to_arrow())
