"""The transactional producer (the port `TransactionalLog`). Every call is bounded.

librdkafka has no KIP-890 (transaction protocol v2), so a late EndTxn may hit the next transaction:
after a timeout, a slow answer or a client error the client is doubtful and is replaced.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from headwater.adapters.kafka.records import offset_of, partition_of
from headwater.adapters.kafka.triage import LOGGER, configured, translate
from headwater.errors import (
    AbortableError,
    HeadwaterError,
    RecycleError,
    RetriableError,
    UnavailableError,
)
from headwater.model import Letter, Partition, Positions
from headwater.ports import CommitOutcome, GroupToken

INIT_S: Final = (
    30.0  # a predecessor's transaction may have to time out first (transaction.timeout.ms, 10 s)
)
INIT_AGAIN_S: Final = 2.0  # in mid-run: the next try goes on, and the loop must poll in between
SEND_OFFSETS_S: Final = 8.0  # below message.timeout.ms, which would abort the transaction anyway
END_TRY_S: Final = 2.0  # one try: commit_transaction() without a timeout ignores every limit
END_S: Final = (
    8.0  # all tries: below transaction.timeout.ms, after which the broker aborts by itself
)
FLUSH_S: Final = 8.0
SLOW_END_S: Final = 5.0  # socket.timeout.ms: a slower answer may have been a hidden retry
UNFLUSHED_BYTES: Final = (
    64 * 2**20
)  # keeps librdkafka's queue (1 GiB) from ever being full in mid-batch
UNFLUSHED_RECORDS: Final = 500_000  # half of queue.buffering.max.messages, for the same reason

PARTITION_UA: Final = -1  # librdkafka's "unassigned": the partitioner decides by the key

DEFAULTS: Final[Mapping[str, Any]] = {
    "transaction.timeout.ms": 10_000,
    "socket.timeout.ms": 5_000,
    "message.timeout.ms": 8_000,
    "acks": "all",
    "partitioner": "murmur2_random",  # the Java client's, so that keys meet keys
    "compression.type": "lz4",
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 1_000_000,
    "message.max.bytes": 1_048_588,  # the broker's default for one batch
    "retry.backoff.ms": 1,  # a transaction begun right after a commit waits for its markers
    "retry.backoff.max.ms": 1_000,
}


class KafkaTransactionalLog:
    """One transactional id, one open transaction at a time. Not thread-safe: the loop owns it."""

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        transactional_id: str,
        on_statistics: Callable[[str], None] | None = None,
    ) -> None:
        self._config: dict[str, Any] = {**DEFAULTS, **config, "transactional.id": transactional_id}
        self._config["error_cb"] = self._client_error
        if on_statistics is not None:
            self._config["stats_cb"] = on_statistics
        # made now, so that it is connected when it takes its id over: a group is joined meanwhile
        self._producer: Producer | None = self._made()
        self._is_initialised = False
        self._doubtful = False
        self._open = False
        self._unflushed_bytes = 0
        self._unflushed_records = 0
        self._published: dict[Partition, int] = {}

    def initialise(self, within_s: float = INIT_S) -> None:
        """Fence older processes of this id and finish or abort what they left."""
        self._take_over(within_s)

    def begin(self) -> None:
        """Open a transaction."""
        self._forget()
        _once(self._client().begin_transaction, doing="beginning a transaction")
        self._open = True

    def produce(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Publish columns of keys and framed values, partitioned by key.

        `produce_batch` reports per message, in the message's dict; a failed delivery makes the
        transaction abortable, so no callback per message is needed.
        """
        for first in range(0, len(values), UNFLUSHED_RECORDS):
            part = slice(first, first + UNFLUSHED_RECORDS)
            self._produce_part(topic, keys[part], values[part])

    def _produce_part(
        self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]
    ) -> None:
        self._make_room(len(values), sum(map(len, values)))
        messages = [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]
        self._hand_over(topic, messages)

    def produce_to(
        self,
        topic: str,
        partitions: Sequence[int],
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
    ) -> None:
        """Publish columns into given partitions; only the last record of each asks for a report.

        One call per partition: of `produce_batch` the partition of a single message is ignored.
        """
        for first in range(0, len(values), UNFLUSHED_RECORDS):
            part = slice(first, first + UNFLUSHED_RECORDS)
            self._make_room(
                len(values[part]), sum(map(len, filter(None, (*keys[part], *values[part]))))
            )
            messages: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
            for index, key, value in zip(partitions[part], keys[part], values[part], strict=True):
                messages[index].append({"key": key, "value": value})
            for index, those in messages.items():
                those[-1]["callback"] = _report_into(self._published)
                self._hand_over(topic, those, partition=index)

    def published(self) -> Positions:
        """The next offsets behind what `produce_to` published, as the broker reported them."""
        self.poll()  # the commit waits for deliveries, and has served most reports of them
        return dict(self._published)

    def _hand_over(
        self, topic: str, messages: list[dict[str, Any]], partition: int = PARTITION_UA
    ) -> None:
        accepted = self._client().produce_batch(topic, messages, partition)
        if accepted != len(messages):
            failed = next(message for message in messages if "_error" in message)
            error = cast("KafkaError", failed["_error"])
            raise AbortableError(
                f"{topic}: {len(messages) - accepted} records were not accepted ({error.name()})"
            )

    def produce_letters(self, topic: str, letters: Sequence[Letter]) -> None:
        """Publish records with headers, one call each: `produce_batch` drops headers silently."""
        for letter in letters:
            self._make_room(1, len(letter.value or b""))
            headers = cast("list[tuple[str, Any]]", list(letter.headers))
            try:
                self._client().produce(topic, value=letter.value, key=letter.key, headers=headers)
            except KafkaException as cause:
                raise translate(cause, doing=f"publishing to {topic}") from cause
            except BufferError as cause:
                raise AbortableError(f"{topic}: the producer's queue is full") from cause

    def send_offsets(
        self, positions: Positions, notes: Mapping[Partition, str], group: GroupToken
    ) -> None:
        """Put input positions into the transaction, each with its note as metadata."""
        offsets = [
            TopicPartition(p.topic, p.index, offset, notes[p]) for p, offset in positions.items()
        ]
        client = self._client()
        _until(
            lambda timeout: client.send_offsets_to_transaction(offsets, group, timeout),
            doing="sending offsets",
            tries_s=SEND_OFFSETS_S,
            total_s=SEND_OFFSETS_S,
        )

    def commit(self) -> CommitOutcome:
        """Commit; UNKNOWN when no answer came within the bound."""
        started = time.monotonic()
        try:
            _until(
                self._client().commit_transaction,
                doing="committing",
                tries_s=END_TRY_S,
                total_s=END_S,
            )
        except UnavailableError:
            self._doubtful = True
            return CommitOutcome.UNKNOWN
        self._open = False
        self._doubtful |= time.monotonic() - started > SLOW_END_S
        return CommitOutcome.COMMITTED

    def abort(self) -> None:
        """Abort the open transaction."""
        started = time.monotonic()
        _until(self._client().abort_transaction, doing="aborting", tries_s=END_TRY_S, total_s=END_S)
        self._open = False
        self._doubtful |= time.monotonic() - started > SLOW_END_S

    def recycle(self) -> None:
        """Throw the client away, make a new one with the same id and initialise it.

        One that could not be initialised in time goes on with that: librdkafka takes no other call.
        """
        if self._producer is not None and self._is_initialised:
            self._producer.purge()
            self._producer = None
        self._take_over(INIT_AGAIN_S)

    def poll(self) -> None:
        """Serve what the client has to tell: an idle one would pile up its statistics."""
        if self._producer is not None:
            self._producer.poll(0)

    def is_doubtful(self) -> bool:
        """Whether a timeout, a slow answer or a client error since `begin` asks for a recycle."""
        return self._doubtful

    def close(self) -> None:
        """Abort what is open and let go.

        When the broker does not take the abort in time it aborts by itself after
        transaction.timeout.ms, or when the next process of this id initialises: nothing depends on
        this call.
        """
        if self._producer is not None and self._is_initialised:
            self._producer.purge()
            if self._open:
                with contextlib.suppress(KafkaException):
                    self._producer.abort_transaction(END_TRY_S)
        self._producer = None

    def _take_over(self, total_s: float) -> None:
        self._open = self._is_initialised = False
        if self._producer is None:
            self._producer = self._made()
        try:
            _until(
                self._producer.init_transactions,
                doing="taking over the transactional id",
                tries_s=total_s,
                total_s=total_s,
            )
        except RetriableError:
            raise
        except HeadwaterError:
            self._producer = None  # it would give the same answer for ever
            raise
        self._is_initialised = True
        self._forget()

    def _made(self) -> Producer:
        return configured(lambda: Producer(self._config, logger=LOGGER))

    def _client(self) -> Producer:
        if self._producer is None or not self._is_initialised:
            raise RecycleError("the producer is not initialised")
        return self._producer

    def _make_room(self, records: int, size: int) -> None:
        self._unflushed_records += records
        self._unflushed_bytes += size
        if self._unflushed_bytes < UNFLUSHED_BYTES and self._unflushed_records < UNFLUSHED_RECORDS:
            return
        if self._client().flush(FLUSH_S):
            raise AbortableError("the broker does not take records fast enough")
        self._unflushed_records, self._unflushed_bytes = records, size

    def _forget(self) -> None:
        self._doubtful = False
        self._unflushed_records = self._unflushed_bytes = 0
        self._published = {}  # a new one: late reports of the transaction before go to the old

    def _client_error(self, _error: KafkaError) -> None:
        self._doubtful = True


def _report_into(ends: dict[Partition, int]) -> Callable[[KafkaError | None, Message], None]:
    """A delivery callback that notes how far its partition was written."""

    def report(error: KafkaError | None, message: Message) -> None:
        topic = message.topic()
        if error is None and topic is not None:
            ends[Partition(topic, partition_of(message))] = offset_of(message) + 1

    return report


def _once(call: Callable[[], None], *, doing: str) -> None:
    try:
        call()
    except KafkaException as cause:
        raise translate(cause, doing=doing) from cause


def _until(call: Callable[[float], None], *, doing: str, tries_s: float, total_s: float) -> None:
    """Call again, arguments unchanged, while the error is retriable; `total_s` at most."""
    deadline = time.monotonic() + total_s
    while True:
        try:
            return call(min(tries_s, max(0.1, deadline - time.monotonic())))
        except KafkaException as cause:
            error = translate(cause, doing=doing)
            if not isinstance(error, RetriableError):
                raise error from cause
            if time.monotonic() >= deadline:
                raise UnavailableError(str(error)) from cause
