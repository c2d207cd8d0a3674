"""One kind of broker and everything a test opens on it, for the laws of the log."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from uuid import uuid4

import pytest
from tests.topics.settled import settled

from headwater.adapters.memory import (
    MemoryTransactionalLog,
    Partial,
)
from headwater.model import Partition, Positions, RawRecord
from headwater.ports import (
    CommitOutcome,
    Records,
    RecordSource,
    Topics,
    TopicSettings,
    TransactionalLog,
)

POLL_S = 0.1
LONGEST_S = 60.0  # until what is waited for comes, from a real broker on a crowded machine


class Listener:
    """Begins where the group stands, else at 0; remembers what it heard."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source
        self.heard: list[tuple[str, list[Partition]]] = []
        self.refusals: list[Exception] = []

    def assigned(self, partitions: Sequence[Partition]) -> Positions:
        if self.refusals:
            raise self.refusals.pop()
        self.heard.append(("assigned", sorted(partitions)))
        return {p: self.source.committed([p]).get(p, 0) for p in partitions}

    def revoked(self, partitions: Sequence[Partition]) -> None:
        self.heard.append(("revoked", sorted(partitions)))

    def lost(self, partitions: Sequence[Partition]) -> None:
        self.heard.append(("lost", sorted(partitions)))


class Member:
    """A source, its listener, and everything it polled."""

    def __init__(self, source: RecordSource) -> None:
        self.source = source
        self.listener = Listener(source)
        self.records: list[RawRecord] = []

    def poll(self, max_records: int = 1000) -> Sequence[Records]:
        batches = self.source.poll(max_records, POLL_S)
        self.records += [batch.raw(row) for batch in batches for row in range(len(batch))]
        return batches

    def values(self) -> dict[Partition, list[bytes | None]]:
        found: defaultdict[Partition, list[bytes | None]] = defaultdict(list)
        for record in self.records:
            found[record.partition].append(record.value)
        return found


class Outside:
    """One kind of broker, and everything a test opens on it."""

    def __init__(
        self,
        topics: Topics,
        new_source: Callable[[str, str], RecordSource],
        new_log: Callable[[str], TransactionalLog],
    ) -> None:
        self.topics = topics
        self.new_source = new_source
        self.new_log = new_log
        self.prefix = f"laws.{uuid4().hex[:10]}"
        self.opened: list[RecordSource | TransactionalLog] = []

    def topic(self, name: str, partitions: int = 2) -> str:
        full = f"{self.prefix}.{name}"
        self.topics.create([TopicSettings(full, partitions, "log")])
        return full

    def log(self, name: str = "writer") -> TransactionalLog:
        log = self.new_log(f"{self.prefix}.{name}")
        self.opened.append(log)
        log.initialise()
        return log

    def source(self, group: str, member: str) -> RecordSource:
        source = self.new_source(f"{self.prefix}.{group}", f"{self.prefix}.{member}")
        self.opened.append(source)
        return source

    def member(self, *topics: str, group: str = "readers", member: str = "one") -> Member:
        found = Member(self.source(group, member))
        found.source.subscribe(topics, found.listener)
        return found

    def group_offsets(self, topic: str, group: str = "readers") -> Positions:
        return self.topics.group_offsets(f"{self.prefix}.{group}", topic)

    def group_standing(
        self, topic: str, group: str = "readers"
    ) -> Mapping[Partition, tuple[int, str]]:
        return self.topics.group_standing(f"{self.prefix}.{group}", topic)

    def write(self, topic: str, *values: bytes) -> None:
        """One committed transaction; the key of a record is its value."""
        log = self.log(f"fill-{uuid4().hex[:6]}")
        log.begin()
        log.produce(topic, values, values)
        assert log.commit() is CommitOutcome.COMMITTED

    def settled(self, topic: str) -> Positions:
        """The ends once no transaction is open."""
        return settled(self.topics, topic)

    def visible(self, topic: str) -> list[RawRecord]:
        """What a new read_committed reader sees, up to the end of now."""
        ends = self.settled(topic)
        reader = self.member(topic, group=uuid4().hex, member=uuid4().hex)
        until(lambda: reader.source.caught_up() == ends, reader)
        return sorted(reader.records, key=lambda record: (record.partition, record.offset))


class Polled(Protocol):
    """Gets on by being polled."""

    def poll(self) -> object:
        """Take what has come."""
        ...


def until(condition: Callable[[], bool], *members: Polled) -> None:
    """Poll all members in turn until the condition holds."""
    deadline_s = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail("the condition did not come true")
        for member in members:
            member.poll()


def partial_produce(outside: Outside, log: TransactionalLog, topic: str) -> None:
    """Publish two records of which the second is not taken."""
    if isinstance(log, MemoryTransactionalLog):
        log._broker.faults.script("produce", Partial(1))
    log.produce(topic, [b"a", b"b"], [b"taken", b"x" * 2_000_000])
