"""A columnar table with compare-and-swap commits, as the snapshot writer needs it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class CutRange:
    """`[start, end)` of one partition, with its rows and their multiset hash (32 hex digits)."""

    partition: int
    start: int
    end: int
    rows: int
    hash: str


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What a snapshot commit says of itself; stored in the table's own log."""

    commit_id: str
    product: str
    topic: str
    topic_id: str
    schema_id: int
    ranges: Sequence[CutRange]
    committed_at_ms: int


class Table(Protocol):
    """A table that is the only truth about how far its snapshots got."""

    @property
    def location(self) -> str:
        """Where readers find it."""
        ...

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        ...

    def topic_ids(self) -> frozenset[str]:
        """Every incarnation of a topic this table holds rows of."""
        ...

    def append(self, rows: pa.Table, record: CommitRecord) -> int:
        """Append rows and their cut in one commit; returns the table version.

        Raises AbortableError when another writer was first (nothing was written then),
        RetriableError when the storage refuses.
        """
        ...

    def commits(self) -> Sequence[tuple[int, CommitRecord]]:
        """Our commits, oldest first, with their table versions."""
        ...

    def read(self, partition: int, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """The rows of `[start, end)` of one partition of the newest version, ordered by offset."""
        ...

    def rows(self) -> int:
        """Rows in the newest version."""
        ...
