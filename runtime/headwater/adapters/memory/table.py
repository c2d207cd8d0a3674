"""A snapshot table in memory, with the same laws as a real one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from headwater.ports import CommitRecord, TableFile, UnreadableRecord
from headwater.snapshot.columns import differing, refused
from headwater.snapshot.cut import require_next, taken_by_another


@dataclass(slots=True)
class MemoryStorage:
    """What several handles of one table share."""

    commits: list[CommitRecord] = field(default_factory=list)
    parts: list[pa.Table] = field(default_factory=list)

    def offsets(self, topic_id: str) -> dict[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        return {
            taken.partition: taken.end
            for record in self.commits
            if record.topic_id == topic_id
            for taken in record.ranges
        }


class MemoryTable:
    """One handle. `append` is judged by what the last `offsets` of this handle saw."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._seen = len(storage.commits)

    @property
    def location(self) -> str:
        """Where readers find it."""
        return "memory"

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        self._seen = len(self._storage.commits)
        return self._storage.offsets(topic_id)

    def topic_ids(self) -> frozenset[str]:
        """Every incarnation of a topic this table holds rows of."""
        return frozenset(record.topic_id for record in self._storage.commits)

    def differing_columns(self, wanted: pa.Schema) -> str:
        """How stored columns differ from others in name or type; empty when they do not."""
        return differing(self._storage.parts[0].schema, wanted) if self._storage.parts else ""

    def append(self, rows: pa.Table, record: CommitRecord) -> int:
        """Append rows and their cut in one commit; returns the table version."""
        if self._seen != len(self._storage.commits):
            raise taken_by_another(record, self.location)
        require_next(self._storage.offsets(record.topic_id), record, self.location)
        if phrase := self.differing_columns(rows.schema):
            raise refused(record.topic, self.location, phrase)
        self._storage.commits.append(record)
        self._storage.parts.append(rows)
        return len(self._storage.commits)

    def commits(self) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits, oldest first, with their table versions."""
        return list(enumerate(self._storage.commits, start=1))

    def files(self) -> Sequence[TableFile]:
        """One per commit."""
        return [
            TableFile(str(number), part.num_rows) for number, part in enumerate(self._storage.parts)
        ]

    def scan(self, name: str) -> Iterator[pa.RecordBatch]:
        """Every row of a file."""
        yield from self._storage.parts[int(name)].to_batches()

    def rows(self) -> int:
        """Rows in the newest version."""
        return sum(part.num_rows for part in self._storage.parts)
