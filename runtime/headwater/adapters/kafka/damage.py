"""Where a record batch that cannot be read ends: the client tells where it begins, and no more.

A fetch from inside a batch brings the whole batch, so of each offset the client tells which damaged
batch it is in, or that it is in none: the border is found by halving, whatever lies behind it.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headwater.adapters.kafka.reader import CALL_S, FIXED
from headwater.adapters.kafka.records import offset_of
from headwater.adapters.kafka.triage import AWAY, CORRUPT, GONE, LOGGER, translate
from headwater.clock import SYSTEM
from headwater.errors import UnavailableError
from headwater.model import Partition

ONE_BATCH: Final[Mapping[str, Any]] = {
    "max.partition.fetch.bytes": 1,  # a broker sends one whole batch all the same (KIP-74)
    "queued.min.messages": 1,
    "fetch.error.backoff.ms": 1,  # damage comes at each second question: the default waits 500
}
LOOK_S: Final = 0.5  # seconds a call may wait; a batch comes in some milliseconds


def end_of_damage(config: Mapping[str, Any], partition: Partition, offset: int) -> int:
    """The offset behind the damaged batch at `offset`; `offset` when there is no damage.

    Asks the broker some 2 * log2 (records of the batch) times. Raises UnavailableError.
    """
    settings = {**config, **FIXED, **ONE_BATCH}
    with closing(Consumer(settings, logger=LOGGER)) as consumer:
        batch = _damaged_batch(consumer, partition, offset)
        if batch is None:
            return offset
        inside, behind, step = offset, _end(consumer, partition), 1
        while inside + 1 < behind:
            tried = min(inside + step, (inside + behind) // 2)
            if _damaged_batch(consumer, partition, tried) == batch:
                inside, step = tried, 2 * step
            else:
                behind = tried
        return behind


def _end(consumer: Consumer, partition: Partition) -> int:
    place = TopicPartition(partition.topic, partition.index)
    try:
        found = consumer.get_watermark_offsets(place, timeout=CALL_S)
    except KafkaException as cause:
        raise translate(cause, doing=f"asking for the end of {partition}") from cause
    if found is None:
        raise UnavailableError(f"the broker does not tell where {partition} ends")
    return found[1]


def _damaged_batch(consumer: Consumer, partition: Partition, offset: int) -> int | None:
    """Where the damaged batch begins that the offset is in; None when it can be read."""
    consumer.assign([TopicPartition(partition.topic, partition.index, offset)])
    deadline = SYSTEM.monotonic() + CALL_S
    while SYSTEM.monotonic() < deadline:
        message = consumer.poll(LOOK_S)
        error = None if message is None else message.error()
        if message is None or (error is not None and error.code() in AWAY and not error.fatal()):
            continue
        return _batch_told(message, error, partition)
    raise UnavailableError(f"the broker does not bring what is at {partition}@{offset}")


def _batch_told(message: Message, error: KafkaError | None, partition: Partition) -> int | None:
    if error is None or error.code() in {KafkaError._PARTITION_EOF, *GONE}:
        return None
    if error.code() in CORRUPT:
        return offset_of(message)
    raise translate(error, doing=f"reading {partition}")
