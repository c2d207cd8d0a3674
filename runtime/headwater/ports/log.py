"""The event log as the engine and the snapshot writer need it.

The seam is columnar: `RecordSource.poll` returns columns, `TransactionalLog.produce` takes columns.
A native client can take the place of the Kafka adapter without touching the engine.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NewType, Protocol

from headwater.model import Headers, Letter, Partition, Positions, RawRecord

GroupToken = NewType("GroupToken", object)
"""Group membership as captured at a transaction's start; opaque, handed back to `send_offsets`."""


class Records(Protocol):
    """Consecutive records of one topic, as columns. A row is a place in these columns."""

    @property
    def topic(self) -> str:
        """The one topic they come from."""
        ...

    @property
    def values(self) -> Sequence[bytes | None]:
        """The values, framed as in the log."""
        ...

    def __len__(self) -> int: ...

    def ends(self) -> Positions:
        """The next offset per partition after these records."""
        ...

    def raw(self, row: int) -> RawRecord:
        """One record with everything; for dead letters, never for every row."""
        ...

    def keys(self) -> Sequence[bytes | None]:
        """The keys."""
        ...

    def headers(self) -> Mapping[int, Headers]:
        """The headers of the rows that have some; on most topics none has.

        `UNREADABLE_HEADERS` where they cannot be read.
        """
        ...

    def partitions(self) -> Sequence[int]:
        """The partition index of each record."""
        ...

    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        ...

    def timestamps_ms(self) -> Sequence[int]:
        """The publish time of each record, milliseconds since the epoch."""
        ...


class RebalanceListener(Protocol):
    """Called inside `RecordSource.poll`, on the thread that polls."""

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        """Partitions are ours now; returns where to begin on each."""
        ...

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Partitions go after this call; last chance to commit their positions."""
        ...

    def lost(self, partitions: Sequence[Partition]) -> None:
        """Partitions are gone already; nothing of them may be committed."""
        ...


class RecordSource(Protocol):
    """A member of a consumer group that reads committed records."""

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Join the group; `listener` hears of every change of the assignment."""
        ...

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records by topic, in log order per partition; empty when none came in time.

        Raises RetriableError, FencedError, RecycleError or FatalError.
        """
        ...

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member holds."""
        ...

    def committed(self, partitions: Sequence[Partition]) -> Positions:
        """Stable committed positions of the group; absent = none.

        Waits out a pending transaction (KIP-447).
        """
        ...

    def metadata(self, partitions: Sequence[Partition]) -> Mapping[Partition, str]:
        """The note committed beside each position; absent = none."""
        ...

    def commit_start(self, positions: Positions) -> None:
        """Commit start positions outside a transaction, before joining (promise 9).

        Raises RetriableError while the group still has members: only an empty group takes them.
        """
        ...

    def seek(self, positions: Positions) -> None:
        """Go back (or on) to these positions; records already fetched beyond them are dropped.

        A partition that stood still goes on.
        """
        ...

    def pause(self) -> None:
        """Stop fetching on the whole assignment while polling keeps the membership."""
        ...

    def resume(self) -> None:
        """Undo `pause`, but not `halt`."""
        ...

    def halt(self, positions: Positions) -> None:
        """Stand still at these positions while the other partitions go on.

        A `seek` of such a partition ends it, and so does a new assignment.
        """
        ...

    def ends(self, partitions: Iterable[Partition]) -> Positions:
        """The read_committed ends of partitions held; asks the broker, one call each.

        The others tell theirs while they are read. Raises RetriableError.
        """
        ...

    def corrupt(self) -> Positions:
        """Where the stored records fail their checksum or cannot be decompressed.

        Their partitions bring nothing more, until a `seek` or a new assignment tries again.
        """
        ...

    def group_token(self) -> GroupToken:
        """The membership of this moment."""
        ...

    def check_membership(self) -> None:
        """Ask the broker whether this member id is still ours; raises FencedError if not."""
        ...

    def caught_up(self) -> Positions:
        """Where the read_committed end was reached, control records passed, nothing since."""
        ...

    def publish_times_ms(self) -> Mapping[Partition, int]:
        """The publish time of the last record polled, per partition."""
        ...

    def close(self) -> None:
        """Leave (a static member does not leave the group: its partitions wait for it)."""
        ...


