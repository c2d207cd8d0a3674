"""The group member in memory (the port `RecordSource`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from headwater.adapters.memory.broker import MemoryBroker
from headwater.adapters.memory.groups import NO_GENERATION, Member, Token
from headwater.adapters.memory.reader import MemoryRecords
from headwater.errors import (
    FatalError,
    FencedError,
    RetriableError,
    StartRefusedError,
    UnavailableError,
)
from headwater.model import Partition, Positions, RawRecord
from headwater.ports import GroupToken, RebalanceListener, Records

CALL_S: Final = 10.0  # how long `committed` waits out a pending transaction, as in Kafka's adapter
TICK_S: Final = 0.001  # no poll takes no time: a wait for the rest of an interval ends
REFUSAL_S: Final = 0.5  # a call takes time: whoever asks again until a deadline reaches it


class MemorySource:
    """A static member of a group of a MemoryBroker. A poll without records moves the clock on."""

    def __init__(self, broker: MemoryBroker, *, group: str, member: str) -> None:
        self._broker = broker
        self._group = broker.group(group)
        self._instance = member
        self._member: Member | None = None
        self._topics: tuple[str, ...] = ()
        self._listener: RebalanceListener | None = None
        self._next: dict[Partition, int] = {}
        self._fetch: dict[Partition, int] = {}  # as _next, but behind control records too
        self._ends: dict[Partition, int] = {}
        self._published_ms: dict[Partition, int] = {}
        self._is_paused = False
        self._halted: set[Partition] = set()

    def vanish(self) -> None:
        """The process dies: its place in the group stays until another takes it or it expires."""
        self._listener = None

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Join the group; `listener` hears of every change of the assignment."""
        self._topics, self._listener = tuple(topics), listener
        self._member = self._group.join(self._instance, topics)

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records by topic, in log order per partition; empty when there are none now."""
        self._broker.faults.take("poll")
        self._attend(self._joined())
        self._broker.expire_transactions()
        batches: dict[str, list[RawRecord]] = {}
        room = 0 if self._is_paused else max_records
        for partition in sorted(self._fetch):
            records = self._fetched(partition, room)
            room -= len(records)
            if records:
                batches.setdefault(partition.topic, []).extend(records)
        if not batches:
            self._broker.clock.advance(max(timeout_s, TICK_S))
        return [MemoryRecords(topic, records) for topic, records in batches.items()]

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member holds."""
        return frozenset(self._next)

    def committed(self, partitions: Sequence[Partition]) -> Positions:
        """Stable committed positions of the group; absent = none."""
        return {p: offset for p, (offset, _) in self._stable(partitions).items()}

    def metadata(self, partitions: Sequence[Partition]) -> Mapping[Partition, str]:
        """The note committed beside each position; absent = none."""
        return {p: note for p, (_, note) in self._stable(partitions).items() if note}

    def commit_start(self, positions: Positions) -> None:
        """Commit start positions before joining: only an empty group takes them."""
        self._broker.faults.take("commit_start")
        if self._group.members:
            self._broker.clock.advance(REFUSAL_S)
            raise RetriableError(f"group {self._group.name} has members")
        self._group.offsets.update({p: (offset, "") for p, offset in positions.items()})

    def seek(self, positions: Positions) -> None:
        """Go to these positions."""
        for partition, position in positions.items():
            self._next[partition] = self._fetch[partition] = position
            self._ends.pop(partition, None)
            self._halted.discard(partition)

    def pause(self) -> None:
        """Stop fetching while polling keeps the membership."""
        self._is_paused = True

    def resume(self) -> None:
        """Undo `pause`, but not `halt`."""
        self._is_paused = False

    def halt(self, positions: Positions) -> None:
        """Stand still at these positions while the other partitions go on."""
        self.seek(positions)
        self._halted |= positions.keys()

    def ends(self, partitions: Iterable[Partition]) -> Positions:
        """The read_committed ends of partitions held."""
        self._broker.faults.take("ends")
        return {p: self._broker.partition(p).stable_end for p in partitions}

    def corrupt(self) -> Positions:
        """Where a record is damaged: `Faults.damage` says which are."""
        damaged = self._broker.faults.damaged
        return {p: at for p, at in self._fetch.items() if (p, at) in damaged}

    def group_token(self) -> GroupToken:
        """The membership of this moment; none before it joins."""
        if self._member is None:
            return GroupToken(Token(self._group.name, self._instance, "", NO_GENERATION))
        member = self._joined()
        return GroupToken(
            Token(self._group.name, member.instance, member.member_id, self._group.generation)
        )

    def check_membership(self) -> None:
        """Raises FencedError when another process has taken the instance's place."""
        self._broker.faults.take("check_membership")
        self._refuse_zombie(self._joined())

    def caught_up(self) -> Positions:
        """Where the read_committed end was reached, control records passed, nothing since."""
        return {p: end for p, end in self._ends.items() if end >= self._next[p]}

    def publish_times_ms(self) -> Mapping[Partition, int]:
        """The publish time of the last record polled, per partition."""
        return self._published_ms

    def close(self) -> None:
        """Let go. A static member does not leave: its partitions wait for it."""
        self.vanish()

    # -- steps ---------------------------------------------------------------------------------

    def _joined(self) -> Member:
        if self._member is None:
            raise FatalError("poll before subscribe")
        return self._member

    def _refuse_zombie(self, member: Member) -> None:
        current = self._group.members.get(self._instance)
        if current is not None and current is not member:
            raise FencedError(f"another process uses this id ({self._instance})")

    def _attend(self, member: Member) -> None:
        """Take part in rebalances; the listener is called in here."""
        self._refuse_zombie(member)
        if self._instance not in self._group.members:
            self._let_go(member, is_lost=True)
            self._member = member = self._group.join(self._instance, self._topics)
        elif self._group.must_join(member):
            self._let_go(member, is_lost=False)
        self._group.settle()
        if member.is_news and self._listener is not None:
            starts = self._listener.assigned(member.assignment)  # told again when this fails
            member.is_news = False
            self._next, self._fetch, self._ends = dict(starts), dict(starts), {}
            self._halted.clear()

    def _let_go(self, member: Member, *, is_lost: bool) -> None:
        held = sorted(self._next)
        try:
            if held and self._listener is not None:
                (self._listener.lost if is_lost else self._listener.revoked)(held)
        finally:
            self._next, self._fetch, self._ends, self._published_ms = {}, {}, {}, {}
            self._group.rejoin(member)

    def _fetched(self, partition: Partition, room: int) -> Sequence[RawRecord]:
        log = self._broker.partition(partition)
        position = self._fetch[partition]
        if not log.beginning <= position <= log.end:
            raise StartRefusedError(
                f"{partition}@{position} is no longer in the log", code="DATA_LOSS"
            )
        if not room or partition in self._halted:
            return ()
        records, self._fetch[partition] = log.read(
            position, room, stop=self._broker.faults.first_damage(partition, position)
        )
        if records:
            self._next[partition] = records[-1].offset + 1
            self._published_ms[partition] = records[-1].timestamp_ms
        if self._fetch[partition] == log.stable_end:
            self._ends[partition] = log.stable_end
        return records

    def _stable(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, str]]:
        self._broker.faults.take("committed")
        self._broker.expire_transactions()
        if self._is_unstable(partitions):
            self._broker.clock.advance(CALL_S)
            self._broker.expire_transactions()
        if self._is_unstable(partitions):
            raise UnavailableError(f"a pending transaction holds positions of {self._group.name}")
        return {p: self._group.offsets[p] for p in partitions if p in self._group.offsets}

    def _is_unstable(self, partitions: Sequence[Partition]) -> bool:
        return any(self._broker.is_unstable(self._group.name, p) for p in partitions)
