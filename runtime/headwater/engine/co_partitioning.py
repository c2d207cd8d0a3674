"""Topics of one task: partition *i* of each of them, held by one process.

The range assignor gives partition *i* of all topics with equally many partitions to the same
member, as long as every member reads all of them (Kafka Streams calls them co-partitioned too).
"""

from collections.abc import Collection, Iterable, Mapping

from headwater.errors import StartRefusedError
from headwater.model import Partition


def require_equal_counts(
    groups: Iterable[Collection[str]], partitions: Mapping[str, int | None]
) -> None:
    """Refuse co-partitioned topics of different sizes; None is a topic that is not there yet.

    Raises StartRefusedError (CO_PARTITIONING).
    """
    for topics in groups:
        counts = {topic: count for topic in topics if (count := partitions[topic]) is not None}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
            raise StartRefusedError(
                f"{told} partitions, and partition i of each of them is one task: keys would not "
                "meet; restore the count of the one that was changed, or publish to a new major; "
                "streams that differ are joined behind a .rekey() of one of them",
                code="CO_PARTITIONING",
            )


def whole_tasks(
    groups: Iterable[Collection[str]], partitions: Collection[Partition]
) -> frozenset[Partition]:
    """All partitions of the tasks that some of them belong to."""
    return frozenset(
        Partition(topic, each.index)
        for topics in groups
        for each in partitions
        if each.topic in topics
        for topic in topics
    )


def require_whole_tasks(groups: Iterable[Collection[str]], held: Collection[Partition]) -> None:
    """Refuse an assignment that holds a part of a task.

    Members that read other topics, as those of another release may, make such ones.
    Raises StartRefusedError (CO_PARTITIONING).
    """
    for topics in groups:
        if torn := whole_tasks([topics], held).difference(held):
            raise StartRefusedError(
                f"the group gave {', '.join(map(str, sorted(torn)))} to another process, and the "
                "rest of the same task to this one; stop all processes of the product, which read "
                "different topics, and start one release of it",
                code="CO_PARTITIONING",
            )
