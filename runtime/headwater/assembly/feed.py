"""Feeds the flights of 2013 into Kafka: topics, schemas, then records, each of them once.

A record whose value is already in its topic is left out, so a feed that was interrupted is
completed by the next one, and a feed of more copies adds just those.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Final

import polars as pl

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics, check_topic
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.flights import SLICE_ROWS, SOURCES, Source, data_directory
from headwater.assembly.registration import lookup_ids, register
from headwater.config import Settings
from headwater.contract import Encoder, load_contract
from headwater.errors import FatalError, StartRefusedError
from headwater.model import Partition
from headwater.ports import LogReader, Topics, TopicSettings

PARTITIONS: Final = 4  # of a new topic: enough to show sharing out, few enough for one machine
FRAME_BYTES: Final = 5  # before the body: it holds the schema's id, which is no part of the data

OnProgress = Callable[[int, int], None]
"""Told (records done, records in all) of the topic being filled."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What to feed.

    `repeat`: copies of every departure. `partitions`: of topics that do not exist yet, None for
    `PARTITIONS`. `again`: whether records that are already there come once more.
    """

    repeat: int = 1
    partitions: int | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Fed:
    """One topic after the feed: records it was to hold, records written now, seconds taken."""

    topic: str
    partitions: int
    records: int
    written: int
    seconds: float


def feed(
    settings: Settings, schemas: Path, options: FeedOptions, on_progress: OnProgress
) -> Iterator[Fed]:
    """Feed every source in turn, and tell of each when all its records are with the broker.

    `schemas` holds the contracts. Raises DeclarationError, ConfigurationError (NO_DATA_SET),
    StartRefusedError (TOPIC_SETTINGS), RegistrationRefusedError and UnavailableError.
    """
    directory = data_directory()
    contracts = [load_contract(schemas, source.topic, source.contract) for source in SOURCES]
    with (
        closing(SchemaRegistry(settings.registry)) as registry,
        closing(KafkaLogReader(settings.kafka)) as reader,
    ):
        topics = KafkaTopics(settings.kafka)
        partitions = prepare(topics, options.partitions)
        for contract in contracts:
            register(contract, registry)
        ids = lookup_ids(contracts, registry)
        feeder = _Feeder(topics, BulkWriter(settings.kafka), reader, options, on_progress)
        for source, contract in zip(SOURCES, contracts, strict=True):
            started = time.monotonic()
            frame = source.read(directory)
            of = ids[source.topic]
            encoder = Encoder(contract, of.value, key_schema_id=of.key)
            written = feeder.fill(source, frame, encoder)
            records = frame.height * source.copies(options.repeat)
            took_s = time.monotonic() - started
            yield Fed(source.topic, partitions[source.topic], records, written, took_s)


def prepare(topics: Topics, partitions: int | None) -> dict[str, int]:
    """Create the topics that are missing and check the others; gives their partition counts.

    Raises StartRefusedError (TOPIC_SETTINGS) naming every difference.
    """
    wanted = []
    for source in SOURCES:
        count = partitions or topics.partitions(source.topic) or PARTITIONS
        # Here the feed owns the sources, so they are checked as the logs they are.
        kind = "log" if source.kind == "source" else source.kind
        wanted.append(TopicSettings(source.topic, count, kind))
    topics.create(wanted)
    wrong = [difference for topic in wanted for difference in check_topic(topics, topic)]
    if wrong:
        raise StartRefusedError(
            f"{'; '.join(wrong)}; correct the topics, or feed into another Kafka.",
            code="TOPIC_SETTINGS",
        )
    return {topic.name: topic.partitions for topic in wanted}


@dataclass(frozen=True, slots=True)
class _Feeder:
    topics: Topics
    writer: BulkWriter
    reader: LogReader
    options: FeedOptions
    tell: OnProgress

    def fill(self, source: Source, frame: pl.DataFrame, encoder: Encoder) -> int:
        """Write the records that are not in the topic yet; gives how many."""
        total = frame.height * source.copies(self.options.repeat)
        ranges = self._ranges(source.topic)
        if sum(end - start for start, end in ranges.values()) == total and not self.options.again:
            self.tell(total, total)
            return 0
        known = _digests(()) if self.options.again else self._known(ranges)
        done = written = 0
        for rows in source.slices(frame, self.options.repeat):
            keys, values = _unknown(*_encoded(encoder, rows), known)
            self.writer.write(source.topic, keys, values)
            done += rows.height
            written += len(values)
            self.tell(done, total)
        self.writer.flush()
        return written

    def _ranges(self, topic: str) -> dict[Partition, tuple[int, int]]:
        ends = self.topics.ends(topic)
        return {p: (start, ends[p]) for p, start in self.topics.beginnings(topic).items()}

    def _known(self, ranges: Mapping[Partition, tuple[int, int]]) -> pl.Series:
        """Digests of the values in the log, sorted: 8 bytes a record instead of a hundred."""
        parts = self.reader.read(ranges, max_records=SLICE_ROWS)
        found = [_digests([value for value in records.values if value]) for records in parts]
        return pl.concat([_digests(()), *found]).sort()


def _encoded(encoder: Encoder, rows: pl.DataFrame) -> tuple[Sequence[bytes | None], list[bytes]]:
    encoded = encoder.encode(rows)
    if encoded.quarantined:
        refusal = encoded.quarantined[0]
        raise FatalError(f"The data set does not fit its contract: {refusal.message}.")
    return encoded.keys, encoded.values


def _digests(values: Sequence[bytes]) -> pl.Series:
    return pl.Series(values, dtype=pl.Binary).bin.slice(FRAME_BYTES).hash()


def _unknown(
    keys: Sequence[bytes | None], values: Sequence[bytes], known: pl.Series
) -> tuple[Sequence[bytes | None], Sequence[bytes]]:
    """The records whose digest is not among the known ones, which are sorted."""
    if known.is_empty():
        return keys, values
    digests = _digests(values)
    places = known.search_sorted(digests).clip(upper_bound=known.len() - 1)
    new = (known.gather(places) != digests).to_list()
    return list(compress(keys, new)), list(compress(values, new))
