"""A snapshot table as a Delta table in a local directory.

The transaction `<topic id>/<partition>` of the Delta log holds the end of the last cut: Delta
refuses a writer that did not see the newest one, so two snapshotters never take a range twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from headwater.adapters.delta.files import WrittenFiles, write_files
from headwater.adapters.delta.record import KEY, from_history, to_text
from headwater.errors import RetriableError, StartRefusedError
from headwater.ports import CommitRecord
from headwater.snapshot.cut import require_next, taken_by_another

_PRODUCT: Final = "headwater.product"
_TOPIC: Final = "headwater.topic"
_PROPERTIES: Final = {
    # The log is the record of every cut: its entries must outlive Delta's 30 days.
    "delta.enableExpiredLogCleanup": "false",
}


class DeltaSnapshotTable:
    """One handle on the table of one topic; the directory is made by the first `append`.

    `append` is judged by what the last `offsets` of this handle saw. Every method raises
    StartRefusedError (NOT_OUR_TABLE) when the directory holds something else, and RetriableError
    (SNAPSHOT_STORAGE) when the storage refuses.
    """

    def __init__(self, directory: Path, *, product: str, topic: str) -> None:
        self._directory = directory
        self._product = product
        self._topic = topic
        with self._storage("open"):
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
        return frozenset(record.topic_id for _, record in self.commits())

    def append(self, rows: pa.Table, record: CommitRecord) -> int:
        """Append rows and their cut in one commit; returns the table version.

        Raises AbortableError (SNAPSHOT_TAKEN) when another writer was first.
        """
        with self._storage("write"):
            table = self._table or self._create(rows.schema, record)
            require_next(self._offsets(record.topic_id), record, self.location)
            files = write_files(self._directory, self._shaped(rows, table), record)
            self._commit(table, files, record)
        self._reload()
        return table.version()

    def commits(self) -> Sequence[tuple[int, CommitRecord]]:
        """Our commits, oldest first, with their table versions."""
        self._reload()
        if self._table is None:
            return []
        entries = [(entry["version"], from_history(entry)) for entry in self._table.history()]
        return [(version, record) for version, record in reversed(entries) if record is not None]

    def read(self, partition: int, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """The rows of `[start, end)` of one partition, ordered by offset; held in memory."""
        if self._table is None:
            return
        offset = ds.field("_offset")
        wanted = (ds.field("_partition") == partition) & (offset >= start) & (offset < end)
        with self._storage("read"):
            rows = self._table.to_pyarrow_dataset().to_table(filter=wanted)
        yield from rows.sort_by("_offset").to_batches()

    def rows(self) -> int:
        """Rows in the newest version."""
        return 0 if self._table is None else self._table.count()

    # -- opening ---------------------------------------------------------------------------------

    def _reload(self) -> None:
        with self._storage("read"):
            if self._table is None:
                self._table = self._open()
            else:
                self._table.update_incremental()

    def _open(self) -> DeltaTable | None:
        try:
            table = DeltaTable(self._directory)
        except TableNotFoundError:
            if self._directory.exists() and not self._is_unused():
                raise self._not_ours("it holds other files") from None
            return None
        found = table.metadata().configuration
        if found.get(_TOPIC) != self._topic:
            raise self._not_ours(
                f"it is a table of {found[_TOPIC]}" if _TOPIC in found else "it is another table"
            )
        return table

    def _is_unused(self) -> bool:
        # A `_delta_log` without commits is what a crash or a full disk leaves of a creation.
        return self._directory.is_dir() and all(
            path.name == "_delta_log" for path in self._directory.iterdir()
        )

    def _not_ours(self, reason: str) -> StartRefusedError:
        return StartRefusedError(
            f"The directory {self.location} is no snapshot of {self._topic}: {reason}; nothing was"
            f" changed. Choose another directory with --to.",
            code="NOT_OUR_TABLE",
        )

    def _create(self, schema: pa.Schema, record: CommitRecord) -> DeltaTable:
        configuration = {**_PROPERTIES, _PRODUCT: self._product, _TOPIC: self._topic}
        try:
            self._table = DeltaTable.create(
                self._directory,
                schema=schema,
                name=self._topic,
                configuration=configuration,
                raise_if_key_not_exists=False,  # Delta knows no names of ours
            )
        except DeltaError as cause:
            if DeltaTable.is_deltatable(self.location):
                raise taken_by_another(record, self.location) from cause
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

    def _shaped(self, rows: pa.Table, table: DeltaTable) -> pa.Table:
        """The rows in the table's own types (Delta knows microseconds only)."""
        schema = pa.schema(table.schema().to_arrow())
        if schema.names != rows.schema.names:
            raise StartRefusedError(
                f"The columns of {self._topic} are no longer those of the snapshot in"
                f" {self.location}; choose another directory with --to.",
                code="SNAPSHOT_COLUMNS",
            )
        return rows.cast(schema)

    def _commit(self, table: DeltaTable, files: WrittenFiles, record: CommitRecord) -> None:
        transactions = [
            Transaction(f"{record.topic_id}/{r.partition}", r.end) for r in record.ranges
        ]
        properties = CommitProperties(
            custom_metadata={KEY: to_text(record)}, app_transactions=transactions
        )
        try:
            table.create_write_transaction(
                list(files.actions),
                mode="append",
                schema=table.schema(),
                commit_properties=properties,
            )
        except (CommitFailedError, DeltaError, OSError) as cause:
            self._resolve(table, files, record, cause)

    def _resolve(
        self, table: DeltaTable, files: WrittenFiles, record: CommitRecord, cause: Exception
    ) -> None:
        """Whether a commit without a good answer happened: only the table can tell."""
        table.update_incremental()
        if {action.path for action in files.actions} <= _names(table):
            return
        files.discard()
        if isinstance(cause, CommitFailedError):
            raise taken_by_another(record, self.location) from cause
        raise cause

    @contextmanager
    def _storage(self, doing: str) -> Iterator[None]:
        """Errors of the storage, as one sentence."""
        try:
            yield
        except (OSError, DeltaError, pa.ArrowException) as cause:
            raise RetriableError(
                f"Could not {doing} the snapshot in {self.location}: {_reason(cause)};"
                f" what was committed before is whole. Mend that and run the command again.",
                code="SNAPSHOT_STORAGE",
            ) from cause


def _names(table: DeltaTable) -> set[str]:
    return {Path(uri).name for uri in table.file_uris()}


def _reason(cause: Exception) -> str:
    """The last and most concrete line of a nested message."""
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause).strip().splitlines()[-1].split("Error: ")[-1].strip(" ↳\x1b[]031m")
