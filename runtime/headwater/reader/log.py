"""The log of one topic as decoded frames: a range of it, or from a place on for ever."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.clock import SYSTEM, Clock
from headwater.contract import ROW, Contract, Decoder, schema_headers
from headwater.errors import FatalError, HeadwaterError, ReadRefusedError, UnverifiableError
from headwater.model import Partition, Positions, shown_id
from headwater.ports import LogReader, Records, Registry, TopicFollower, Topics

READ_RECORDS: Final = 20_000  # of one frame at most: enough for columns, and little memory
POLL_S: Final = 0.1  # seconds that a record waits at most for others of its frame
IDENTITY_S: Final = 10.0  # seconds between questions whether broker and topic are still there

Offsets = Mapping[int, int]
"""The next offset, by partition of one topic."""

Step = tuple[pl.DataFrame | None, Offsets]
"""Decoded rows, and the place behind them; None where only the place moved."""


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
        """The incarnation of the topic. Raises ReadRefusedError: TOPIC_MISSING, COMPACTED_TOPIC."""
        if self.topics.partitions(self.topic) is None:
            raise ReadRefusedError(
                f"Topic {self.topic} does not exist on this broker; check the address, or run the"
                f" product first.",
                code="TOPIC_MISSING",
            )
        if "compact" in self.topics.config(self.topic).get("cleanup.policy", "delete"):
            raise ReadRefusedError(
                f"Topic {self.topic} is compacted: it is a table, and no log of every event; read"
                f" it as a table of a product, with `product.table(...)`.",
                code="COMPACTED_TOPIC",
            )
        return self.topics.topic_id(self.topic)

    def beginning(self) -> Offsets:
        """The first offsets still in the log."""
        return _by_index(self.topics.beginnings(self.topic))

    def end(self) -> Offsets:
        """The read_committed ends of now."""
        return _by_index(self.topics.ends(self.topic))

    def at_time(self, timestamp_ms: int) -> Offsets:
        """The first offsets published at or after a time; the end where there are none."""
        return _by_index(self.topics.at_time(self.topic, timestamp_ms))

    def require_held(self, topic_id: str, starts: Offsets) -> Offsets:
        """These places, and the beginning of partitions that have none; all still in the log.

        Raises ReadRefusedError: SOURCE_RECREATED, CUT_LOST, or as `topic_id`.
        """
        self._require_same(topic_id)
        beginning, end = self.beginning(), self.end()
        places = {index: starts.get(index, first) for index, first in beginning.items()}
        lost = [
            f"{Partition(self.topic, index)}: next offset {place}, the log holds"
            f" [{beginning.get(index, 0)}, {end.get(index, 0)})"
            for index, place in {**starts, **places}.items()
            if not beginning.get(index, 0) <= place <= end.get(index, 0)
        ]
        if lost:
            raise self._lost("; ".join(lost))
        return places

    def until(
        self, topic_id: str, starts: Offsets, ends: Offsets, reader: LogReader
    ) -> Iterator[Step]:
        """Every row of `[start, end)` by partition. Raises as `follow` does."""
        reached = dict(starts)
        decoder = self._decoder()
        ranges = {
            Partition(self.topic, index): (start, ends.get(index, start))
            for index, start in starts.items()
        }
        try:
            for records in reader.read(ranges, max_records=READ_RECORDS):
                reached.update(_by_index(records.ends()))
                yield self._frame(decoder, records), dict(reached)
        except UnverifiableError as error:
            raise self._lost(str(error)) from error
        self._require_same(topic_id)
        yield None, {index: max(place, ends.get(index, place)) for index, place in reached.items()}

    def follow(self, topic_id: str, starts: Offsets, follower: TopicFollower) -> Iterator[Step]:
        """Every row from here on, for ever.

        Raises ReadRefusedError: CUT_LOST when the log was cut short ahead of this place,
        SOURCE_RECREATED; FatalError (UNREADABLE_RECORD) for a record that is no row of the
        contract, UnavailableError when broker or registry do not answer.
        """
        reached = dict(starts)
        decoder = self._decoder()
        follower.assign({Partition(self.topic, index): start for index, start in starts.items()})
        due_s = self.clock.monotonic() + IDENTITY_S
        while True:
            for records in self._polled(follower):
                reached.update(_by_index(records.ends()))
                yield self._frame(decoder, records), dict(reached)
            if (place := _by_index(follower.positions())) != reached:
                reached.update(place)
                yield None, dict(reached)
            if self.clock.monotonic() >= due_s:
                self._require_same(topic_id)
                due_s = self.clock.monotonic() + IDENTITY_S

    def _polled(self, follower: TopicFollower) -> list[Records]:
        try:
            return list(follower.poll(READ_RECORDS, POLL_S))
        except HeadwaterError as error:
            if error.code != "TABLE_TRUNCATED":  # the port's word for a log cut short
                raise
            raise self._lost("it was cut short while it was read") from error

    def _decoder(self) -> Decoder:
        return Decoder(self.contract, self.registry.schema, clock=self.clock)

    def _frame(self, decoder: Decoder, records: Records) -> pl.DataFrame:
        """The rows with their place; a frame has the columns of a snapshot's rows."""
        decoded = decoder.decode(records.values, schema_headers(records.headers()))
        if decoded.quarantined:
            first = decoded.quarantined[0]
            place = Partition(self.topic, records.partitions()[first.row])
            raise FatalError(
                f"{place}@{records.offsets()[first.row]} is no row of the contract v"
                f"{self.contract.version} ({first.code}: {first.message}); ask the product's owner"
                f" who wrote it to the log.",
                code="UNREADABLE_RECORD",
            )
        return decoded.frame.drop(ROW).with_columns(
            pl.Series("_partition", records.partitions(), pl.Int32),
            pl.Series("_offset", records.offsets(), pl.Int64),
            pl.Series("_timestamp", records.timestamps_ms(), pl.Int64)
            .cast(pl.Datetime("ms", "UTC"))
            .cast(pl.Datetime("us", "UTC")),
        )

    def _require_same(self, topic_id: str) -> None:
        if (found := self.topic_id()) != topic_id:
            raise ReadRefusedError(
                f"Topic {self.topic} was deleted and made again (it was {shown_id(topic_id)}, now"
                f" {shown_id(found)}): what was read is of another log. Begin again.",
                code="SOURCE_RECREATED",
            )

    def _lost(self, what: str) -> ReadRefusedError:
        return ReadRefusedError(
            f"The log of {self.topic} no longer holds what follows ({what}); rows would be"
            f" missing. Begin again from the newest snapshot, and ask the product's owner for a"
            f" retention longer than the time between snapshots.",
            code="CUT_LOST",
        )


def _by_index(positions: Positions) -> dict[int, int]:
    return {partition.index: offset for partition, offset in positions.items()}
