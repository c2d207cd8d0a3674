"""A snapshot table in memory, with the same laws as a real one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headwater.clock import SYSTEM, Clock
from headwater.errors import DamagedError
from headwater.ports import Change, CommitRecord, Swept, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, evolved, refused
from headwater.snapshot.cut import overtaken, require_next

DUE_VERSIONS: Final = 20  # as a table in a directory
DUE_MS: Final = 86_400_000


@dataclass(slots=True)
class MemoryStorage:
    """What several handles of one table share."""

    versions: list[CommitRecord | None] = field(default_factory=list)
    files: dict[str, pa.Table] = field(default_factory=dict)
    past: dict[int, dict[str, pa.Table]] = field(default_factory=dict)
    columns: pa.Schema | None = None
    divided_by: str | None = None
    values: dict[str, str | None] = field(default_factory=dict)
    statistics: dict[str, bytes] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    written_ms: list[int] = field(default_factory=list)
    tidied: tuple[int, int] | None = None
    clock: Clock = SYSTEM

    @property
    def cuts(self) -> int:
        """How many commits have a record."""
        return len(self.versions) - self.versions.count(None)

    def held(self) -> dict[str, pa.Table]:
        """Every file of a version that is kept."""
        return {name: rows for files in self.past.values() for name, rows in files.items()}

    def offsets(self, topic_id: str) -> dict[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        return {
            taken.partition: taken.end
            for record in self.versions
            if record is not None and record.topic_id == topic_id
            for taken in record.ranges
        }

    def put(self, change: Change) -> int:
        """Make the next version, which the change follows; its number."""
        if not self.versions:
            self.divided_by = change.divided_by
        self.versions.append(change.record)
        self.written_ms.append(self.clock.wall_ms())
        version = len(self.versions)
        for name in change.removed:
            del self.files[name]
        for each in change.files:
            name = f"{each.name}-{len(self.values)}-{version}"
            self.files[name], self.values[name] = each.rows, each.value
        self.past[version] = dict(self.files)
        return version


class MemoryTable:
    """One handle. A cut is judged by what the last `offsets` of this handle saw."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._seen = storage.cuts

    @property
    def location(self) -> str:
        """Where readers find it."""
        return "memory"

    @property
    def divided_by(self) -> str | None:
        """The column that divides it, if any."""
        return self._storage.divided_by

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._seen = self._storage.cuts
        return self._storage.offsets(topic_id)

    def columns(self) -> pa.Schema | None:
        """Those of the newest version; None before the first commit."""
        return self._storage.columns

    def evolved(self, wanted: pa.Schema) -> pa.Schema:
        """The columns that the table would have if it took rows of others too."""
        stored = self._storage.columns
        return wanted if stored is None else evolved(stored, wanted, self.location, widening=False)

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
        return storage.put(change)

    def _columns(self, change: Change) -> pa.Schema | None:
        """The columns from this change on."""
        columns = change.columns or self._storage.columns
        if columns is not None and (phrase := differing(columns, self.evolved(columns))):
            raise refused(self.location, phrase)
        for file in change.files:
            columns = columns or file.rows.schema
            if phrase := differing(columns, file.rows.schema):
                if change.record is None:  # what upkeep merged has the columns of its last look
                    raise overtaken(self.location)
                raise refused(self.location, phrase)
        return columns

    def commits(self, after: int = 0) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits behind a version, oldest first, with theirs."""
        numbered = enumerate(self._storage.versions[after:], start=after + 1)
        return [(version, record) for version, record in numbered if record is not None]

    def last_commit(self) -> tuple[int, CommitRecord | UnreadableRecord] | None:
        """The newest of our commits."""
        return next(reversed(self.commits()), None)

    def version(self) -> int | None:
        """The newest version; None before the first commit."""
        return len(self._storage.versions) or None

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """Those of a version."""
        held = self._storage.files if version is None else self._held(version)
        values = self._storage.values
        return [replace(_file(name, rows), value=values[name]) for name, rows in held.items()]

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

    def is_upkeep_due(self, now_ms: int) -> bool:
        """Whether the last upkeep is long ago, in versions or in time."""
        version, at_ms = self._storage.tidied or (0, now_ms)
        news = len(self._storage.versions) - version
        return news >= DUE_VERSIONS or now_ms - at_ms >= DUE_MS

    def tidy(self, now_ms: int, keep_ms: int) -> Swept | None:
        """Take away versions that nobody needs; what they alone held goes with them."""
        storage = self._storage
        written = storage.written_ms
        old = [n for n, at_ms in enumerate(written, start=1) if at_ms <= now_ms - keep_ms]
        needed = {*range(max(old, default=0), len(written) + 1), *storage.pins.values()}
        before = storage.held()
        storage.past = {n: files for n, files in storage.past.items() if n in needed}
        gone = before.keys() - storage.held().keys()
        storage.tidied = len(written), now_ms
        return Swept(len(gone), sum(before[name].nbytes for name in gone))

    def pins(self) -> Mapping[str, int]:
        """The versions that upkeep must leave alone."""
        return dict(self._storage.pins)

    def pin(self, name: str, version: int) -> None:
        """Keep a version until `unpin`."""
        self._held(version)
        self._storage.pins[name] = version

    def unpin(self, name: str) -> bool:
        """Give a pinned version to upkeep."""
        return self._storage.pins.pop(name, None) is not None

    def _held(self, version: int) -> dict[str, pa.Table]:
        if version not in self._storage.past:
            raise DamagedError(f"version {version} is gone", code="FILE_GONE")
        return self._storage.past[version]

    def rows(self) -> int:
        """Rows in the newest version."""
        return sum(rows.num_rows for rows in self._storage.files.values())


def _file(name: str, rows: pa.Table) -> TableFile:
    bounds = _bounds(rows, "_partition"), _bounds(rows, "_offset")
    return TableFile(name, rows.num_rows, *bounds, size=rows.nbytes)


def _bounds(rows: pa.Table, column: str) -> tuple[int, int]:
    found = pc.min_max(rows[column]).as_py()
    return found["min"], found["max"]
