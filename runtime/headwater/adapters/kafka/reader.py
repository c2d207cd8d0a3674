"""Exact ranges of a topic, outside any consumer group (the port `LogReader`).

A range is passed when a record at or beyond its end arrives, or when the client reports the end of
the partition there: aborted records and control records at the end bring no message of their own.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headwater.adapters.kafka.records import KafkaRecords, offset_of
from headwater.adapters.kafka.triage import AWAY, GONE, translate
from headwater.clock import SYSTEM, Clock
from headwater.errors import HeadwaterError, UnavailableError, UnverifiableError
from headwater.model import Partition
from headwater.ports import Records

CALL_S: Final = 8.0  # seconds; a broker election takes 1-3 s, and no call may take more than 10
POLL_S: Final = 0.05  # seconds; consume() waits it out when fewer records come than asked for
STALL_S: Final = 30.0  # seconds without a record before the broker counts as away
QUIET: Final = 2  # syslog "critical": a broker away is told once, by our error, not on stderr

FIXED: Final[Mapping[str, Any]] = {
    "group.id": "headwater.reader",  # asked for by the client; never joined, nothing is committed
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "check.crcs": True,
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 20_000,  # of a partition, as one read; 100,000 are 40 MB more, no faster
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 10,  # the default of 1000 stalls a consumer that drains its queue
    "log_level": QUIET,
}

Ranges = Mapping[Partition, tuple[int, int]]


class KafkaLogReader:
    """A consumer with manual assignment. `config` holds client properties. One read at a time."""

    def __init__(self, config: Mapping[str, str], *, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._consumer = Consumer({**config, **FIXED})

    def read(self, ranges: Ranges, *, max_records: int) -> Iterator[Records]:
        """Every committed record of `[start, end)`, each `Records` of one partition, in order.

        At most `max_records` are in hand at once. Raises UnavailableError when the broker is silent
        for STALL_S, and UnverifiableError (RANGE_LOST) when the log does not hold a range.
        """
        left = {p: end for p, (start, end) in ranges.items() if start < end}
        self._require_held({p: ranges[p] for p in left})
        places = [TopicPartition(p.topic, p.index, ranges[p][0]) for p in left]
        self._consumer.assign(places)
        try:
            yield from self._records(left, max_records)
        finally:
            self._consumer.resume(places)  # a pause would outlive the assignment
            self._consumer.unassign()

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _require_held(self, ranges: Ranges) -> None:
        for partition, (start, end) in ranges.items():
            place = TopicPartition(partition.topic, partition.index)
            try:
                held = self._consumer.get_watermark_offsets(place, timeout=CALL_S)
            except KafkaException as cause:
                raise _translated(cause.args[0], partition) from cause
            if held is None:
                raise UnavailableError(
                    f"The broker does not tell where {partition} begins and ends."
                )
            if start < held[0] or end > held[1]:
                raise _lost(f"{partition} holds [{held[0]}, {held[1]}), asked for [{start}, {end})")

    def _records(self, left: dict[Partition, int], max_records: int) -> Iterator[Records]:
        heard_s = self._clock.monotonic()
        while left:
            messages = self._consume(max_records)
            if messages:
                heard_s = self._clock.monotonic()
            elif self._clock.monotonic() - heard_s > STALL_S:
                places = ", ".join(map(str, sorted(left)))
                raise UnavailableError(
                    f"No record of {places} came for {STALL_S:g} s; start the broker or look at it."
                )
            for partition, run in by_partition(messages).items():
                # A partition already passed may still deliver what was fetched ahead.
                if partition in left:
                    yield from self._of_partition(partition, run, left)

    def _of_partition(
        self, partition: Partition, run: list[Message], left: dict[Partition, int]
    ) -> Iterator[Records]:
        end = left[partition]
        events: list[Message] = []
        records = run
        if any(map(Message.error, run)):  # no line of Python for each record
            events = [message for message in run if message.error() is not None]
            records = [message for message in run if message.error() is None]
        last = records[-1:]  # in log order: it tells for all of them
        if any(_passes(message, end, partition) for message in (*events, *last)):
            del left[partition]
            self._consumer.pause([TopicPartition(partition.topic, partition.index)])
        if last and offset_of(last[0]) >= end:
            records = [message for message in records if offset_of(message) < end]
        if records:
            yield KafkaRecords(partition.topic, records, partition)

    def _consume(self, max_records: int) -> list[Message]:
        try:
            return self._consumer.consume(max_records, POLL_S)
        except KafkaException as cause:
            raise translate(cause, doing="reading the log") from cause


def by_partition(messages: list[Message]) -> dict[Partition, list[Message]]:
    """Messages, events of a partition among them, by their partitions; raises for the client's."""
    runs: dict[tuple[str, int], list[Message]] = {}
    # They come in long runs of a partition: so no line of Python is passed for each of them.
    for topic, of_topic in groupby(messages, Message.topic):
        if topic is None:  # errors of the client, not of a partition
            for message in of_topic:
                _passes(message, 0, None)
            continue
        for index, run in groupby(of_topic, Message.partition):
            runs.setdefault((topic, cast("int", index)), []).extend(run)
    return {Partition(*place): run for place, run in runs.items()}


def _passes(message: Message, end: int, partition: Partition | None) -> bool:
    """Whether nothing below `end` can follow. Raises for errors the client does not mend itself."""
    error = message.error()
    if error is None:
        return offset_of(message) >= end - 1
    if error.code() == KafkaError._PARTITION_EOF:
        return offset_of(message) >= end
    if error.code() in AWAY and not error.fatal():
        return False  # STALL_S bounds how long
    raise _translated(error, partition)


def _translated(error: KafkaError, partition: Partition | None) -> HeadwaterError:
    if error.code() in GONE:
        return _lost(f"{partition or 'a partition'} was cut short while it was read")
    return translate(error, doing=f"reading {partition or 'the log'}")


def _lost(what: str) -> UnverifiableError:
    return UnverifiableError(
        f"The log no longer holds what is asked for: {what}.", code="RANGE_LOST"
    )
