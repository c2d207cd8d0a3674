"""What of a topic's log is read from its snapshot, and whether a group may."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headwater.contract import Encoder
from headwater.errors import StartRefusedError
from headwater.model import Partition, Position, Positions, shown_id
from headwater.ports import CommitRecord, Table, Topics
from headwater.reader.cuts import SnapshotCut, chosen, cuts
from headwater.reader.log_order import Frames, in_log_order
from headwater.reader.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Backfill:
    """What of a topic's log is read from its snapshot.

    From `starts`, where the table begins, up to `cut`, the next offset of the log, by partition.
    `mode` is the table's; `encoder` makes records of its rows, under the schema of the cut.
    """

    snapshot: Snapshot
    mode: str
    encoder: Encoder
    starts: Positions
    cut: Positions

    @property
    def topic(self) -> str:
        """The topic whose log it is."""
        return self.snapshot.cut.topic

    def rows(self, position: Position) -> Frames:
        """The rows of a partition from a position on, in the order of the log."""
        return in_log_order(self.snapshot, position, mode=self.mode)


def backfill_of(
    topic: str, group: str, table: Table, topics: Topics, encoders: Callable[[int], Encoder]
) -> Backfill:
    """The newest cut of a topic's table, for a group that cannot begin in its log.

    `encoders` gives the encoder of a registered schema id. Raises StartRefusedError:
    TOPIC_MISSING, SOURCE_RECREATED, RANGE_LOST where neither table nor log has what follows,
    GROUP_GOES_ON where the log has it; ReadRefusedError (NO_SNAPSHOT), DamagedError.
    """
    if topics.partitions(topic) is None:
        raise StartRefusedError(
            f"Topic {topic} does not exist on this broker; check the address, or run the product"
            f" that publishes it first.",
            code="TOPIC_MISSING",
        )
    cut = chosen(cuts(table), "latest", table.location)
    _require_same(topic, topics.topic_id(topic), cut, table.location)
    commits = {version: each for version, each in table.commits() if isinstance(each, CommitRecord)}
    record = commits[cut.version]
    encoder = encoders(record.schema_id)
    backfill = Backfill(
        Snapshot(table, encoder.contract, cut, lambda schema_id: encoders(schema_id).contract),
        record.mode,
        encoder,
        _of_topic(topic, _starts(commits.values(), cut.topic_id)),
        _of_topic(topic, cut.offsets),
    )
    _require_joined(backfill, topics, table.location)
    _require_needed(backfill, topics, group)
    return backfill


def _require_same(topic: str, topic_id: str, cut: SnapshotCut, location: str) -> None:
    if topic_id != cut.topic_id:
        raise StartRefusedError(
            f"Topic {topic} was deleted and made again since the snapshot in {location} was taken"
            f" (it was {shown_id(cut.topic_id)}, now {shown_id(topic_id)}): its rows are of another"
            f" log. Ask the owner of {topic} for a new snapshot.",
            code="SOURCE_RECREATED",
        )


def _require_joined(backfill: Backfill, topics: Topics, location: str) -> None:
    """The log goes on where the table ends."""
    beginnings, ends = topics.beginnings(backfill.topic), topics.ends(backfill.topic)
    gaps = [
        f"{p}: the snapshot ends at {backfill.cut.get(p, 0)}, the log holds [{first}, {ends[p]})"
        for p, first in sorted(beginnings.items())
        if not first <= backfill.cut.get(p, 0) <= ends[p]
    ]
    if gaps:
        raise StartRefusedError(
            f"The log of {backfill.topic} does not go on where the snapshot in {location} ends"
            f" ({'; '.join(gaps)}); nothing was read. Ask its owner for a newer snapshot, with"
            f" `headwater snapshot`, or begin in the log with `headwater run`.",
            code="RANGE_LOST",
        )


def _require_needed(backfill: Backfill, topics: Topics, group: str) -> None:
    """The group has not begun, or stands where the log is gone and the table is not."""
    standing = topics.group_offsets(group, backfill.topic)
    beginnings = topics.beginnings(backfill.topic)
    if standing and all(at >= beginnings[p] for p, at in standing.items()):
        raise StartRefusedError(
            f"The group {group} goes on in the log of {backfill.topic}, which holds all that"
            f" follows; nothing is to be filled. Start it with `headwater run`.",
            code="GROUP_GOES_ON",
        )
    lost = [
        f"{p}: next offset {at}, the snapshot begins at {start}, the log at {beginnings[p]}"
        for p, at in sorted(standing.items())
        if at < (start := min(backfill.starts.get(p, beginnings[p]), beginnings[p]))
    ]
    if lost:
        raise StartRefusedError(
            f"Neither snapshot nor log of {backfill.topic} holds what the group {group} is to read"
            f" next ({'; '.join(lost)}); nothing was read. An operator must decide where to go on.",
            code="RANGE_LOST",
        )


def _starts(commits: Iterable[CommitRecord], topic_id: str) -> dict[int, int]:
    """Where the first cut began."""
    found: dict[int, int] = {}
    for record in commits:
        if record.topic_id == topic_id:
            for taken in record.ranges:
                found.setdefault(taken.partition, taken.start)
    return found


def _of_topic(topic: str, offsets: Mapping[int, int]) -> Positions:
    return {Partition(topic, index): offset for index, offset in offsets.items()}
