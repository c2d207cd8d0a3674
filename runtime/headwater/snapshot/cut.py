"""Where a snapshot may end and must begin: ranges of the published log. Reads no record."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.errors import OvertakenError, StartRefusedError
from headwater.model import Partition, Positions, shown_id
from headwater.ports import CommitRecord, CutRange, DaysClosed, Table, Topics, UnreadableRecord
from headwater.snapshot.refusals import damaged, damaged_record

DELETIONS_KEPT_MS: Final = 86_400_000  # Kafka's default of delete.retention.ms, a day
READING_SHARE: Final = 0.5  # of that may have passed since a cut; the rest is for reading on

_COMMITS: Final = uuid.UUID("6f3d0d6c-2b0e-5d0c-9b5e-6a4d1f0c7e21")  # the name space of commit ids


@dataclass(frozen=True, slots=True)
class Cut:
    """What one snapshot takes: `[start, end)` of every partition of one incarnation of a topic."""

    topic: str
    topic_id: str
    ranges: Mapping[Partition, tuple[int, int]]

    @property
    def starts(self) -> Positions:
        """Where it begins on every partition."""
        return {partition: start for partition, (start, _) in self.ranges.items()}

    @property
    def ends(self) -> Positions:
        """Where it ends on every partition."""
        return {partition: end for partition, (_, end) in self.ranges.items()}

    @property
    def offsets(self) -> int:
        """How many offsets lie in the ranges; control records among them, so rows are fewer."""
        return sum(end - start for start, end in self.ranges.values())


def is_compacted(topics: Topics, topic: str) -> bool:
    """Whether the broker may drop older records of a key."""
    return "compact" in _policies(topics.config(topic))


def _policies(config: Mapping[str, str]) -> set[str]:
    return set(config.get("cleanup.policy", "delete").replace(" ", "").split(","))


@dataclass(frozen=True, slots=True)
class LatestCut:
    """A cut of mode "latest": what is read of the log, and the commit it goes on from.

    `whole` are `[beginning, end)` of a log that must be read from its beginning, as of a first cut;
    None when `cut` is enough.
    """

    cut: Cut
    last: CommitRecord | None
    whole: Mapping[Partition, tuple[int, int]] | None

    @property
    def read(self) -> Mapping[Partition, tuple[int, int]]:
        """What is to be read of every partition."""
        return self.cut.ranges if self.whole is None else self.whole


def cut(topics: Topics, table: Table, topic: str, mode: str = "append") -> Cut:
    """The ranges from the table's last commit, of this mode, to the read_committed end of now.

    A first snapshot begins at the first offset still in the log.
    Raises StartRefusedError: TOPIC_MISSING, COMPACTED_TOPIC, SOURCE_RECREATED, SNAPSHOT_MODE,
    RANGE_LOST or SNAPSHOT_DAMAGED.
    """
    _require_topic(topics, topic)
    if is_compacted(topics, topic):
        raise StartRefusedError(
            f"Topic {topic} is compacted: its older records go, so a snapshot of all would have"
            f" gaps; set cleanup.policy=delete on the topic.",
            code="COMPACTED_TOPIC",
        )
    topic_id = _required_id(topics, table, topic)
    last = _last_commit(table, mode)
    beginnings, ends = _bounds(topics, topic)
    starts = _starts(table, last, topic_id, beginnings, ends)
    if lost := _lost(starts, beginnings, ends):
        raise _range_lost(table, lost)
    return Cut(topic, topic_id, {p: (start, ends[p]) for p, start in starts.items()})


def latest_cut(topics: Topics, table: Table, topic: str, now_ms: int) -> LatestCut:
    """The ranges from the table's last commit to the read_committed end of `now_ms`.

    The whole log is read where it no longer holds all that was published since the last commit:
    then a compacted log still has the newest record of each key. Raises StartRefusedError as `cut`
    does, but for COMPACTED_TOPIC; RANGE_LOST when the log does not keep the newest of each key.
    """
    _require_topic(topics, topic)
    topic_id = _required_id(topics, table, topic)
    last = _last_commit(table, "latest")
    beginnings, ends = _bounds(topics, topic)
    starts = _starts(table, last, topic_id, beginnings, ends)
    found = Cut(topic, topic_id, {p: (start, ends[p]) for p, start in starts.items()})
    whole = {p: (beginnings[p], ends[p]) for p in starts}
    lost = _lost(starts, beginnings, ends)
    if last is None:
        return LatestCut(found, None, whole)
    if not lost and age_ms(last.committed_at_ms, now_ms) < deletions_held_ms(topics, topic):
        return LatestCut(found, last, None)
    is_recut = any(starts[p] > ends[p] for p in starts)
    if is_recut or _policies(topics.config(topic)) != {"compact"}:
        raise _range_lost(table, lost or ["deletions since then may have been dropped"])
    return LatestCut(found, last, whole)


def age_ms(then_ms: int, now_ms: int) -> int:
    """How long ago a time was, for who relies on deletions since then.

    A time of the future is by a clock that ran ahead: it is as old as that clock was wrong.
    """
    return abs(now_ms - then_ms)


def deletions_held_ms(topics: Topics, topic: str, share: float = READING_SHARE) -> float:
    """How long after a tombstone was published a reader may rely on it, in milliseconds.

    For this share of the time that the log keeps it at least; for ever in a log that is not
    compacted.
    """
    config = topics.config(topic)
    if "compact" not in _policies(config):
        return math.inf
    return deletions_kept_ms(config.get("delete.retention.ms")) * share


def deletions_kept_ms(setting: str | None) -> int:
    """How long a compacted topic keeps a tombstone at least; `setting` is its own, None: unset."""
    return DELETIONS_KEPT_MS if setting is None else int(setting)


def _require_topic(topics: Topics, topic: str) -> None:
    if topics.partitions(topic) is None:
        raise StartRefusedError(
            f"Topic {topic} does not exist; run the product first.", code="TOPIC_MISSING"
        )


def _required_id(topics: Topics, table: Table, topic: str) -> str:
    topic_id = topics.topic_id(topic)
    last = last_record(table)
    if last is not None and last.topic_id != topic_id:
        raise StartRefusedError(
            f"Topic {topic} was deleted and made again (now {shown_id(topic_id)}, the snapshot"
            f" in {table.location} holds {shown_id(last.topic_id)}); move that snapshot away or"
            f" choose another directory with --to.",
            code="SOURCE_RECREATED",
        )
    return topic_id


def require_same(topics: Topics, found: Cut) -> None:
    """Raises StartRefusedError (SOURCE_RECREATED) when the topic was made anew since."""
    if topics.topic_id(found.topic) != found.topic_id:
        raise StartRefusedError(
            f"Topic {found.topic} was deleted and made again while it was read; nothing of this"
            f" commit was written.",
            code="SOURCE_RECREATED",
        )


def _last_commit(table: Table, mode: str) -> CommitRecord | None:
    """The newest cut, which must be of this mode: a table keeps the one it began with."""
    last = last_record(table)
    if last is not None and last.mode != mode:
        raise StartRefusedError(
            f"The snapshot in {table.location} is of mode {last.mode!r}, and mode {mode!r}"
            f" is declared; nothing was written. Declare mode={last.mode!r} again, or begin"
            f" a new snapshot with --to.",
            code="SNAPSHOT_MODE",
        )
    return last


def last_record(table: Table) -> CommitRecord | None:
    """The newest cut. Raises DamagedError when its record cannot be read."""
    if (found := table.last_commit()) is None:
        return None
    version, record = found
    if isinstance(record, UnreadableRecord):
        raise damaged_record(table.location, version, record.reason)
    return record


def _starts(
    table: Table,
    last: CommitRecord | None,
    topic_id: str,
    beginnings: Positions,
    ends: Positions,
) -> dict[Partition, int]:
    """Where the next cut begins.

    Raises DamagedError where the table tells it in two ways, OvertakenError where another process
    committed since `last` was asked: what follows that is not what follows the offsets.
    """
    done = table.offsets(topic_id)
    told = {taken.partition: taken.end for taken in last.ranges} if last else {}
    is_other = any(done.get(partition) != end for partition, end in told.items())
    if is_other or (last is None and done):
        if last_record(table) != last:
            raise overtaken(table.location)
        if is_other:
            raise damaged(table.location, "its last record ends elsewhere than its offsets")
    # each commit tells of every partition: one that none tells of was made since, and began at 0
    return {p: done.get(p.index, 0 if done else beginnings[p]) for p in sorted(ends)}


def _bounds(topics: Topics, topic: str) -> tuple[Positions, Positions]:
    """The first offsets of the log and its read_committed ends, of the same partitions.

    One that is added between the two looks is the next cut's.
    """
    beginnings = topics.beginnings(topic)
    return beginnings, {p: end for p, end in topics.ends(topic).items() if p in beginnings}


def _lost(starts: Positions, beginnings: Positions, ends: Positions) -> list[str]:
    """The partitions whose log does not hold what follows, in words."""
    return [
        f"{p}: next offset {start}, the log holds [{beginnings[p]}, {ends[p]})"
        for p, start in starts.items()
        if not beginnings[p] <= start <= ends[p]
    ]


def _range_lost(table: Table, lost: Sequence[str]) -> StartRefusedError:
    return StartRefusedError(
        f"The log no longer holds what follows the snapshot in {table.location}"
        f" ({'; '.join(lost)}); nothing was written. Set retention.ms=-1, and begin a new snapshot"
        f" with --to.",
        code="RANGE_LOST",
    )


def commit_id(
    product: str, topic_id: str, ranges: Sequence[CutRange], days: DaysClosed | None = None
) -> str:
    """The name of a commit: the same ranges of the same topic always give the same one.

    With the days it closes, since it may have no other news.
    """
    text = ",".join(f"{r.partition}:{r.start}-{r.end}" for r in ranges)
    if days is not None and days.before is not None:
        text += f"/{days.before}"
    return str(uuid.uuid5(_COMMITS, f"{product}/{topic_id}/{text}"))


def is_own_id(record: CommitRecord) -> bool:
    """Whether the name of a commit is that of what it says it took and closed."""
    return record.commit_id == commit_id(
        record.product, record.topic_id, record.ranges, record.days
    )


def require_next(done: Mapping[int, int], record: CommitRecord, location: str) -> None:
    """Check that a commit continues where the table ends; `done` is `Table.offsets` of its topic.

    Raises OvertakenError (SNAPSHOT_TAKEN) when another writer already committed these offsets.
    """
    for taken in record.ranges:
        end = done.get(taken.partition, taken.start)
        if end != taken.start:
            raise overtaken(location)


def overtaken(location: str) -> OvertakenError:
    """The error of the writer that came second. Nothing of its commit is visible."""
    return OvertakenError(
        f"Another process was first to change the snapshot in {location}; nothing was written"
        f" twice. Run the command again to take what is left."
    )
