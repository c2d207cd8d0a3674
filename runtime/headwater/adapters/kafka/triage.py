"""Foreign errors become ours at the door, once, most severe first.

The order is librdkafka's own advice for transactions (`INTRODUCTION.md`, "Transactional producer"):
fatal, then abort, then retry; an error of no class is treated as fatal to the client.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeVar, cast

from confluent_kafka import KafkaError, KafkaException

from headwater.errors import (
    AbortableError,
    ConfigurationError,
    FatalError,
    FencedError,
    HeadwaterError,
    Problem,
    RecycleError,
    RetriableError,
    StartRefusedError,
    UnavailableError,
)

FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
GONE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
CORRUPT: Final = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})
AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        # a restarted broker answers so for some seconds
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
PASSING: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._MAX_POLL_EXCEEDED,
    }
)
"""Errors a consumer mends by itself; they come as messages and are no reason to stop.

That all brokers are down is none of them: it is all that an idle process learns of an outage.
"""
REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.UNSUPPORTED_VERSION,
    }
)


T = TypeVar("T")

LOGGER: Final = logging.getLogger("headwater.kafka")
"""Where the clients log; librdkafka writes to stderr otherwise."""


def configured(make: Callable[[], T]) -> T:
    """A client made of the properties of the settings. Raises ConfigurationError."""
    try:
        return make()
    except KafkaException as cause:
        text = f"kafka: {kafka_error(cause).str()}"
        raise ConfigurationError([Problem("BAD_CLIENT_PROPERTY", text)]) from cause


class OtherKindFilter(logging.Filter):
    """Takes out the warning that a property is for the other kind of client: both get them all."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to keep the line."""
        text = record.getMessage()
        return not (text.startswith("CONFWARN") and "will be ignored by this" in text)


LOGGER.addFilter(OtherKindFilter())


def kafka_error(cause: KafkaException | KafkaError) -> KafkaError:
    """The KafkaError inside an exception."""
    if isinstance(cause, KafkaError):
        return cause
    return cast("KafkaError", cause.args[0])


def translate(cause: KafkaException | KafkaError, *, doing: str) -> HeadwaterError:
    """Our error for a client's, with what was being done when it came."""
    error = kafka_error(cause)
    text = f"while {doing}: {error.str()} ({error.name()})"
    code = error.code()
    is_fatal = error.fatal() or code == KafkaError._FATAL
    if code in FENCED or (is_fatal and "fenced" in error.str().lower()):
        # a fenced static member comes as plain _FATAL: only its text tells
        return FencedError(
            f"another process uses this id ({text}); stop it, or give this one its own "
            "HEADWATER_INSTANCE"
        )
    if code in REFUSED:
        return StartRefusedError(
            f"the broker refuses {text}; check credentials and ACLs", code="NOT_AUTHORIZED"
        )
    if code in GONE:
        return StartRefusedError(
            f"the position is no longer in the log ({text}); an operator must decide where "
            "to go on",
            code="DATA_LOSS",
        )
    if code in CORRUPT:
        return FatalError(
            f"a record on the wire is corrupt ({text}); nothing of it was published",
            code="CORRUPT_RECORD",
        )
    return _by_consequence(error, text)


def _by_consequence(error: KafkaError, text: str) -> HeadwaterError:
    if error.fatal():
        return RecycleError(text)
    if error.txn_requires_abort():
        return AbortableError(text)
    if error.code() == KafkaError._CONFLICT:
        # an earlier call timed out and is still under way: it may be called again, nothing else
        return RecycleError(text)
    if error.code() in AWAY:
        return UnavailableError(f"the broker does not answer {text}")
    if error.retriable():
        return RetriableError(text)
    return RecycleError(text)
