"""Which client properties may not be overridden, and which timeouts fit together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from headwater.errors import Problem

OWNED: Final[Mapping[str, str]] = {
    "group.id": "the group is the product's name",
    "group.instance.id": "it is made of product, instance and worker; set `instance`",
    "transactional.id": "it is made of product, instance and worker; set `instance`",
    "auto.offset.reset": "where to begin is declared per stream: start=...",
    "metadata.broker.list": "write bootstrap.servers",
    "delivery.timeout.ms": "write message.timeout.ms",
    "plugin.library.paths": "it loads foreign code into the process",
    "partitioner": "keys must land on the same partition for ever: murmur2_random",
}
"""Kafka properties that are Headwater's alone, with the reason."""

SAFE_VALUES: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "enable.auto.commit": (
        frozenset({"false"}),
        "positions would be committed outside the transaction",
    ),
    "enable.auto.offset.store": (
        frozenset({"false"}),
        "positions would be committed outside the transaction",
    ),
    "isolation.level": (
        frozenset({"read_committed"}),
        "aborted records of others would be processed",
    ),
    "enable.idempotence": (frozenset({"true"}), "retries would publish twice"),
    "acks": (frozenset({"all", "-1"}), "an acknowledged record could be lost"),
    "request.required.acks": (frozenset({"all", "-1"}), "an acknowledged record could be lost"),
    "check.crcs": (frozenset({"true"}), "corrupted records would pass as valid"),
    "enable.partition.eof": (frozenset({"true"}), "the end of a log would go unnoticed"),
    "partition.assignment.strategy": (
        frozenset({"range"}),
        "a rebalance is taken as a whole: all partitions go, then some come",
    ),
    "group.protocol": (
        frozenset({"classic"}),
        "a rebalance is taken as a whole, and members are static",
    ),
    "allow.auto.create.topics": (
        frozenset({"false"}),
        "a topic would appear with the broker's settings",
    ),
}
"""Kafka properties that have safe values only; anything else breaks a promise."""

DEV_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "enable.ssl.certificate.verification": frozenset({"false"}),
    "ssl.endpoint.identification.algorithm": frozenset({"none"}),
}
"""Values that let anyone pose as the broker: for a laptop only."""

REGISTRY_OWNED: Final[Mapping[str, str]] = {
    "timeout": "every call to the registry is bounded by Headwater",
    "max.retries": "every call to the registry is bounded by Headwater",
    "retries.wait.ms": "every call to the registry is bounded by Headwater",
    "retries.max.wait.ms": "every call to the registry is bounded by Headwater",
}
"""Registry properties that are Headwater's alone, with the reason."""

TIMEOUTS_MS: Final[Mapping[str, int]] = {
    "transaction.timeout.ms": 10_000,  # a dead process blocks its successors this long
    "message.timeout.ms": 8_000,  # gives up before its transaction does
    "socket.timeout.ms": 5_000,  # half the transaction: one retry fits
    "max.poll.interval.ms": 60_000,  # longer than any batch takes
    "session.timeout.ms": 12_000,  # a stalled process loses its partitions after this
    "heartbeat.interval.ms": 3_000,  # three chances within the session and one to spare
}
"""The timeouts of the Kafka clients where none are set, milliseconds."""

LONGEST_INTERVAL_SHARE: Final = 0.5  # of the transaction timeout: leaves half for the commit
LONGEST_STEP_SHARE: Final = 0.5  # of the poll interval: leaves half for the rest of the batch


@dataclass(frozen=True, slots=True)
class Order:
    """`shorter * times` must not exceed `longer`."""

    shorter: str
    longer: str
    reason: str
    times: int = 1


ORDERS: Final = (
    Order(
        "message.timeout.ms",
        "transaction.timeout.ms",
        "a record could outlive its transaction",
    ),
    Order(
        "socket.timeout.ms",
        "transaction.timeout.ms",
        "one lost request would use up the transaction",
    ),
    Order(
        "session.timeout.ms",
        "max.poll.interval.ms",
        "a stalled loop would be noticed before a dead process",
    ),
    Order(
        "heartbeat.interval.ms",
        "session.timeout.ms",
        "one lost heartbeat would cost the partitions",
        times=3,
    ),
)


def kafka_problems(kafka: Mapping[str, str], *, is_dev: bool) -> Iterator[tuple[str, Problem]]:
    """What is unsafe among Kafka properties, each with its property's name."""
    for name, value in kafka.items():
        text = value.strip().lower()
        if name in OWNED:
            yield name, _unsafe(name, f"cannot be set: {OWNED[name]}")
        elif name in SAFE_VALUES and text not in SAFE_VALUES[name][0]:
            allowed = " or ".join(sorted(SAFE_VALUES[name][0]))
            yield name, _unsafe(name, f"must stay {allowed}: {SAFE_VALUES[name][1]}")
        elif text in DEV_ONLY.get(name, ()) and not is_dev:
            yield name, _unsafe(name, f"may be {text} only with environment = 'dev'")


def registry_problems(registry: Mapping[str, str]) -> Iterator[tuple[str, Problem]]:
    """What is unsafe among registry properties, each with its property's name."""
    for name in registry.keys() & REGISTRY_OWNED.keys():
        yield name, _unsafe(name, f"cannot be set: {REGISTRY_OWNED[name]}")
    url = registry.get("url", "")
    if url and not all(part.strip().startswith(("http://", "https://")) for part in url.split(",")):
        yield "url", Problem("BAD_VALUE", "url: begin with http:// or https://")


def timeout_problems(
    kafka: Mapping[str, str], commit_interval_ms: float
) -> Iterator[tuple[str, Problem]]:
    """Which timeouts do not fit together, each with the property to change."""
    times: dict[str, int] = dict(TIMEOUTS_MS)
    for name in TIMEOUTS_MS.keys() & kafka.keys():
        try:
            times[name] = int(kafka[name])
        except ValueError:
            yield name, Problem("BAD_VALUE", f"{name}: write whole milliseconds")
    for order in ORDERS:
        if times[order.shorter] * order.times > times[order.longer]:
            at_most = f"a third of {order.longer}" if order.times > 1 else order.longer
            yield (
                order.shorter if order.shorter in kafka else order.longer,
                _inconsistent(
                    f"{order.shorter} ({times[order.shorter]}) must be at most {at_most} "
                    f"({times[order.longer]}): {order.reason}"
                ),
            )
    if commit_interval_ms > times["transaction.timeout.ms"] * LONGEST_INTERVAL_SHARE:
        yield (
            "transaction.timeout.ms",
            _inconsistent(
                f"commit_interval ({commit_interval_ms:g} ms) must be at most half of "
                f"transaction.timeout.ms ({times['transaction.timeout.ms']}): "
                "no time would be left to commit"
            ),
        )


def step_problem(kafka: Mapping[str, str], step_timeout_ms: float) -> Problem | None:
    """What is wrong with the bound of a step, if anything."""
    name = "max.poll.interval.ms"
    try:
        interval_ms = int(kafka.get(name, TIMEOUTS_MS[name]))
    except ValueError:
        return None  # told of the property itself
    if step_timeout_ms <= interval_ms * LONGEST_STEP_SHARE:
        return None
    return _inconsistent(
        f"step_timeout ({step_timeout_ms:g} ms) must be at most half of {name} ({interval_ms}): "
        "the group would give the partitions away before a step that does not come back is ended"
    )


def _unsafe(name: str, sentence: str) -> Problem:
    return Problem("UNSAFE_SETTING", f"{name} {sentence}")


def _inconsistent(sentence: str) -> Problem:
    return Problem("INCONSISTENT_TIMEOUTS", sentence)
