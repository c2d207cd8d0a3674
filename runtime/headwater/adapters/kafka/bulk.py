"""Publishing many records outside a transaction: for data that is fed, not processed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from confluent_kafka import KafkaError, Producer

from headwater.clock import SYSTEM, Clock
from headwater.errors import HeadwaterError, StartRefusedError, UnavailableError

QUEUE_RECORDS: Final = 200_000  # some 50 MB of small records: keeps the client busy, not large
DELIVERY_MS: Final = 30_000  # a broker's restart takes some 10 s; nothing may wait for ever
POLL_S: Final = 0.1  # how long to wait for room at a time
QUIET: Final = 2  # syslog "critical": trouble is told once, by our error

DEFAULTS: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,  # in order and once, also when the client tries again
    "acks": "all",
    "compression.type": "lz4",
    "partitioner": "murmur2_random",  # the Java client's, so that keys meet keys
    "linger.ms": 50,
    "batch.size": 1_000_000,
    "message.timeout.ms": DELIVERY_MS,
    "socket.timeout.ms": 5_000,
    "queue.buffering.max.messages": 2 * QUEUE_RECORDS,  # `_make_room` keeps it from filling up
    "topic.metadata.propagation.max.ms": 5_000,  # an unknown topic is told after this, not 30 s
    "log_level": QUIET,
    "delivery.report.only.error": True,  # a callback per record would cost more than producing
}


class BulkWriter:
    """An idempotent producer for columns of keys and values. Not thread-safe.

    Its calls raise UnavailableError when records do not reach the broker within `DELIVERY_MS`, and
    StartRefusedError when the broker refuses them.
    """

    def __init__(self, config: Mapping[str, str], *, clock: Clock = SYSTEM) -> None:
        self._address = config.get("bootstrap.servers", "an unknown address")
        self._clock = clock
        # The callback holds this list, not the writer: the garbage collector would end a client in
        # a cycle, on any thread at any time.
        self._failures = failures = list[KafkaError]()
        properties: dict[str, Any] = {**DEFAULTS, **config}
        self._producer = Producer(
            {
                **properties,
                "on_delivery": lambda error, _message: failures.append(error),
                "error_cb": _told_by_delivery,
            }
        )

    def write(self, topic: str, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Hand records over, in order; waits while too many are under way."""
        self._make_room(len(values))
        messages = [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]
        if self._producer.produce_batch(topic, messages) != len(messages):
            refused = next(each["_error"] for each in messages if "_error" in each)
            raise self._error(cast("KafkaError", refused))

    def flush(self) -> None:
        """Wait until every record is with the broker."""
        deadline_s = self._clock.monotonic() + DELIVERY_MS / 1000
        while self._producer.flush(POLL_S) > 0 and self._clock.monotonic() < deadline_s:
            self._raise_failure()
        self._raise_failure()
        if len(self._producer):
            raise self._unavailable()

    def _make_room(self, records: int) -> None:
        # A full queue would take some records of a batch and leave others: their order is lost.
        deadline_s = self._clock.monotonic() + DELIVERY_MS / 1000
        self._producer.poll(0)
        while len(self._producer) > max(0, QUEUE_RECORDS - records):
            self._raise_failure()
            if self._clock.monotonic() > deadline_s:
                raise self._unavailable()
            self._producer.poll(POLL_S)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._error(self._failures[0])

    def _error(self, error: KafkaError) -> HeadwaterError:
        if error.code() in {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT}:
            return self._unavailable()
        return StartRefusedError(
            f"The broker {self._address} refuses records: {error.name()} ({error.str()}).",
            code="KAFKA_REFUSED",
        )

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(
            f"The broker {self._address} does not take records within {DELIVERY_MS / 1000:g} s; "
            f"start it or check the address."
        )


def _told_by_delivery(_error: KafkaError) -> None:
    """Trouble with the connection needs no word of its own: it ends in a delivery that fails."""
