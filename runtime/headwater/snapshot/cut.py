"""Where a snapshot may end and must begin: ranges of the published log. Reads no record."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.errors import OvertakenError, StartRefusedError
from headwater.model import Partition, Positions
from headwater.ports import CommitRecord, CutRange, Table, Topics

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
    return "compact" in topics.config(topic).get("cleanup.policy", "delete")


def cut(topics: Topics, table: Table, topic: str) -> Cut:
    """The ranges from the table's last commit to the read_committed end of now.

    A first snapshot begins at the first offset still in the log.
    Raises StartRefusedError: TOPIC_MISSING, COMPACTED_TOPIC, SOURCE_RECREATED, RANGE_LOST or
    SNAPSHOT_DAMAGED.
    """
    if topics.partitions(topic) is None:
        raise StartRefusedError(
            f"Topic {topic} does not exist; run the product first.", code="TOPIC_MISSING"
        )
    if is_compacted(topics, topic):
        raise StartRefusedError(
            f"Topic {topic} is compacted: its older records go, so an append snapshot would have"
            f" gaps; set cleanup.policy=delete on the topic.",
            code="COMPACTED_TOPIC",
        )
    topic_id = topics.topic_id(topic)
    if others := table.topic_ids() - {topic_id}:
        raise StartRefusedError(
            f"Topic {topic} was deleted and made again (now {topic_id}, the snapshot in"
            f" {table.location} holds {', '.join(sorted(others))}); move that snapshot away or"
            f" choose another directory with --to.",
            code="SOURCE_RECREATED",
        )
    beginnings, ends = topics.beginnings(topic), topics.ends(topic)
    done = table.offsets(topic_id)
    starts = {p: done.get(p.index, beginnings[p]) for p in sorted(ends)}
    _refuse_lost({p: (starts[p], beginnings[p], ends[p]) for p in starts}, table.location)
    return Cut(topic, topic_id, {p: (start, ends[p]) for p, start in starts.items()})


def _refuse_lost(places: Mapping[Partition, tuple[int, int, int]], location: str) -> None:
    lost = [
        f"{partition}: next offset {start}, the log holds [{beginning}, {end})"
        for partition, (start, beginning, end) in places.items()
        if not beginning <= start <= end
    ]
    if lost:
        raise StartRefusedError(
            f"The log no longer holds what follows the snapshot in {location} ({'; '.join(lost)});"
            f" nothing was written. Set retention.ms=-1, and begin a new snapshot with --to.",
            code="RANGE_LOST",
        )


def commit_id(product: str, topic_id: str, ranges: Sequence[CutRange]) -> str:
    """The name of a commit: the same ranges of the same topic always give the same one."""
    text = ",".join(f"{r.partition}:{r.start}-{r.end}" for r in ranges)
    return str(uuid.uuid5(_COMMITS, f"{product}/{topic_id}/{text}"))


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
