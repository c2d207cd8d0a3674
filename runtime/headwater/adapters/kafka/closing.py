"""The end of a group member, whatever the group is about to tell it."""

import contextlib
import threading
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from headwater.adapters.kafka.triage import LOGGER, translate

QUEUED: Final = 10_000  # more than there are events at a time; a pause drops the records
CLOSE_S: Final = 10.0  # it takes milliseconds; what still runs then ends with the process


class Closing:
    """Closes a client beside its caller, for it may never come back (librdkafka#4884).

    An assignment that waits to be heard while the client closes is told after the group's part of
    the client has ended. Whatever is asked of that part then is never answered, and Python's lock
    is held meanwhile: not a thread of the process runs on. confluent-kafka itself asks when the
    callback returns and has not. So what waits is heard before; and from an assignment that came
    in between nothing returns, its thread is left to the end of the process.
    """

    def __init__(self) -> None:
        self._is_under_way = False
        self._is_over = threading.Event()

    def close(self, consumer: Consumer, held: list[TopicPartition]) -> None:
        """Close `consumer`, which holds these; returns within CLOSE_S seconds. May be repeated."""
        if self._is_under_way:
            return
        with contextlib.suppress(KafkaException):  # a fenced client says nothing else any more
            consumer.pause(held)
            consumer.consume(QUEUED, 0)
        self._is_under_way = True
        threading.Thread(target=self._close, args=(consumer,), daemon=True).start()
        self._is_over.wait(CLOSE_S)

    def _close(self, consumer: Consumer) -> None:
        try:
            consumer.close()
        except KafkaException as cause:  # nobody waits for this thread to raise
            error = translate(cause, doing="leaving the group")
            LOGGER.warning("%s: %s", error.code, error)
        finally:
            self._is_over.set()

    def hold_assignment(self) -> None:
        """Called in the callback: does not return when the client is closing, else does nothing."""
        if self._is_under_way:
            self._is_over.set()
            threading.Event().wait()
