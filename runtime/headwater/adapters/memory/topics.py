"""Topics and groups of a MemoryBroker, seen from outside the data path (the port `Topics`)."""

from collections.abc import Mapping, Sequence

from headwater.adapters.memory.broker import MemoryBroker
from headwater.adapters.memory.storage import PartitionLog
from headwater.model import Partition, Positions
from headwater.ports import TopicSettings


class MemoryTopics:
    """Every method raises StartRefusedError (`TOPIC_MISSING`) for a topic that does not exist."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def partitions(self, topic: str) -> int | None:
        """The number of partitions; None when there is no such topic."""
        found = self._broker.topics.get(topic)
        return None if found is None else len(found.logs)

    def topic_id(self, topic: str) -> str:
        """The id of this incarnation of the topic."""
        return self._broker.topic(topic).topic_id

    def config(self, topic: str) -> Mapping[str, str]:
        """The topic's settings in force."""
        settings = self._broker.topic(topic).settings
        policy = "compact" if settings.kind == "table" else "delete"
        return {"cleanup.policy": policy, **settings.config}

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Create those that do not exist."""
        for settings in topics:
            if settings.name not in self._broker.topics:
                self._broker.create(settings)

    def delete_before(self, positions: Positions) -> None:
        """Delete the records before these positions."""
        for partition, before in positions.items():
            self._broker.topic(partition.topic).logs[partition.index].truncate(before)

    def beginnings(self, topic: str) -> Positions:
        """The first offset still in the log, per partition."""
        return {log.partition: log.beginning for log in self._logs(topic)}

    def ends(self, topic: str) -> Positions:
        """The read_committed end (last stable offset), per partition."""
        return {log.partition: log.stable_end for log in self._logs(topic)}

    def high_watermarks(self, topic: str) -> Positions:
        """The high watermark, per partition."""
        return {log.partition: log.end for log in self._logs(topic)}

    def at_time(self, topic: str, timestamp_ms: int) -> Positions:
        """The first offset at or after a publish time, per partition; the end where none is."""
        return {log.partition: _first_since(log, timestamp_ms) for log in self._logs(topic)}

    def group_offsets(self, group: str, topic: str) -> Positions:
        """Committed positions of a group on a topic; absent = none."""
        return {p: offset for p, (offset, _) in self.group_standing(group, topic).items()}

    def group_standing(self, group: str, topic: str) -> Mapping[Partition, tuple[int, str]]:
        """The same positions, each with its note."""
        offsets: dict[Partition, tuple[int, str]] = self._broker.group(group).offsets
        return {p: standing for p, standing in offsets.items() if p.topic == topic}

    def _logs(self, topic: str) -> Sequence[PartitionLog]:
        self._broker.expire_transactions()
        return self._broker.topic(topic).logs


def _first_since(log: PartitionLog, timestamp_ms: int) -> int:
    records, _ = log.read(log.beginning, log.end)
    since = (record.offset for record in records if record.timestamp_ms >= timestamp_ms)
    return next(since, log.stable_end)
