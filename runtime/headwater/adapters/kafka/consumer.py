"""The group member (the port `RecordSource`). Never commits a position of records it returned."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headwater.adapters.kafka.closing import Closing
from headwater.adapters.kafka.membership import ask_for
from headwater.adapters.kafka.notes import note_of
from headwater.adapters.kafka.records import KafkaRecords, offset_of, place_of
from headwater.adapters.kafka.triage import (
    CORRUPT,
    GONE,
    LOGGER,
    PASSING,
    configured,
    kafka_error,
    translate,
)
from headwater.errors import (
    FencedError,
    HeadwaterError,
    RecycleError,
    RetriableError,
    UnavailableError,
)
from headwater.model import Partition, Positions
from headwater.ports import GroupToken, RebalanceListener, Records

JOINING_S: Final = 0.01  # how long the first assignment may stand unseen
ENDS_S: Final = 2.0  # for a metric: it can be asked again
CALL_S: Final = 10.0  # committed(), which waits out a zombie's pending offsets (KIP-447)

PENDING: Final = (
    "; if it answers others, a transaction that hangs holds these positions, most likely one of"
    " {member}: find it with `kafka-transactions.sh find-hanging` and end it with `abort`"
)

FIXED: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "check.crcs": True,
    "enable.partition.eof": True,  # the one event that tells that control records were passed too
    "allow.auto.create.topics": False,
}
"""Promises rest on these: no setting overrides them."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "partition.assignment.strategy": "range",
    "max.poll.interval.ms": 60_000,
    "session.timeout.ms": 12_000,
    "heartbeat.interval.ms": 3_000,
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 50_000,  # some polls ahead; 200,000 cost 50 MB and gained nothing
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 10,  # the default of 1000 stalls a consumer that drains its queue
    "socket.timeout.ms": 15_000,
}


