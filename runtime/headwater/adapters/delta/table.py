"""A snapshot table as a Delta table.

The transaction `<topic id>/<partition>` of the Delta log holds the end of the last cut. An entry of
the log is put only if there is none of its version, and a writer looks at all that came before its
own: so two snapshotters never take a range twice.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from headwater.adapters.delta.files import additions, stored
from headwater.adapters.delta.log import (
    Action,
    commit_info,
    commits_told,
    is_newest,
    local_times,
    metadata,
    put_entry,
    removal,
    require_known,
    transaction,
    with_local_times,
)
from headwater.adapters.delta.opening import begin, open_table
from headwater.adapters.delta.reading import (
    Commit,
    dataset,
    divided_by,
    files,
    follow,
    in_delta,
    lack,
    load,
    newest_commit,
    paths,
    reason,
)
from headwater.adapters.delta.upkeep import checkpoint, is_due, sweep
from headwater.adapters.parquet.files import WrittenFiles, write_files
from headwater.adapters.parquet.reading import scan, valued
from headwater.adapters.tables.files import TableFiles
from headwater.adapters.tables.kept import KeptTable
from headwater.adapters.tables.statistics import (
    discard_statistics,
    get_statistics,
    put_statistics,
)
from headwater.clock import SYSTEM, Clock
from headwater.errors import DamagedError
from headwater.ports import Change, CommitRecord, NewFile, Swept, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next
from headwater.snapshot.record import KEY, from_text, to_text
from headwater.snapshot.refusals import (
    damaged,
    gone,
    storage_refuses,
)

_ATTEMPT: Final = "headwater.attempt"  # the writer's own name for an entry


class DeltaSnapshotTable(KeptTable):
    """One handle on the table of one topic; its place is empty before the first `commit`.

    A cut is judged by what the last `offsets` of this handle saw. Every method raises
    StartRefusedError (NOT_OUR_TABLE) when its place holds something else, DamagedError when
    its Delta log cannot be read, and RetriableError (SNAPSHOT_STORAGE) when the storage refuses.
    """

    def __init__(
        self, files: TableFiles, *, product: str, topic: str, clock: Clock = SYSTEM
    ) -> None:
        self._files = files
        self._product = product
        self._topic = topic
        self._clock = clock
        self._values: dict[str, str | None] = {}  # of the files that this handle was asked for
        self._ends: tuple[tuple[int, str], dict[int, int]] = ((-1, ""), {})  # of a version, a topic
        self._last: tuple[int, Commit | None] = (-1, None)  # of a version
        with self._reading():
            self._table = open_table(self._files, self._topic)
        self._see()

    @property
    def location(self) -> str:
        """Where readers find it."""
        return self._files.location

    @property
    def divided_by(self) -> str | None:
        """The column that divides it, if any."""
        return None if self._table is None else divided_by(self._table)

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._reload()
        self._see()
        return self._offsets(topic_id)

    def columns(self) -> pa.Schema | None:
        """Those of the newest version, in Delta's types; None before the first commit."""
        return None if self._table is None else pa.schema(self._table.schema().to_arrow())

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too, in Delta's types."""
        wanted, held = in_delta(wanted), self.columns()
        return wanted if held is None else evolved(held, wanted, self.location, widening=False)

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
            if is_due(table.version()):
                checkpoint(table, self._files)
            columns = self._columns(table, change)
            by = divided_by(table)
            shaped = [stored(self._shaped(each, columns), by) for each in change.files]
            files = write_files(self._files, shaped, by)
            version = self._put(table, files, change)
        self._seen = version
        self._reload()
        if change.record is not None and self._ends[0] == (version - 1, change.record.topic_id):
            # to ask replays the log: what this commit followed is known, and what it moved
            moved = {taken.partition: taken.end for taken in change.record.ranges}
            self._ends = (version, change.record.topic_id), self._ends[1] | moved
        return version

    def commits(self, after: int = 0) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits behind a version, oldest first, with theirs."""
        self._reload()
        if self._table is None:
            return []
        with self._reading():
            told = list(commits_told(self._files, range(after + 1, self._table.version() + 1)))
        read = ((version, from_text(each.get(KEY))) for version, each in told)
        return [(version, record) for version, record in read if record is not None]

    def last_commit(self) -> tuple[int, CommitRecord | UnreadableRecord] | None:
        """The newest of our commits."""
        self._reload()
        if self._table is None:
            return None
        version, last = self._last
        if version != self._table.version():
            with self._reading():
                last = newest_commit(self._files, self._table.version())
            self._last = self._table.version(), last
        return last

    def version(self) -> int | None:
        """The newest version; None before the first commit."""
        self._reload()
        return None if self._table is None else self._table.version()

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """What a version consists of, and what the Delta log says of it."""
        if self._table is None:
            return []
        with self._reading():
            found = files(self._at(self._table, version), self.location)
        self._values.update((each.name, each.value) for each in found)
        return found

    def dataset(self, version: int) -> ds.Dataset:
        """The rows of a version, with its columns."""
        table = self._table or open_table(self._files, self._topic)
        if table is None:
            raise gone(self.location, version)
        with self._reading():
            return dataset(self._at(table, version), self._files)

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file, in the table's types, whatever the Delta log says of it."""
        if self._table is not None:
            with self._reading():
                columns = pa.schema(self._table.schema().to_arrow())
                yield from scan(self._files, name, columns, self._known(name, columns))

    def statistics(self, name: str) -> bytes | None:
        """What a commit kept under this name; None when it is gone."""
        with self._reading():
            return get_statistics(self._files, name)

    def rows(self) -> int:
        """Rows in the newest version, as the Delta log counts them."""
        return 0 if self._table is None else self._table.count()

    def _known(self, name: str, columns: pa.Schema) -> ds.Expression | None:
        """What the Delta log says of the column that divides the table: files do not hold it."""
        if (by := self.divided_by) is None:
            return None
        if name not in self._values:
            self.files()
        if name not in self._values:
            raise DamagedError(f"{name} is gone", code="FILE_GONE")
        return valued(by, self._values[name], columns)

    # -- upkeep ----------------------------------------------------------------------------------

    def _sweep(self, now_ms: int, keep_ms: int) -> Swept:
        """Make a checkpoint of the log, and take away what no needed version has."""
        commits = self.commits()
        if self._table is None:
            return Swept()
        checkpoint(self._table, self._files)
        with self._reading():
            return sweep(self._table, self._files, commits, now_ms, keep_ms)

    # -- opening ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        with self._reading():
            if self._table is None:
                self._table = open_table(self._files, self._topic)
            elif not is_newest(self._files, self._table.version()):
                follow(self._table)

    def _at(self, table: DeltaTable, version: int | None) -> DeltaTable:
        """The table as it was in a version. Raises DamagedError (FILE_GONE)."""
        if version is None or version == table.version():
            return table
        try:
            older = load(self._files, version)
        except (DeltaError, TableNotFoundError) as cause:
            raise gone(self.location, version) from cause
        # what the newest version names too upkeep did not take: that is damage, told when read
        left = paths(older).keys() - paths(table).keys()
        if not all(self._files.exists(each) for each in left):
            raise gone(self.location, version)
        return older

    def _see(self) -> None:
        """What a cut is judged by from here on."""
        self._seen = 0 if self._table is None else self._table.version()

    def _create(self, change: Change) -> DeltaTable:
        now_ms = self._clock.wall_ms()
        self._table = begin(self._files, change, self._product, self._topic, now_ms)
        return self._table

    # -- writing ---------------------------------------------------------------------------------

    def _offsets(self, topic_id: str) -> dict[int, int]:
        if self._table is None:
            return {}
        known, ends = self._ends
        if known == (self._table.version(), topic_id):
            return ends
        ends, partition = {}, 0
        while (end := self._table.transaction_version(f"{topic_id}/{partition}")) is not None:
            ends[partition] = end
            partition += 1
        self._ends = (self._table.version(), topic_id), ends
        return ends

    def _columns(self, table: DeltaTable, change: Change) -> pa.Schema:
        """The columns that the table has from this change on, in its own types."""
        if change.columns is None:
            return pa.schema(table.schema().to_arrow())
        wanted = in_delta(change.columns)
        if phrase := differing(wanted, self.evolved(wanted)):
            raise refused(self.location, phrase)
        return wanted

    def _shaped(self, file: NewFile, columns: pa.Schema) -> NewFile:
        """The rows in the table's own types (Delta knows microseconds only)."""
        if phrase := differing(columns, in_delta(file.rows.schema)):
            raise refused(self.location, phrase)
        return replace(file, rows=file.rows.cast(columns))

    def _require_next(self, table: DeltaTable, change: Change) -> None:
        """Raises OvertakenError when the change does not follow what the table now is."""
        if change.record is not None:
            require_next(self._offsets(change.record.topic_id), change.record, self.location)
            since = commits_told(self._files, range(self._seen + 1, table.version() + 1))
            if any(KEY in told for _, told in since):  # it may have moved no offset
                raise overtaken(self.location)
        if change.removed and not paths(table).keys() >= set(change.removed):
            raise overtaken(self.location)

    def _put(self, table: DeltaTable, files: WrittenFiles, change: Change) -> int:
        """Write the entry behind the newest; returns the version.

        Where another one was first, it may go behind that, if that is no cut and removed nothing
        of ours.
        """
        before, attempt = table.version(), uuid.uuid4().hex
        try:
            put_statistics(self._files, change)
            while not put_entry(
                self._files, table.version() + 1, self._entry(table, files, change, attempt)
            ):
                follow(table)
                self._require_next(table, change)
                require_known(table, self.location)
        except BaseException:
            # Whether it happened only the log can tell.
            follow(table)
            between = commits_told(self._files, range(before + 1, table.version() + 1))
            landed = [version for version, each in between if each.get(_ATTEMPT) == attempt]
            if not landed:
                if self._files.is_settled:
                    files.discard()
                    discard_statistics(self._files, change)
                raise
            return landed[0]
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
        logged = paths(table) if change.removed else {}
        actions += [
            removal(logged[name], now_ms, changes_data=changes_data) for name in change.removed
        ]
        return [
            *actions,
            *additions(
                files.files,
                divided_by(table),
                written_at_ms=now_ms,
                changes_data=changes_data,
            ),
        ]

    # -- errors ----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the storage, as one sentence."""
        try:
            yield
        except (OSError, DeltaError, pa.ArrowException) as cause:
            raise storage_refuses(self.location, "write", reason(cause, self._files)) from cause

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of the storage, and what it holds that Delta cannot read, as one sentence."""
        try:
            try:
                yield
            except (DeltaError, pa.ArrowException) as cause:
                why = lack(self._files) or reason(cause, self._files)
                raise damaged(self.location, why) from cause
        except OSError as cause:
            raise storage_refuses(self.location, "read", reason(cause, self._files)) from cause
        except (ValueError, LookupError) as cause:  # of an entry that we read ourselves
            raise damaged(self.location, "its log is not what was written") from cause
