"""The log of one topic as decoded frames: a range of it, or from a place on for ever."""

from dataclasses import dataclass, replace
from typing import Final

from headwater.clock import SYSTEM, Clock
from headwater.contract import Contract
from headwater.errors import HeadwaterError, ReadRefusedError, UnverifiableError
from headwater.model import Partition, shown_id
from headwater.ports import LogReader, Records, Registry, TopicFollower, Topics
from headwater.reader.deletions import (
    GOING_ON_SHARE,
    Deletions,
    End,
    Offsets,
    by_index,
    read_committed_end,
)
from headwater.reader.frames import LogFrames
from headwater.reader.position import ReadPosition, bad_token
from headwater.reader.reading import Steps
from headwater.snapshot.cut import READING_SHARE, is_compacted

READ_RECORDS: Final = 20_000  # of one frame at most: enough for columns, and little memory
POLL_S: Final = 0.1  # seconds that a record waits at most for others of its frame
IDENTITY_S: Final = 10.0  # seconds between questions whether broker and topic are still there


@dataclass(frozen=True, slots=True)
class EventLog:
    """The log of a topic under one contract. Knows no consumer group and commits nothing."""

    contract: Contract
    topics: Topics
    registry: Registry
    clock: Clock = SYSTEM

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.contract.topic

    def topic_id(self) -> str:
        """The incarnation of the topic. Raises ReadRefusedError (TOPIC_MISSING)."""
        if self.topics.partitions(self.topic) is None:
            raise ReadRefusedError(
                f"Topic {self.topic} does not exist on this broker; check the address, or run the"
                f" product first.",
                code="TOPIC_MISSING",
            )
        return self.topics.topic_id(self.topic)

    def require_same(self, topic_id: str) -> None:
        """Raises ReadRefusedError (SOURCE_RECREATED) for another incarnation of the topic."""
        if (found := self.topic_id()) != topic_id:
            raise ReadRefusedError(
                f"Topic {self.topic} was deleted and made again (it was {shown_id(topic_id)}, now"
                f" {shown_id(found)}): what was read is of another log. Begin again.",
                code="SOURCE_RECREATED",
            )

    def is_compacted(self) -> bool:
        """Whether only the newest record of each key stays in it."""
        return is_compacted(self.topics, self.topic)

    def beginning(self) -> Offsets:
        """The first offsets still in the log."""
        return by_index(self.topics.beginnings(self.topic))

    def end(self) -> End:
        """The read_committed end of now."""
        return read_committed_end(self.topics, self.topic, self.clock)

    def at_time(self, timestamp_ms: int) -> Offsets:
        """The first offsets published at or after a time; the end where there are none."""
        return by_index(self.topics.at_time(self.topic, timestamp_ms))

    def require_held(self, start: ReadPosition) -> ReadPosition:
        """The same place, and the first offset of partitions that it has none of: they came later.

        All that follows is still in the log, of an upsert log every deletion too. Raises
        ReadRefusedError: SOURCE_RECREATED, CUT_LOST, COMPACTED_TOPIC, BAD_TOKEN for a partition
        that the topic does not have, or as `topic_id`.
        """
        self.require_same(start.topic_id)
        self._require_kind(start)
        beginning, end = self.beginning(), self.end().offsets
        if unknown := start.offsets.keys() - beginning.keys():
            named = ", ".join(f"{Partition(self.topic, index)}" for index in sorted(unknown))
            raise bad_token(f"This token tells of {named}, which the topic does not have")
        places = {index: start.offsets.get(index, 0) for index in beginning}
        lost = [
            f"{Partition(self.topic, index)}: next offset {place}, the log holds"
            f" [{beginning[index]}, {end.get(index, 0)})"
            for index, place in places.items()
            if not beginning[index] <= place <= end.get(index, 0)
        ]
        if lost:
            raise self._lost("; ".join(lost))
        deletions = self._deletions(start, READING_SHARE)
        deletions.look(places)
        deletions.require(places)
        return replace(start, offsets=places, as_of_ms=deletions.as_of_ms)

    def until(self, start: ReadPosition, end: End, reader: LogReader) -> Steps:
        """Every row of `[start, end)` by partition. Raises as `follow` does."""
        reached = dict(start.offsets)
        frames = self._frames(start)
        deletions = self._deletions(start)
        deletions.look(reached)
        deletions.ahead = None if end.asked_ms is None else end
        ranges = {
            Partition(self.topic, index): (first, end.offsets.get(index, first))
            for index, first in reached.items()
        }
        try:
            for records in reader.read(ranges, max_records=READ_RECORDS):
                reached.update(by_index(records.ends()))
                deletions.require(reached)
                yield frames.frame(records), _at(start, reached, deletions)
        except UnverifiableError as error:
            raise self._lost(str(error)) from error
        self.require_same(start.topic_id)
        reached = {i: max(place, end.offsets.get(i, place)) for i, place in reached.items()}
        deletions.require(reached)
        yield None, _at(start, reached, deletions)

    def follow(self, start: ReadPosition, follower: TopicFollower) -> Steps:
        """Every row from here on, for ever.

        Raises ReadRefusedError: CUT_LOST when the log was cut short ahead of this place, or may
        have dropped deletions there, SOURCE_RECREATED, COMPACTED_TOPIC; FatalError
        (UNREADABLE_RECORD) for a record that is no row of the contract, UnavailableError when
        broker or registry do not answer.
        """
        reached = dict(start.offsets)
        frames = self._frames(start)
        deletions = self._deletions(start)
        deletions.look(reached)
        follower.assign({Partition(self.topic, index): place for index, place in reached.items()})
        due_s = self.clock.monotonic() + IDENTITY_S
        while True:
            if self.clock.monotonic() >= due_s:
                self.require_same(start.topic_id)
                self._require_kind(start)
                self._take_in(reached, follower)
                deletions.look(reached)
                due_s = self.clock.monotonic() + IDENTITY_S
            for records in self._polled(follower):
                reached.update(by_index(records.ends()))
                deletions.require(reached)
                yield frames.frame(records), _at(start, reached, deletions)
            if (place := by_index(follower.positions())) != reached:
                reached.update(place)
                deletions.require(reached)
            yield None, _at(start, reached, deletions)  # at each poll: so a `close` is seen

    def _take_in(self, reached: dict[int, int], follower: TopicFollower) -> None:
        """Follow the partitions that the topic was given since, too."""
        beginning = self.beginning()
        if not (new := beginning.keys() - reached.keys()):
            return
        if lost := [f"{Partition(self.topic, index)}" for index in new if beginning[index]]:
            raise self._lost(f"{', '.join(sorted(lost))} came later, and was cut short since")
        reached.update(dict.fromkeys(new, 0))
        follower.assign({Partition(self.topic, index): place for index, place in reached.items()})

    def _polled(self, follower: TopicFollower) -> list[Records]:
        try:
            return list(follower.poll(READ_RECORDS, POLL_S))
        except HeadwaterError as error:
            if error.code != "TABLE_TRUNCATED":  # the port's word for a log cut short
                raise
            raise self._lost("it was cut short while it was read") from error

    def _frames(self, start: ReadPosition) -> LogFrames:
        return LogFrames(self.contract, self.registry, self.clock, is_upsert=start.is_upsert)

    def _deletions(self, start: ReadPosition, share: float = GOING_ON_SHARE) -> Deletions:
        return Deletions(self.topics, self.topic, self.clock, start.as_of_ms, share)

    def _require_kind(self, start: ReadPosition) -> None:
        if start.is_upsert and not self.contract.key:
            raise ReadRefusedError(
                f"Topic {self.topic} keeps the newest record of each key, and its contract"
                f" v{self.contract.version} names no key: what a deletion deletes cannot be told."
                f' Ask the product\'s owner for a "key" in the contract.',
                code="COMPACTED_TOPIC",
            )
        if not start.is_upsert and self.is_compacted():
            raise ReadRefusedError(
                f"Topic {self.topic} is compacted since: this place is of a log of every event,"
                f" and now older records of a key go, and deletions come. Begin again.",
                code="COMPACTED_TOPIC",
            )

    def _lost(self, what: str) -> ReadRefusedError:
        return ReadRefusedError(
            f"The log of {self.topic} no longer holds what follows ({what}); rows would be"
            f" missing. Begin again from the newest snapshot, and ask the product's owner for a"
            f" retention longer than the time between snapshots.",
            code="CUT_LOST",
        )


def _at(start: ReadPosition, reached: Offsets, deletions: Deletions) -> ReadPosition:
    """The place that was reached."""
    return replace(start, offsets=dict(reached), as_of_ms=deletions.as_of_ms)
