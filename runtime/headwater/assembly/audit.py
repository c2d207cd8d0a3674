"""The audit log: what operators made of records that were set aside. One topic for all products.

A record of it is the mark that resolves a dead letter, published in the transaction of its outcome.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.adapters.kafka.topics import check_topic
from headwater.assembly.registration import lookup_ids, register
from headwater.clock import SYSTEM, Clock
from headwater.config import Settings
from headwater.contract import ROW, ROW_TYPE, Contract, Decoder, Encoder, parse_contract
from headwater.engine import StoredLetter
from headwater.errors import StartRefusedError
from headwater.model import Partition
from headwater.ports import LogReader, Registry, Topics, TopicSettings

TOPIC: Final = "_headwater.audit"
FILE: Final = Path(__file__).with_name("audit.avsc")
VERSION: Final = 2
RECORDS_AT_ONCE: Final = 10_000
MS: Final = 1000

Place = tuple[Partition, int]
"""A partition and an offset in it: which record."""


class Action(StrEnum):
    """What was done to a record."""

    REPLAYED = "replayed"
    FAILED_AGAIN = "failed-again"
    DISCARDED = "discarded"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it, for which product, with which of its releases."""

    actor: str
    product: str
    release: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One record of the audit log, without who and when.

    `topic_id` is the broker's id of the topic: another topic of the same name has other records.
    """

    action: Action
    partition: Partition
    offset: int
    code: str | None = None
    reason: str | None = None
    next_offset: int | None = None
    letter: StoredLetter | None = None
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of the letter at a place. `at_ms` is when, milliseconds since the epoch.

    `next_offset` is where a partition went on, of a mark that records were skipped from its place.
    Older marks have no id of the topic; their letter came from `source`.
    """

    action: Action
    at_ms: int
    topic_id: str | None
    source: Place | None
    next_offset: int | None = None

    def is_of(self, letter: StoredLetter, topic_id: str) -> bool:
        """Whether it is about this letter of the topic with this id."""
        if self.topic_id is not None:
            return self.topic_id == topic_id
        is_later = letter.first_seen_ms <= self.at_ms
        return is_later and self.source == (letter.source, letter.source_offset)


def actor_of(settings: Settings) -> str:
    """The setting `actor`; else the user this process runs as."""
    names = (settings.actor, os.environ.get("USER"), os.environ.get("LOGNAME"))
    return next(filter(None, names), f"uid {os.getuid()}")


def audit_contract() -> Contract:
    """The contract of the audit log, which Headwater brings along."""
    return parse_contract(FILE.read_text(encoding="utf-8"), topic=TOPIC, version=VERSION, path=FILE)


class AuditLog:
    """Reads and encodes the audit log; publishing is the business of whoever has a transaction."""

    def __init__(
        self, topics: Topics, registry: Registry, reader: LogReader, *, clock: Clock = SYSTEM
    ) -> None:
        self._topics = topics
        self._registry = registry
        self._reader = reader
        self._clock = clock
        self._contract = audit_contract()

    def prepare(self, *, is_creating: bool) -> None:
        """Make sure that the topic is there and keeps its records for ever.

        Raises StartRefusedError (AUDIT_TOPIC) where it may not be created.
        """
        settings = TopicSettings(TOPIC, self._topics.partitions(TOPIC) or 1, "log")
        if is_creating:
            self._topics.create([settings])
        wrong = check_topic(self._topics, settings)
        if wrong:
            raise StartRefusedError(
                f"{'; '.join(wrong)}; create or alter it so: what becomes of dead letters is"
                " recorded there",
                code="AUDIT_TOPIC",
            )

    def encode(
        self, marks: Sequence[Mark], actor: Actor
    ) -> tuple[Sequence[bytes | None], Sequence[bytes]]:
        """Keys and framed values of marks made now. Registers the contract when nobody has yet."""
        at = datetime.fromtimestamp(self._clock.wall_ms() / MS, UTC)
        rows = [{"at": at, **asdict(actor), **_fields(mark)} for mark in marks]
        frame = pl.DataFrame(rows, schema=self._contract.columns)
        numbered = frame.with_columns(pl.int_range(pl.len(), dtype=ROW_TYPE).alias(ROW))
        encoded = self._encoder.encode(numbered)
        return encoded.keys, encoded.values

    @cached_property
    def _encoder(self) -> Encoder:
        register(self._contract, self._registry)
        return Encoder(self._contract, *lookup_ids([self._contract], self._registry)[TOPIC])

    def marks(self, product: str) -> Mapping[Place, Sequence[Resolution]]:
        """What became of the records of a product, as far as it is committed now.

        Several at one place are of topics of one name, of which one is there now.
        Waits for transactions that are open on the topic: a mark may stand behind one of another
        product. Raises UnavailableError when they do not end.
        """
        if self._topics.partitions(TOPIC) is None:
            return {}
        found: defaultdict[Place, list[Resolution]] = defaultdict(list)
        for place, resolution in self._read(product):
            found[place].append(resolution)
        return found

    def _read(self, product: str) -> Iterator[tuple[Place, Resolution]]:
        first, end = self._topics.beginnings(TOPIC), self._topics.high_watermarks(TOPIC)
        decoder = Decoder(self._contract, self._registry.schema)
        ranges = {partition: (first[partition], end[partition]) for partition in end}
        for records in self._reader.read(ranges, max_records=RECORDS_AT_ONCE):
            frame = decoder.decode(records.values).frame.filter(pl.col("product") == product)
            for row in frame.iter_rows(named=True):
                place = Partition(row["topic"], row["partition"]), row["offset"]
                yield place, _resolution(row)


def _resolution(row: Mapping[str, Any]) -> Resolution:
    source = None
    if row["source_topic"] is not None:
        source = Partition(row["source_topic"], row["source_partition"]), row["source_offset"]
    at_ms = round(row["at"].timestamp() * MS)
    return Resolution(Action(row["action"]), at_ms, row["topic_id"], source, row["next_offset"])


def _fields(mark: Mark) -> Mapping[str, Any]:
    fields: dict[str, Any] = {
        "place": f"{mark.partition.topic}/{mark.partition.index}/{mark.offset}",
        "action": mark.action.value,
        "topic": mark.partition.topic,
        "partition": mark.partition.index,
        "offset": mark.offset,
        "topic_id": mark.topic_id,
        "next_offset": mark.next_offset,
        "code": mark.code,
        "reason": mark.reason,
    }
    if mark.letter is not None:
        fields |= {
            "source_topic": mark.letter.source.topic,
            "source_partition": mark.letter.source.index,
            "source_offset": mark.letter.source_offset,
        }
    return fields