class CommitOutcome(Enum):
    """What is known after a commit. Unknown is a third answer."""

    COMMITTED = "committed"
    UNKNOWN = "unknown"


class TransactionalLog(Protocol):
    """A producer with one transactional id. One transaction at a time, every call bounded.

    Every method may raise AbortableError, RecycleError, FencedError or UnavailableError.
    """

    def initialise(self) -> None:
        """Fence older processes of this id and finish or abort what they left."""
        ...

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def produce(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Publish columns of keys and framed values, partitioned by key."""
        ...

    def produce_to(
        self,
        topic: str,
        partitions: Sequence[int],
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
    ) -> None:
        """Publish columns into given partitions, in order; a null value is a tombstone."""
        ...

    def published(self) -> Positions:
        """After a commit: the next offset per partition behind what `produce_to` published in it.

        Partitions of which nobody said how far it went are absent, all of them after a recycle.
        """
        ...

    def produce_letters(self, topic: str, letters: Sequence[Letter]) -> None:
        """Publish records with headers."""
        ...

    def send_offsets(
        self, positions: Positions, notes: Mapping[Partition, str], group: GroupToken
    ) -> None:
        """Put input positions into the transaction, each with its note as metadata."""
        ...

    def commit(self) -> CommitOutcome:
        """Commit; UNKNOWN when no answer came within the bound."""
        ...

    def abort(self) -> None:
        """Abort the open transaction."""
        ...

    def recycle(self) -> None:
        """Throw the client away, make a new one with the same id and initialise it."""
        ...

    def poll(self) -> None:
        """Serve what the client has to tell (statistics, errors); at once, once a turn."""
        ...

    def is_doubtful(self) -> bool:
        """Whether a timeout or client error since `begin` asks for a recycle before the next."""
        ...

    def close(self) -> None:
        """Abort what is open and let go."""
        ...


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic as we create or check it."""

    name: str
    partitions: int
    kind: Literal["log", "table", "dead-letters", "repartition", "source"]
    config: Mapping[str, str] = field(default_factory=dict)


class Topics(Protocol):
    """Topics and groups, seen from outside the data path."""

    def partitions(self, topic: str) -> int | None:
        """The number of partitions; None when there is no such topic."""
        ...

    def topic_id(self, topic: str) -> str:
        """The broker's id of this incarnation of the topic (KIP-516)."""
        ...

    def config(self, topic: str) -> Mapping[str, str]:
        """The topic's settings in force."""
        ...

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Create those that do not exist."""
        ...

    def delete_before(self, positions: Positions) -> None:
        """Have the records before these positions deleted, below the high watermark.

        Returns at once. What the broker does not do now, it does when it is asked to delete more.
        """
        ...

    def beginnings(self, topic: str) -> Positions:
        """The first offset still in the log, per partition."""
        ...

    def ends(self, topic: str) -> Positions:
        """The read_committed end (last stable offset), per partition."""
        ...

    def high_watermarks(self, topic: str) -> Positions:
        """The high watermark, per partition."""
        ...

    def at_time(self, topic: str, timestamp_ms: int) -> Positions:
        """The first offset at or after a publish time, per partition; the end where none is."""
        ...

    def group_offsets(self, group: str, topic: str) -> Positions:
        """Committed positions of a group on a topic; absent = none."""
        ...

    def group_standing(self, group: str, topic: str) -> Mapping[Partition, tuple[int, str]]:
        """Committed positions of a group on a topic, each with its note; absent = none.

        A pending transaction is not waited for: the answer is what was committed before it.
        """
        ...


class LogReader(Protocol):
    """Reads exact ranges of a topic under read_committed, outside any consumer group."""

    def read(
        self, ranges: Mapping[Partition, tuple[int, int]], *, max_records: int
    ) -> Iterator[Records]:
        """Every committed record of `[start, end)` per partition, in order.

        Each `Records` is of one partition. Ends when every range is passed, control records and
        compaction gaps included.
        Raises UnavailableError, and UnverifiableError when a start is no longer in the log.
        """
        ...

    def close(self) -> None:
        """Let go of the client."""
        ...
