"""A snapshot table in memory, with the same laws as a real one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headwater.errors import DamagedError
from headwater.ports import Change, CommitRecord, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next


@dataclass(slots=True)
class MemoryStorage:
    """What several handles of one table share."""

    versions: list[CommitRecord | None] = field(default_factory=list)
    files: dict[str, pa.Table] = field(default_factory=dict)
    past: dict[int, dict[str, pa.Table]] = field(default_factory=dict)
    columns: pa.Schema | None = None
    statistics: dict[str, bytes] = field(default_factory=dict)

    @property
    def cuts(self) -> int:
        """How many commits have a record."""
        return len(self.versions) - self.versions.count(None)

    def offsets(self, topic_id: str) -> dict[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        return {
            taken.partition: taken.end
            for record in self.versions
            if record is not None and record.topic_id == topic_id
            for taken in record.ranges
        }


class MemoryTable:
    """One handle. A cut is judged by what the last `offsets` of this handle saw."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._seen = storage.cuts

    @property
    def location(self) -> str:
        """Where readers find it."""
        return "memory"

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._seen = self._storage.cuts
        return self._storage.offsets(topic_id)

    def topic_ids(self) -> frozenset[str]:
        """Every incarnation of a topic this table holds rows of."""
        return frozenset(record.topic_id for record in self._storage.versions if record is not None)

    def columns(self) -> pa.Schema | None:
        """Those of the newest version; None before the first commit."""
        return self._storage.columns

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too."""
        stored = self._storage.columns
        return wanted if stored is None else evolved(stored, wanted, self.location, widening=False)

    def differing_columns(self, wanted: pa.Schema) -> str:
        """How stored columns differ from others in name or type; empty when they do not."""
        stored = self._storage.columns
        return "" if stored is None else differing(stored, wanted)

    def commit(self, change: Change) -> int:
        """Do all of a change in one commit; returns the table version."""
        storage, record = self._storage, change.record
        if record is not None:
            if self._seen != storage.cuts:
                raise overtaken(self.location)
            require_next(storage.offsets(record.topic_id), record, self.location)
        if not storage.files.keys() >= set(change.removed):
            raise overtaken(self.location)
        storage.columns = self._columns(change)
        if record is not None and record.statistics and change.statistics is not None:
            storage.statistics[record.statistics] = change.statistics
        storage.versions.append(record)
        version = len(storage.versions)
        for name in change.removed:
            del storage.files[name]
        storage.files.update((f"{each.name}-{version}", each.rows) for each in change.files)
        storage.past[version] = dict(storage.files)
        return version

    def _columns(self, change: Change) -> pa.Schema | None:
        """The columns from this change on."""
        columns = change.columns or self._storage.columns
        if columns is not None and (phrase := differing(columns, self.evolved(columns))):
            raise refused(self.location, phrase)
        for file in change.files:
            columns = columns or file.rows.schema
            if phrase := differing(columns, file.rows.schema):
                raise refused(self.location, phrase)
        return columns

    def commits(self) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits, oldest first, with their table versions."""
        numbered = enumerate(self._storage.versions, start=1)
        return [(version, record) for version, record in numbered if record is not None]

    def version(self) -> int | None:
        """The newest version; None before the first commit."""
        return len(self._storage.versions) or None

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """Those of a version."""
        held = self._storage.files if version is None else self._held(version)
        return [_file(name, rows) for name, rows in held.items()]

    def dataset(self, version: int) -> ds.Dataset:
        """The rows of a version."""
        return ds.dataset(pa.concat_tables(self._held(version).values(), promote_options="default"))

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file; a column that came later is null."""
        held = (files[name] for files in self._storage.past.values() if name in files)
        rows = next(held, None)
        if rows is None:
            raise DamagedError(f"{name} is gone", code="FILE_GONE")
        columns = self._storage.columns
        for each in columns or ():
            if each.name not in rows.schema.names:
                rows = rows.append_column(each, pa.nulls(rows.num_rows, each.type))
        if columns is not None:
            yield from rows.select(columns.names).cast(columns).to_batches()

    def statistics(self, name: str) -> bytes | None:
        """What a commit kept under this name; None when it is gone."""
        return self._storage.statistics.get(name)

    def _held(self, version: int) -> dict[str, pa.Table]:
        if version not in self._storage.past:
            raise DamagedError(f"version {version} is gone", code="FILE_GONE")
        return self._storage.past[version]

    def rows(self) -> int:
        """Rows in the newest version."""
        return sum(rows.num_rows for rows in self._storage.files.values())


def _file(name: str, rows: pa.Table) -> TableFile:
    bounds = (_bounds(rows, "_partition"), _bounds(rows, "_offset"))
    return TableFile(name, rows.num_rows, *bounds, bytes=rows.nbytes)


def _bounds(rows: pa.Table, column: str) -> tuple[int, int]:
    found = pc.min_max(rows[column]).as_py()
    return found["min"], found["max"]
