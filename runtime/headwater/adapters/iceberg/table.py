"""A snapshot table as an Iceberg table, with its own or a shared catalogue.

Offsets and record stand in the summary of each snapshot and, since that expires, in properties of
the table. A commit that finds another one before it looks at what that was: so two snapshotters
never take a range twice.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyiceberg.exceptions import (
    CommitFailedException,
    ResolveError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.schema import assign_fresh_schema_ids
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from headwater.adapters.iceberg import reading, records
from headwater.adapters.iceberg.catalogue import identifier, make_namespace, open_catalogue
from headwater.adapters.iceberg.columns import in_arrow, in_iceberg, to_schema
from headwater.adapters.iceberg.opening import DATA, open_table
from headwater.adapters.iceberg.storage import root_of
from headwater.adapters.iceberg.transaction import LeanTransaction
from headwater.adapters.iceberg.upkeep import expire, sweep
from headwater.adapters.parquet.files import WrittenFiles, write_files
from headwater.adapters.parquet.reading import dataset, placed, scan, valued
from headwater.adapters.tables.files import TableFiles
from headwater.adapters.tables.kept import KeptTable
from headwater.adapters.tables.statistics import (
    discard_statistics,
    get_statistics,
    put_statistics,
)
from headwater.errors import HeadwaterError
from headwater.ports import Change, CommitRecord, NewFile, Swept, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next
from headwater.snapshot.record import KEY, to_text
from headwater.snapshot.refusals import damaged, gone, storage_refuses

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_PROPERTIES: Final = {
    "format-version": str(reading.FORMAT_VERSION),
    "commit.retry.num-retries": "0",  # pyiceberg's four would repeat a stale append, unasked
    "commit.manifest-merge.enabled": "true",  # else a version has a manifest for each commit
}


class IcebergSnapshotTable(KeptTable):
    """One handle on the table of one topic; its place is empty before the first `commit`.

    `catalogue` is the URL of one in Postgres; without it a table in a directory has its own. A cut
    is judged by what the last `offsets` of this handle saw. Every method raises StartRefusedError
    (NOT_OUR_TABLE) when the place holds something else, or the catalogue has the table in another
    one, DamagedError when its metadata cannot be read, and RetriableError (SNAPSHOT_STORAGE) when
    storage or catalogue refuses.
    """

    def __init__(self, files: TableFiles, *, product: str, topic: str, catalogue: str = "") -> None:
        self._files = files
        self._catalogue = catalogue
        self._product = product
        self._topic = topic
        self._table: Table | None = None
        self._reload()
        self._seen = reading.version(self._table)

    @property
    def location(self) -> str:
        """Where readers find it."""
        return self._files.location

    @property
    def divided_by(self) -> str | None:
        """The column that divides it, if any."""
        return None if self._table is None else reading.divided_by(self._table)

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._reload()
        self._seen = reading.version(self._table)
        with self._reading():
            return self._offsets(topic_id)

    def columns(self) -> pa.Schema | None:
        """Those of the newest version, in plain types; None before the first commit."""
        return None if self._table is None else in_arrow(self._table.schema())

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too."""
        wanted, stored = in_iceberg(wanted), self.columns()
        return wanted if stored is None else evolved(stored, wanted, self.location, widening=True)

    def commit(self, change: Change) -> int:
        """Do all of a change in one commit; returns the table version, a sequence number.

        Raises OvertakenError (SNAPSHOT_TAKEN) when another cut was committed since the last
        `offsets`, or a file to be removed is gone, StartRefusedError: SNAPSHOT_COLUMNS for other
        columns than the table's, TABLE_FEATURE when another writer gave it features of Iceberg
        that are not kept here.
        """
        self._reload()  # upkeep may have taken the files that an older look leads to
        with self._writing():
            table = self._table or self._create(change)
            self._require_next(table, change)
            columns = self._columns(self._begun(table, change))
            if change.record is None and any(
                differing(columns, in_iceberg(each.rows.schema)) for each in change.files
            ):  # what upkeep merged has the columns of its last look
                raise overtaken(self.location)
            shaped = [self._shaped(each, columns) for each in change.files]
            files = write_files(self._files, shaped, reading.divided_by(table), below=DATA)
            version = self._put(files, change, columns)
        self._seen = version
        self._reload()
        return version

    def commits(self, after: int = 0) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits behind a version, oldest first, with theirs."""
        self._reload()
        if (table := self._table) is None:
            return []
        with self._reading():
            return reading.commits(table, lambda: records.kept(table, self._files), after)

    def last_commit(self) -> tuple[int, CommitRecord | UnreadableRecord] | None:
        """The newest of our commits."""
        self._reload()
        if self._table is None:
            return None
        with self._reading():
            return reading.last_commit(self._table)

    def version(self) -> int | None:
        """The newest version; None before the first commit."""
        self._reload()
        return reading.version(self._table) or None

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """What a version consists of, and what its manifests say of it."""
        if self._table is None and version is None:
            return []
        with self._reading(version):
            table = self._kept(version)
            newest = table.current_snapshot()
            found = newest if version is None else self._snapshot(table, version)
            return [reading.table_file(table, each) for each in reading.data_files(table, found)]

    def dataset(self, version: int) -> "ds.Dataset":
        """The rows of a version, with its columns."""
        files = self.files(version)
        with self._reading():
            table = self._kept(version)
            schema = table.schemas().get(self._snapshot(table, version).schema_id or 0)
            columns = in_arrow(schema or table.schema())
        told = (
            (each.name, placed(each) & valued(self.divided_by, each.value, columns))
            for each in files
        )
        return dataset(self._files, told, columns)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file, in the table's types, whatever its manifest says of it."""
        if self._table is not None:
            with self._reading():
                yield from scan(self._files, name, in_arrow(self._table.schema()))

    def statistics(self, name: str) -> bytes | None:
        """Those that a record names; None when they are gone."""
        with self._reading():
            return get_statistics(self._files, name)

    def rows(self) -> int:
        """Rows in the newest version, as it says itself or else its manifests count them."""
        told = None if self._table is None else reading.rows(self._table)
        return sum(each.rows or 0 for each in self.files()) if told is None else told

    # -- upkeep ----------------------------------------------------------------------------------

    def _sweep(self, now_ms: int, keep_ms: int) -> Swept:
        """Let go of snapshots that nobody needs, and of the files that only they have."""
        self._reload()
        if (table := self._table) is None:
            return Swept()
        expire(table, self._files, now_ms, keep_ms)
        commits = self.commits()
        with self._reading():
            return sweep(table, self._files, commits, now_ms)

    # -- opening ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        with self._reading():
            if self._table is None:
                self._table = open_table(self._files, self._topic, self._catalogue)
            else:
                self._table.refresh()

    def _kept(self, version: int | None) -> Table:
        if self._table is None:
            raise gone(self.location, version or 0)
        return self._table

    def _is_expired(self, version: int) -> bool:
        # by a look of its own: this handle's must not move while somebody goes by it
        with self._reading():
            newest = open_table(self._files, self._topic, self._catalogue)
        return newest is None or reading.snapshot_at(newest, version) is None

    def _snapshot(self, table: Table, version: int) -> Snapshot:
        if (found := reading.snapshot_at(table, version)) is None:
            raise gone(self.location, version)
        return found

    def _create(self, change: Change) -> Table:
        columns = change.columns or change.files[0].rows.schema
        name = identifier(self._topic)
        try:
            catalogue = open_catalogue(self._files, self._catalogue)
            make_namespace(catalogue, name[:-1])
            schema = assign_fresh_schema_ids(to_schema(columns))
            self._table = catalogue.create_table(
                name,
                schema=schema,
                location=root_of(self._files),
                partition_spec=reading.spec_of(schema, change.divided_by),
                properties={
                    **_PROPERTIES,
                    reading.PRODUCT: self._product,
                    reading.TOPIC: self._topic,
                },
            )
        except (TableAlreadyExistsError, IntegrityError) as cause:
            raise overtaken(self.location) from cause
        except OperationalError as cause:
            if "already exists" not in str(cause.orig):  # the catalogue's own tables, this moment
                raise
            raise overtaken(self.location) from cause
        return self._table

    # -- writing ---------------------------------------------------------------------------------

    def _offsets(self, topic_id: str) -> Mapping[int, int]:
        return {} if self._table is None else reading.offsets(self._table).get(topic_id, {})

    def _require_next(self, table: Table, change: Change) -> None:
        """Raises OvertakenError when the change does not follow what the table now is."""
        reading.require_known(table, self.location)
        with self._reading():
            if (record := change.record) is not None:
                require_next(self._offsets(record.topic_id), record, self.location)
                if (reading.last_commit(table) or (0,))[0] > self._seen:  # it may move no offset
                    raise overtaken(self.location)
            if change.removed:
                held = {
                    reading.name_of(table, each)
                    for each in reading.data_files(table, table.current_snapshot())
                }
                if not held >= set(change.removed):
                    raise overtaken(self.location)

    def _begun(self, table: Table, change: Change) -> Transaction:
        """A transaction in which the table has the columns of the change."""
        transaction = LeanTransaction(table)
        if change.columns is not None:
            wanted = in_iceberg(change.columns)
            try:
                with transaction.update_schema() as update:
                    update.union_by_name(to_schema(change.columns))
            except (ValidationError, ResolveError) as cause:
                phrase = differing(in_arrow(table.schema()), wanted)
                raise refused(self.location, phrase) from cause
            if phrase := differing(in_arrow(transaction.table_metadata.schema()), wanted):
                raise refused(self.location, phrase)
        return transaction

    def _columns(self, transaction: Transaction) -> pa.Schema:
        """The columns of data files: Iceberg finds them by the ids of their fields."""
        return in_arrow(transaction.table_metadata.schema(), with_ids=True)

    def _shaped(self, file: NewFile, columns: pa.Schema) -> NewFile:
        """The rows in the table's own types (Iceberg knows microseconds only)."""
        if phrase := differing(columns, in_iceberg(file.rows.schema)):
            raise refused(self.location, phrase)
        return replace(file, rows=file.rows.cast(columns))

    def _put(self, files: WrittenFiles, change: Change, columns: pa.Schema) -> int:
        """Commit behind the newest snapshot; returns the version.

        Where another one was first, it may go behind that, if that is no cut and removed nothing
        of ours.
        """
        table, attempt = self._required(), uuid.uuid4().hex
        try:
            put_statistics(self._files, change)
            while not self._is_put(table, files, change, attempt):
                table.refresh()
                self._require_next(table, change)
                self._require_columns(table, change, columns)
        except BaseException as cause:
            # Whether it happened only the table can tell; while that is not known, files stay.
            table.refresh()
            if self._landed(attempt) is None:
                if self._is_settled(cause):
                    files.discard()
                    discard_statistics(self._files, change)
                raise
            if not isinstance(cause, Exception):  # a Ctrl-C, in the moment it was done
                raise
        return self._landed(attempt) or reading.version(table)

    def _require_columns(self, table: Table, change: Change, columns: pa.Schema) -> None:
        """Raises OvertakenError when fields have other ids by now than in the files."""
        found = self._columns(self._begun(table, change))
        if not found.equals(columns, check_metadata=True):
            raise overtaken(self.location)

    def _required(self) -> Table:
        if self._table is None:
            raise overtaken(self.location)
        return self._table

    def _is_put(self, table: Table, files: WrittenFiles, change: Change, attempt: str) -> bool:
        """Try to commit; False when another snapshot was first."""
        transaction = self._begun(table, change)
        properties = {reading.OFFSETS: reading.moved(reading.offsets(table), change.record)}
        if change.record is not None:
            properties[KEY] = to_text(change.record)
        update = transaction.update_snapshot({**properties, reading.ATTEMPT: attempt})
        snapshot = update.overwrite() if change.removed else update.merge_append()
        removed = set(change.removed)
        paths = iter([f"{root_of(self._files)}/{each.path}" for each in files.files])
        try:
            with snapshot as producer:
                for added in parquet_files_to_data_files(
                    table.io, transaction.table_metadata, paths
                ):
                    producer.append_data_file(added)
                for file in reading.data_files(table, table.current_snapshot()) if removed else ():
                    if reading.name_of(table, file) in removed:
                        producer.delete_data_file(file)
            if change.record is not None:
                number = str(table.metadata.next_sequence_number())
                transaction.set_properties({**properties, reading.NEWEST: number})
            transaction.commit_transaction()
        except CommitFailedException:
            return False
        return True

    def _is_settled(self, cause: BaseException) -> bool:
        """Whether a commit that is not there stays so: a server may do later what it was asked."""
        return not self._catalogue or isinstance(cause, HeadwaterError | OSError)

    def _landed(self, attempt: str) -> int | None:
        """The version of this attempt, if the newest snapshot comes from it."""
        return reading.number_of(self._required(), attempt)

    # -- errors ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the storage and of the catalogue, as one sentence."""
        try:
            yield
        except (OSError, SQLAlchemyError) as cause:
            raise storage_refuses(self.location, "write", reading.reason(cause)) from cause

    @contextmanager
    def _reading(self, version: int | None = None) -> Iterator[None]:
        """Errors of storage and catalogue, and metadata that cannot be read, as one sentence.

        What lacks of a version that expired since this handle looked is no damage.
        """
        try:
            yield
        except (HeadwaterError, ModuleNotFoundError):
            raise
        except FileNotFoundError as cause:
            if version is not None and self._is_expired(version):
                raise gone(self.location, version) from cause
            raise damaged(self.location, "a file of its metadata is gone") from cause
        except (OSError, OperationalError) as cause:
            raise storage_refuses(self.location, "read", reading.reason(cause)) from cause
        except SQLAlchemyError as cause:
            if self._catalogue:  # what a server answers is never a file that rots
                raise storage_refuses(self.location, "read", reading.reason(cause)) from cause
            raise damaged(self.location, reading.reason(cause)) from cause
        except Exception as cause:  # a wrong byte of JSON or Avro raises whatever it leads to
            raise damaged(self.location, "its metadata is not what was written") from cause
