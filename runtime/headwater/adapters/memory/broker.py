"""A broker in memory: topics, transactions and groups, under Kafka's laws; faults are scripted.

Single-threaded and deterministic: time is a ManualClock that a poll without records moves on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from headwater.adapters.memory.faults import Faults
from headwater.adapters.memory.groups import NO_GENERATION, Group, Token
from headwater.adapters.memory.partitioner import partition_of
from headwater.adapters.memory.storage import Content, OpenTransaction, PartitionLog
from headwater.clock import ManualClock
from headwater.errors import AbortableError, FencedError, StartRefusedError
from headwater.model import Headers, Partition, RawRecord
from headwater.ports import TopicSettings

TRANSACTION_TIMEOUT_S: Final = 10.0  # transaction.timeout.ms, as the Kafka adapter sets it


@dataclass(slots=True)
class Topic:
    """A topic's incarnation, settings and partitions."""

    topic_id: str
    settings: TopicSettings
    logs: list[PartitionLog]
    keyless: int = 0  # records without a key so far: they go round


@dataclass(slots=True)
class Producer:
    """What the broker knows of a transactional id."""

    epoch: int = 0
    transaction: OpenTransaction | None = None


@dataclass(slots=True)
class MemoryBroker:
    """State that sources, logs and readers in memory share."""

    clock: ManualClock = field(default_factory=ManualClock)
    faults: Faults = field(default_factory=Faults)
    topics: dict[str, Topic] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    producers: dict[str, Producer] = field(default_factory=dict)

    # -- topics --------------------------------------------------------------------------------

    def create(self, settings: TopicSettings) -> None:
        """Make a topic, anew when there is one."""
        old = self.topics.get(settings.name)
        incarnation = 1 if old is None else int(old.topic_id.rpartition("#")[2]) + 1
        logs = [PartitionLog(Partition(settings.name, i)) for i in range(settings.partitions)]
        self.topics[settings.name] = Topic(f"{settings.name}#{incarnation}", settings, logs)

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions up to this count; groups that read the topic share them out."""
        logs = self.topic(topic).logs
        logs += [PartitionLog(Partition(topic, i)) for i in range(len(logs), partitions)]
        for group in self.groups.values():
            if any(topic in member.topics for member in group.members.values()):
                group.rebalance()

    def topic(self, name: str) -> Topic:
        """A topic. Raises StartRefusedError (`TOPIC_MISSING`)."""
        if name not in self.topics:
            raise StartRefusedError(
                f"Topic {name} does not exist in memory; create it, or check its name.",
                code="TOPIC_MISSING",
            )
        return self.topics[name]

    def partition(self, partition: Partition) -> PartitionLog:
        """The log of one partition."""
        return self.topic(partition.topic).logs[partition.index]

    # -- records -------------------------------------------------------------------------------

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> None:
        """Write a record without a transaction, partitioned by its key."""
        self.write(topic, Content(key, value, headers), timestamp_ms=timestamp_ms)

    def write(
        self,
        topic: str,
        content: Content,
        *,
        transaction: OpenTransaction | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Write a record where its key sends it; one without a key goes round."""
        found = self.topic(topic)
        if content.key is None:
            index, found.keyless = found.keyless % len(found.logs), found.keyless + 1
        else:
            index = partition_of(content.key, len(found.logs))
        at_ms = self.clock.wall_ms() if timestamp_ms is None else timestamp_ms
        found.logs[index].append(content, at_ms, transaction)

    def write_to(self, partition: Partition, content: Content, transaction: OpenTransaction) -> int:
        """Write a record into a given partition; the next offset."""
        log = self.partition(partition)
        log.append(content, self.clock.wall_ms(), transaction)
        return log.end

    def visible(self, topic: str) -> Sequence[RawRecord]:
        """Everything a read_committed reader sees, partition by partition."""
        logs = self.topic(topic).logs
        return [record for log in logs for record in log.read(log.beginning, log.end)[0]]

    # -- transactions --------------------------------------------------------------------------

    def take_over(self, transactional_id: str) -> int:
        """Fence older producers of the id, end what they left open; returns the new epoch."""
        producer = self.producers.setdefault(transactional_id, Producer())
        if producer.transaction is not None:
            self.end(producer, is_commit=producer.transaction.is_decided)
        producer.epoch += 1
        return producer.epoch

    def producer(self, transactional_id: str, epoch: int) -> Producer:
        """The producer of this epoch. Raises FencedError when there is a later one."""
        self.expire_transactions()
        producer = self.producers[transactional_id]
        if producer.epoch != epoch:
            raise FencedError(f"another process uses this id ({transactional_id})")
        return producer

    def end(self, producer: Producer, *, is_commit: bool) -> None:
        """Write the control records of the open transaction, and with a commit its positions."""
        transaction, producer.transaction = producer.transaction, None
        if transaction is None:
            return
        transaction.state = "committed" if is_commit else "aborted"
        for log in transaction.logs:
            log.close(transaction)
        for group, positions in transaction.positions.items():
            if is_commit:
                self.group(group).offsets.update(positions)

    def expire_transactions(self) -> None:
        """Abort what is open for too long, and fence its producer."""
        now_s = self.clock.monotonic()
        for producer in self.producers.values():
            open_one = producer.transaction
            if open_one is None or now_s - open_one.opened_s < TRANSACTION_TIMEOUT_S:
                continue
            if not open_one.is_decided:
                producer.epoch += 1
            self.end(producer, is_commit=open_one.is_decided)

    # -- groups --------------------------------------------------------------------------------

    def group(self, name: str) -> Group:
        """A group, made when first named."""
        if name not in self.groups:
            self.groups[name] = Group(name, lambda topic: len(self.topic(topic).logs))
        return self.groups[name]

    def is_unstable(self, group: str, partition: Partition) -> bool:
        """Whether an open transaction holds a position of this partition (KIP-447)."""
        return any(
            partition in producer.transaction.positions.get(group, {})
            for producer in self.producers.values()
            if producer.transaction is not None
        )

    def check_token(self, token: Token) -> None:
        """Refuse a stale membership. Raises FencedError or AbortableError."""
        group = self.group(token.group)
        if token.generation == NO_GENERATION and not group.members:
            return
        member = group.members.get(token.instance)
        if member is not None and member.member_id != token.member_id:
            raise FencedError(f"another process uses this id ({token.instance})")
        if member is None or group.generation != token.generation:
            raise AbortableError(
                f"{token.instance} is no longer of generation {token.generation} of {token.group}"
            )