class KafkaSource:
    """A static member of a consumer group. Not thread-safe: the loop owns it."""

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        group: str,
        member: str,
        on_statistics: Callable[[str], None] | None = None,
    ) -> None:
        settings = {**DEFAULTS, **config, **FIXED, "group.id": group, "group.instance.id": member}
        self._config, self._member = config, member
        self._membership: GroupToken | None = None  # of the last assignment
        self._session_s = int(settings["session.timeout.ms"]) / 1000
        self._polled_s = time.monotonic()
        self._paused: set[Partition] = set()
        self._halted: set[Partition] = set()
        self._damaged: set[Partition] = set()  # those that brought a corrupt batch in this poll
        self._doubted: dict[Partition, int] = {}  # where one came once
        self._corrupt: dict[Partition, int] = {}  # and again
        self._held: frozenset[Partition] = frozenset()  # by the last assignment, lost or not
        if on_statistics is not None:
            settings["stats_cb"] = on_statistics
        self._consumer = configured(lambda: Consumer(settings, logger=LOGGER))
        self._topics: tuple[str, ...] = ()
        self._listener: RebalanceListener | None = None
        self._next: dict[Partition, int] = {}  # where the next record of each begins
        self._ends: dict[Partition, int] = {}  # read_committed ends that were reached
        self._published_ms: dict[Partition, int] = {}
        self._rebalanced = False
        self._arrived: list[Partition] | None = None  # assigned, and not begun to read yet
        self._failure: HeadwaterError | None = None
        self._closing = Closing()

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Join the group; `listener` hears of every change of the assignment."""
        self._topics, self._listener = tuple(topics), listener
        self._consumer.subscribe(
            list(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Records]:
        """Records by topic, in log order per partition; empty when none came in time."""
        self._rebalanced = False
        self._polled_s = time.monotonic()
        try:
            messages = self._consume(max_records, timeout_s)
        except KafkaException as cause:
            raise translate(cause, doing="polling") from cause
        self._raise_failure()
        if any(map(Message.error, messages)):
            messages = self._without_events(messages)
        if self._rebalanced or self._arrived is not None:
            self._ends.clear()  # like the records at hand: of the assignment before
            self._damaged.clear()
            self._begin_reading()
            return ()
        batches = [KafkaRecords(topic, part) for topic, part in self._by_topic(messages)]
        for batch in batches:
            self._advance(batch)
        if self._damaged:
            self._judge_damaged()
        return batches

    def assignment(self) -> frozenset[Partition]:
        """The partitions this member holds."""
        return frozenset(self._next)

    def committed(self, partitions: Sequence[Partition]) -> Positions:
        """Stable committed positions of the group; absent = none."""
        return {_partition(tp): tp.offset for tp in self._committed(partitions) if tp.offset >= 0}

    def metadata(self, partitions: Sequence[Partition]) -> Mapping[Partition, str]:
        """The note committed beside each position; absent = none."""
        return {
            _partition(tp): note
            for tp in self._committed(partitions)
            if tp.offset >= 0 and (note := note_of(tp))
        }

    def commit_start(self, positions: Positions) -> None:
        """Commit start positions before joining: only an empty group takes them."""
        try:
            self._consumer.commit(offsets=_topic_partitions(positions), asynchronous=False)
        except KafkaException as cause:
            error = translate(cause, doing="committing the start positions")
            if isinstance(error, RecycleError):
                raise RetriableError(str(error)) from cause
            raise error from cause

    def seek(self, positions: Positions) -> None:
        """Go to these positions; records already fetched beyond them are dropped."""
        self._go(positions)
        for partition in positions:
            self._doubted.pop(partition, None)
            self._corrupt.pop(partition, None)
        self._end_halt(self._halted & positions.keys())

    def _go(self, positions: Positions) -> None:
        self._next.update(positions)
        for target in _topic_partitions(positions):
            self._ends.pop(_partition(target), None)
            try:
                self._consumer.seek(target)
            except KafkaException as cause:
                if kafka_error(cause).code() != KafkaError._STATE:
                    doing = f"seeking {target.topic}[{target.partition}]"
                    raise translate(cause, doing=doing) from cause
                # the client gave the partition up: it begins anew wherever it would have gone on
                self._consumer.assign(_topic_partitions(self._next))

    def pause(self) -> None:
        """Stop fetching on the whole assignment while polling keeps the membership."""
        self._paused |= set(self._next) - self._halted
        self._consumer.pause(_bare(self._paused))

    def resume(self) -> None:
        """Undo `pause`, also for partitions that went and may come back: a pause outlives both."""
        self._consumer.resume(_bare(self._paused))
        # a seek wakes the client's thread, which looks for what was resumed once a second only
        self._go({p: self._next[p] for p in self._paused if p in self._next})
        self._paused.clear()

    def halt(self, positions: Positions) -> None:
        """Stand still at these positions while the other partitions go on."""
        self.seek(positions)
        self._halted |= positions.keys()
        self._paused -= positions.keys()
        self._consumer.pause(_bare(positions))

    def _end_halt(self, partitions: AbstractSet[Partition]) -> None:
        if not partitions:
            return
        self._halted -= partitions
        if self._paused:  # whoever paused all resumes them too
            self._paused |= partitions
        else:
            self._consumer.resume(_bare(partitions))

    def ends(self, partitions: Iterable[Partition]) -> Positions:
        """The read_committed ends of partitions held; a paused one is not told its end."""
        found: dict[Partition, int] = {}
        for partition in partitions:
            place = TopicPartition(partition.topic, partition.index)
            try:
                _, found[partition] = self._consumer.get_watermark_offsets(place, timeout=ENDS_S)
            except KafkaException as cause:
                raise translate(cause, doing=f"asking for the end of {partition}") from cause
        return found

    def corrupt(self) -> Positions:
        """Where the stored records fail their checksum or cannot be decompressed."""
        return self._corrupt

    def group_token(self) -> GroupToken:
        """The membership of this assignment, or of the last one while there is none.

        The client drops its member id before it tells that the partitions are lost.
        """
        return self._membership or GroupToken(self._consumer.consumer_group_metadata())

    def check_membership(self) -> None:
        """Ask the broker whether another process has joined with our member id since."""
        if self._membership is not None and self._held:
            ask_for(self._membership, min(self._held), self._config, member=self._member)

    def caught_up(self) -> Positions:
        """Where the read_committed end was reached, control records passed, nothing since."""
        return {p: end for p, end in self._ends.items() if p in self._next and end >= self._next[p]}

    def publish_times_ms(self) -> Mapping[Partition, int]:
        """The publish time of the last record polled, per partition."""
        return self._published_ms

    def close(self) -> None:
        """Let go, within seconds. A static member does not leave: its partitions wait for it."""
        self._listener = None
        self._closing.close(self._consumer, _bare(self._next))

    # -- inside consume() ----------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._closing.hold_assignment()
        self._rebalanced = True
        self._next, self._ends = {}, {}
        self._arrived = [_partition(tp) for tp in partitions]
        self._held = frozenset(self._arrived)
        if self._listener is not None:
            self._membership = GroupToken(consumer.consumer_group_metadata())
        consumer.assign([])  # else the client assigns by itself, from wherever it likes

    def _begin_reading(self) -> None:
        """Read from where the listener says; when it cannot say now, the next poll asks again."""
        if self._arrived is None or self._listener is None:
            return
        starts = self._listener.assigned(self._arrived)
        self._consumer.assign(_topic_partitions(starts))
        self._next, self._arrived = dict(starts), None

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave(consumer, partitions, lost=True)

    def _leave(self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        self._rebalanced = True
        gone = [_partition(tp) for tp in partitions]
        if self._listener is not None:
            try:
                (self._listener.lost if lost else self._listener.revoked)(gone)
                if lost:
                    self._stay_away_if_replaced(consumer)
            except HeadwaterError as error:
                self._failure = error  # an exception must not cross librdkafka: poll() raises it
        self._arrived = None
        for partition in gone:
            for held in (self._next, self._published_ms, self._doubted, self._corrupt):
                held.pop(partition, None)
        self._end_halt(self._halted.intersection(gone))  # a pause outlives the assignment
        consumer.unassign()

    def _stay_away_if_replaced(self, consumer: Consumer) -> None:
        """The client joins again after this call, and would throw out whoever took our place.

        Only a process that was asleep is replaced unnoticed; in an outage the question would wait.
        """
        if time.monotonic() - self._polled_s < self._session_s:
            return
        try:
            self.check_membership()
        except FencedError:
            consumer.unsubscribe()
            raise

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # -- messages ------------------------------------------------------------------------------

    def _consume(self, max_records: int, timeout_s: float) -> list[Message]:
        """In slices up to the first assignment: none ends a consume(), and no record comes yet."""
        if self._membership is not None:
            return self._consumer.consume(max_records, timeout_s)
        while True:
            messages = self._consumer.consume(max_records, min(timeout_s, JOINING_S))
            if messages or self._rebalanced or time.monotonic() >= self._polled_s + timeout_s:
                return messages

    def _without_events(self, messages: list[Message]) -> list[Message]:
        """The records; ends and damage are taken note of. Raises what is neither."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                # behind a damaged batch the client may have lost its way: no such record is trusted
                if not self._damaged or place_of(message) not in self._damaged:
                    records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ends[place_of(message)] = offset_of(message)
            elif self._is_damage(message, error):
                self._damaged.add(place_of(message))
            elif error.code() not in PASSING or error.fatal():
                raise translate(error, doing=f"reading {message.topic()}[{message.partition()}]")
        return records

    def _is_damage(self, message: Message, error: KafkaError) -> bool:
        """Also where the client stumbles after it: it reads on at any place of the response.

        There it finds an unknown version, takes its offset for the next, and misses that.
        """
        if error.code() in GONE:
            return place_of(message) in self._damaged | self._doubted.keys()
        return error.code() in CORRUPT or error.code() == KafkaError._NOT_IMPLEMENTED

    def _judge_damaged(self) -> None:
        """What came damaged is fetched once more, for it may have been the way; twice is the log.

        The records before it were handed over, so the place is the next offset.
        """
        places = {p: self._next[p] for p in self._damaged if p in self._next}
        self._damaged.clear()
        self._go(places)
        for partition, place in places.items():
            if self._doubted.get(partition) == place:
                self._corrupt[partition] = place
            self._doubted[partition] = place

    def _by_topic(self, messages: list[Message]) -> list[tuple[str, list[Message]]]:
        if len(self._topics) == 1:
            return [(self._topics[0], messages)] if messages else []
        groups: dict[str, list[Message]] = {}
        for message in messages:
            groups.setdefault(cast("str", message.topic()), []).append(message)
        return list(groups.items())

    def _advance(self, batch: KafkaRecords) -> None:
        for partition, message in batch.last_messages.items():
            self._next[partition] = offset_of(message) + 1
            self._published_ms[partition] = message.timestamp()[1]
            self._doubted.pop(partition, None)  # past the place: it was the way

    def _committed(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        wanted = [TopicPartition(p.topic, p.index) for p in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=CALL_S)
        except KafkaException as cause:
            error = translate(cause, doing="reading committed positions")
            if kafka_error(cause).code() == KafkaError._TIMED_OUT:
                raise UnavailableError(f"{error}{PENDING.format(member=self._member)}") from cause
            raise error from cause
        for answer in found:
            if answer.error is not None:
                raise UnavailableError(
                    f"no committed position for {answer.topic}[{answer.partition}]: {answer.error}"
                )
        return found


def _partition(tp: TopicPartition) -> Partition:
    return Partition(tp.topic, tp.partition)


def _bare(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.index) for p in partitions]


def _topic_partitions(positions: Positions) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.index, offset) for p, offset in positions.items()]
