"""A columnar table with compare-and-swap commits, as the snapshot writer needs it.

One primitive, `Table.commit`: add rows, take files out, evolve columns, write down a record.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds  # brings pandas in, where that is installed


SNAPSHOT_FORMAT: Final = 1
"""Of what a commit writes: the record, the digests in it, the columns of place, the buckets.

A release that writes one of them in another way has the next number.
"""


@dataclass(frozen=True, slots=True)
class CutRange:
    """`[start, end)` of one partition, with its rows and their multiset hash (32 hex digits)."""

    partition: int
    start: int
    end: int
    rows: int
    hash: str


@dataclass(frozen=True, slots=True)
class DaysClosed:
    """What a commit of mode "daily" says of days of event time, each in ISO 8601 (UTC).

    All days before `before` are closed from this commit on; None where that is not news.
    `is_assumed`: those that this commit closes, in spite of an input partition that was idle.
    `corrected` are its rows of days that were closed by a commit before it, by day.
    """

    before: str | None = None
    is_assumed: bool = False
    corrected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What a snapshot commit says of itself; stored in the table's own log.

    `statistics` names those of the table as of this commit; None where there are none.
    Of mode "append" rows and hashes are those of the ranges, of mode "latest" those of the whole
    table per partition, whose rows stand in so many `buckets` by the hash of their key.
    `stored_names` are the names under which fields of the contract are stored, by their path, where
    they are others: those that they began with.
    `format` is that of the release that wrote it; an older release lets such a table alone.
    `days` are those that a commit of mode "daily" closes or corrects; None of other modes.
    """

    commit_id: str
    product: str
    topic: str
    topic_id: str
    schema_id: int
    ranges: Sequence[CutRange]
    committed_at_ms: int
    statistics: str | None = None
    mode: str = "append"
    buckets: int = 0
    format: int = SNAPSHOT_FORMAT
    stored_names: Mapping[str, str] = field(default_factory=dict)
    days: DaysClosed | None = None


@dataclass(frozen=True, slots=True)
class NewFile:
    """Rows that become one file, whose name begins so.

    `value` is that of the column that divides the table, in all of its rows, as text: "true", "-7",
    "2026-01-31", never empty. None where none does, or null.
    """

    name: str
    rows: "pa.Table"
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to a table, all of it or nothing.

    `record` is None for upkeep, which moves no cut. `removed` names files of the newest version.
    `columns` are those of the table from here on, as `Table.evolved` gives them; None leaves them
    as they are. New ones are null in older rows.
    `statistics` are kept under the name that the record has for them, from before the commit is
    visible; the table knows nothing of what they say.
    `divided_by` is the column that divides the table that this commit makes; a table that there is
    already stays divided as it was made.
    """

    files: Sequence[NewFile]
    record: CommitRecord | None
    removed: Sequence[str] = ()
    columns: "pa.Schema | None" = None
    statistics: bytes | None = None
    divided_by: str | None = None


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A commit of ours whose record cannot be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of a table's newest version, with what the table says of its rows.

    `partitions` and `offsets` are the least and the greatest. None is what the table does not say.
    `value` is that of the column that divides the table, in all of its rows, as that of `NewFile`.
    `size` is that in the storage, in bytes.
    """

    name: str
    rows: int | None = None
    partitions: tuple[int, int] | None = None
    offsets: tuple[int, int] | None = None
    value: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """The files that upkeep took away for good, and their bytes."""

    files: int = 0
    bytes: int = 0


class Table(Protocol):
    """A table that is the only truth about how far its snapshots got."""

    @property
    def location(self) -> str:
        """Where readers find it."""
        ...

    @property
    def divided_by(self) -> str | None:
        """The column that divides it into files of one value each.

        None where none does, and before the first commit.
        """
        ...

    def offsets(self, topic_id: str) -> Mapping[int, int]:
        """The end of the last commit per partition of this incarnation of the topic."""
        ...

    def columns(self) -> "pa.Schema | None":
        """Those of the newest version, in the table's types; None before the first commit."""
        ...

    def evolved(self, wanted: "pa.Schema") -> "pa.Schema":
        """The columns that the table would have if it took rows of others too, in its types.

        New ones stand behind those that are stored, or within their structs; a format that can
        makes a column wider. Raises StartRefusedError (SNAPSHOT_COLUMNS) when it cannot take them.
        """
        ...

    def commit(self, change: Change) -> int:
        """Do all of a change in one commit; returns the table version.

        Raises OvertakenError (SNAPSHOT_TAKEN) when another cut was committed since `offsets` was
        asked, or a file to be removed is gone, StartRefusedError (SNAPSHOT_COLUMNS) for rows of
        other columns than the table's, RetriableError when the storage refuses; nothing was
        written then. When no answer comes, the table is asked whether the commit is in it.
        """
        ...

    def commits(self, after: int = 0) -> Sequence[tuple[int, CommitRecord | UnreadableRecord]]:
        """Our commits behind a version, oldest first, with theirs. Raises DamagedError."""
        ...

    def last_commit(self) -> tuple[int, CommitRecord | UnreadableRecord] | None:
        """The newest of our commits, found without the older ones. Raises DamagedError."""
        ...

    def version(self) -> int | None:
        """The newest version, of upkeep or of a cut; None before the first commit."""
        ...

    def files(self, version: int | None = None) -> Sequence[TableFile]:
        """What a version consists of, by default the newest that this handle has seen.

        Raises DamagedError (FILE_GONE when the table does not keep this version any more), and
        UnverifiableError when the table uses a feature of its format that makes the files alone
        not its rows.
        """
        ...

    def dataset(self, version: int) -> "ds.Dataset":
        """The rows of a version, with its columns; reads nothing yet. Raises as `files` does."""
        ...

    def scan(self, name: str) -> "Iterator[pa.RecordBatch]":
        """Every row of a file, in the table's types, whatever the table says of the file.

        Raises DamagedError: FILE_GONE when it is gone, else its bytes are not what a writer wrote.
        """
        ...

    def statistics(self, name: str) -> bytes | None:
        """What a commit kept under this name; None when it is gone."""
        ...

    def rows(self) -> int:
        """Rows in the newest version, as the table counts them without reading its files."""
        ...

    # -- upkeep ----------------------------------------------------------------------------------

    def is_upkeep_due(self, now_ms: int) -> bool:
        """Whether `tidy` was not called for so long, in versions or in time, that it should be."""
        ...

    def tidy(self, now_ms: int, keep_ms: int) -> Swept | None:
        """Take away versions that nobody needs, and files that none of the others names.

        A version is needed while it was the newest one at some time of the last `keep_ms`, and
        while a pin names it; records are kept of all. A file goes once it is a day old too: a
        younger one may be that of a commit under way. None when another process is at it. Raises
        RetriableError, and DamagedError when it cannot be told what is needed, as where a pin names
        a version that is not there; whenever it is interrupted, every needed version is whole.
        """
        ...

    def pins(self) -> Mapping[str, int]:
        """The versions that upkeep must leave alone, by the name of their pin."""
        ...

    def pin(self, name: str, version: int) -> None:
        """Keep a version until `unpin`; a pin of this name moves.

        Raises DamagedError (FILE_GONE) when the table does not keep this version any more, and
        RetriableError while upkeep is under way.
        """
        ...

    def unpin(self, name: str) -> bool:
        """Give a pinned version to upkeep; False when there is no such pin."""
        ...
