"""Topics and groups seen from outside the data path, through Kafka's admin protocol.

Every call ends within `CALL_S`; what Kafka says is translated here, once.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported unmarked
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from headwater.adapters.kafka.notes import note_of
from headwater.adapters.kafka.triage import configured
from headwater.clock import SYSTEM, Clock
from headwater.errors import HeadwaterError, StartRefusedError, UnavailableError
from headwater.model import Partition, Positions
from headwater.ports.log import Topics, TopicSettings

CALL_S: Final = 8.0  # seconds; a broker election takes 1-3 s, and no call may take more than 10
RETRY_S: Final = 0.05  # seconds between questions that the broker cannot answer yet
GRACE_S: Final = 1.0  # seconds more for the future: the client should report its own timeout first
QUIET: Final = 2  # syslog "critical": a broker away is told once, by our error, not on stderr
LOADING_S: Final = 0.1  # seconds between questions; a coordinator loads its groups in about one
BROKER_DEFAULT: Final = -1  # replication factor: the cluster's own

_DAY_MS: Final = 24 * 60 * 60 * 1000
_CREATE_TIME: Final = {"message.timestamp.type": "CreateTime"}  # publish time is the producer's

LOG_CONFIG: Final[Mapping[str, str]] = {
    **_CREATE_TIME,
    "cleanup.policy": "delete",
    "retention.ms": "-1",  # every event for ever
    "retention.bytes": "-1",
}
TABLE_CONFIG: Final[Mapping[str, str]] = {
    **_CREATE_TIME,
    "cleanup.policy": "compact",  # the last value per key
}
DEAD_LETTERS_CONFIG: Final[Mapping[str, str]] = {
    **_CREATE_TIME,
    "cleanup.policy": "delete",
    "retention.ms": str(30 * _DAY_MS),  # a month to repair and replay
    "retention.bytes": "-1",
}
CONFIGS: Final[Mapping[str, Mapping[str, str]]] = {
    "log": LOG_CONFIG,
    "source": LOG_CONFIG,
    "table": TABLE_CONFIG,
    "dead-letters": DEAD_LETTERS_CONFIG,
    "repartition": LOG_CONFIG,  # a stopped product must find what it has not read, however old
}
"""What a topic of each kind is created with, before `TopicSettings.config` is laid over it."""

ASKING: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "isolation.level": "read_uncommitted",  # read_committed would wait for pending transactions
}

_LOADING: Final = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
_AWAY: Final = _LOADING | frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
_MOVED: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""What the client knows of a partition's leader is old, or there is none yet: a restarted broker
answers so, and any broker for a topic just created."""
_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # bare in the library
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # bare in the library
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})

Result = TypeVar("Result")


def config_of(settings: TopicSettings) -> dict[str, str]:
    """The settings this topic is created with: those of its kind, then its own."""
    return {**CONFIGS[settings.kind], **settings.config}


def differences(settings: TopicSettings, config: Mapping[str, str]) -> list[str]:
    """Which settings in force differ from the wanted ones, one sentence part each.

    A source belongs to somebody else: only what `settings.config` asks for is compared.
    """
    wanted = settings.config if settings.kind == "source" else config_of(settings)
    return [
        f"{name} is {config.get(name, 'not set')}, expected {value}"
        for name, value in sorted(wanted.items())
        if _policies(config.get(name, "")) != _policies(value)
    ]


def check_topic(topics: Topics, settings: TopicSettings) -> list[str]:
    """How a topic differs from its settings: absence, partition count, settings in force."""
    partitions = topics.partitions(settings.name)
    if partitions is None:
        return [f"topic {settings.name} does not exist"]
    found = differences(settings, topics.config(settings.name))
    if partitions != settings.partitions:
        found.insert(0, f"it has {partitions} partitions, expected {settings.partitions}")
    return [f"topic {settings.name}: {difference}" for difference in found]


class KafkaTopics:
    """The `Topics` port over Kafka.

    `config` holds client properties, `bootstrap.servers` among them. Every method raises
    UnavailableError when the broker does not answer in time and StartRefusedError when it refuses
    (TOPIC_MISSING when the topic does not exist).
    """

    def __init__(self, config: Mapping[str, str], *, clock: Clock = SYSTEM) -> None:
        self._address = config.get("bootstrap.servers", "an unknown address")
        self._clock = clock
        self._trouble = _Trouble()
        self._properties: dict[str, Any] = {
            **config,
            "log_level": QUIET,
            "error_cb": self._trouble.remember,
        }
        self._admin = configured(lambda: AdminClient(self._properties))

    def partitions(self, topic: str) -> int | None:
        """The number of partitions; None when there is no such topic."""
        found = self._find(topic)
        return None if found is None else len(found.partitions)

    def topic_id(self, topic: str) -> str:
        """The broker's id of this incarnation of the topic."""
        return str(self._describe(topic).topic_id)

    def config(self, topic: str) -> Mapping[str, str]:
        """The topic's settings in force, the broker's defaults included."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        futures = self._admin.describe_configs([resource], request_timeout=CALL_S)
        entries = self._result(futures[resource], f"read the settings of topic {topic}")
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    def create(self, topics: Sequence[TopicSettings]) -> None:
        """Create those that do not exist; returns when the broker knows them all."""
        missing = [settings for settings in topics if self.partitions(settings.name) is None]
        if not missing:
            return
        wanted = [
            NewTopic(
                settings.name,
                num_partitions=settings.partitions,
                replication_factor=BROKER_DEFAULT,
                config=config_of(settings),
            )
            for settings in missing
        ]
        futures = self._admin.create_topics(
            wanted, operation_timeout=CALL_S, request_timeout=CALL_S
        )
        for name, future in futures.items():
            self._created(name, future)
        self._await([settings.name for settings in missing])

    def delete_before(self, positions: Positions) -> None:
        """Have the records before these positions deleted (KIP-107); not waited for.

        The loop must not stand still for it, and asks again with higher positions: an answer
        that says no changes nothing.
        """
        wanted = [TopicPartition(p.topic, p.index, before) for p, before in positions.items()]
        self._admin.delete_records(wanted, request_timeout=CALL_S)

    def beginnings(self, topic: str) -> Positions:
        """The first offset still in the log, per partition."""
        return self._offsets(topic, _EARLIEST)

    def ends(self, topic: str) -> Positions:
        """The read_committed end (last stable offset), per partition."""
        return self._offsets(topic, _LATEST)

    def high_watermarks(self, topic: str) -> Positions:
        """The high watermark, per partition."""
        return self._offsets(topic, _LATEST, IsolationLevel.READ_UNCOMMITTED)

    def at_time(self, topic: str, timestamp_ms: int) -> Positions:
        """The first offset at or after a publish time, per partition; the end where none is."""
        # The end is taken first: a record that arrives between the two questions is not skipped.
        ends = self.ends(topic)
        found = self._offsets(topic, OffsetSpec.for_timestamp(timestamp_ms))
        return {
            partition: end if found[partition] < 0 else found[partition]
            for partition, end in ends.items()
        }

    def group_offsets(self, group: str, topic: str) -> Positions:
        """Committed positions of a group on a topic; absent = none.

        A pending transaction is not waited for: the answer is what was committed before it.
        """
        return {p: offset for p, (offset, _) in self.group_standing(group, topic).items()}

    def group_standing(self, group: str, topic: str) -> Mapping[Partition, tuple[int, str]]:
        """The same positions, each with its note."""
        asked = [TopicPartition(topic, index) for index in range(self._count(topic))]
        # A consumer that never joins, because the admin client's own call kills the process while
        # the broker loads its groups (librdkafka#5040).
        consumer = Consumer({**self._properties, **ASKING, "group.id": group})
        try:
            found = self._committed(consumer, asked, f"read the positions of group {group}")
        finally:
            consumer.close()
        return {
            Partition(at.topic, at.partition): (at.offset, note_of(at))
            for at in found
            if at.offset >= 0
        }

    def _committed(
        self, consumer: Consumer, asked: list[TopicPartition], doing: str
    ) -> list[TopicPartition]:
        deadline_s = self._clock.monotonic() + CALL_S
        while True:
            try:
                return consumer.committed(asked, timeout=CALL_S)
            except KafkaException as error:
                # The client waits for a coordinator, but not for one that is not ready yet.
                if error.args[0].code() not in _LOADING or self._clock.monotonic() > deadline_s:
                    raise self._translated(error.args[0], doing) from error
                consumer.poll(LOADING_S)

    def _offsets(
        self,
        topic: str,
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        asked = {TopicPartition(topic, index): spec for index in range(self._count(topic))}
        doing = f"find offsets of {topic}"
        deadline_s = self._clock.monotonic() + CALL_S
        while True:
            futures = self._admin.list_offsets(
                asked, isolation_level=isolation, request_timeout=CALL_S
            )
            try:
                found = {
                    Partition(topic, at.partition): self._result(future, doing).offset
                    for at, future in futures.items()
                }
            except _NotYetError:
                # a topic just created has no leader for some milliseconds; the next try tells
                if self._clock.monotonic() > deadline_s:
                    raise
                self._admin.poll(RETRY_S)
                continue
            if OFFSET_INVALID in found.values():
                # a client that ran out of time answers so, without any error
                raise self._unavailable(doing)
            return found

    def _count(self, topic: str) -> int:
        return len(self._describe(topic).partitions)

    def _describe(self, topic: str) -> TopicDescription:
        found = self._find(topic)
        if found is None:
            raise StartRefusedError(
                f"Topic {topic} does not exist on {self._address}; create it, or check its name.",
                code="TOPIC_MISSING",
            )
        return found

    def _find(self, topic: str) -> TopicDescription | None:
        futures = self._admin.describe_topics(TopicCollection([topic]), request_timeout=CALL_S)
        future: Future[TopicDescription] = futures[topic]
        try:
            return self._result(future, f"describe topic {topic}")
        except _AbsentError:
            return None

    def _created(self, name: str, future: "Future[None]") -> None:
        try:
            self._result(future, f"create topic {name}")
        except StartRefusedError as refusal:
            # Another process was first: that is what we wanted.
            if refusal.code != "TOPIC_EXISTS":
                raise

    def _await(self, names: Sequence[str]) -> None:
        """Wait until the broker that answers us has heard of the topics from its controller."""
        deadline_s = self._clock.monotonic() + CALL_S
        while any(self.partitions(name) is None for name in names):
            if self._clock.monotonic() > deadline_s:
                raise UnavailableError(
                    f"Topics {', '.join(names)} were created on {self._address} but do not appear; "
                    f"look at the broker's log."
                )

    def _result(self, future: "Future[Result]", doing: str) -> Result:
        try:
            return future.result(timeout=CALL_S + GRACE_S)
        except KafkaException as error:
            raise self._translated(error.args[0], doing) from error
        except FutureTimeoutError as error:
            raise self._unavailable(doing) from error

    def _translated(self, error: KafkaError, doing: str) -> HeadwaterError:
        if error.code() in _AWAY:
            return self._unavailable(doing)
        if error.retriable() or error.code() in _MOVED:
            return _NotYetError(f"Could not {doing}: {error.str()}; try again in a moment.")
        if error.code() in _ABSENT:
            return _AbsentError(
                f"Could not {doing}: no such topic on {self._address}.", code="TOPIC_MISSING"
            )
        existed = error.code() == KafkaError.TOPIC_ALREADY_EXISTS
        return StartRefusedError(
            f"Could not {doing}: broker {self._address} answers {error.name()} ({error.str()}).",
            code="TOPIC_EXISTS" if existed else "KAFKA_REFUSED",
        )

    def _unavailable(self, doing: str) -> UnavailableError:
        self._admin.poll(0)  # brings the trouble, if the client has one to tell
        reason = f" ({self._trouble.last})" if self._trouble.last else ""
        return UnavailableError(
            f"Could not {doing}: no answer from the broker {self._address} within {CALL_S:g} s"
            f"{reason}; start it or check the address."
        )


class _Trouble:
    """The client's last complaint.

    It holds no client: the garbage collector would end one in a cycle, on any thread at any time.
    """

    def __init__(self) -> None:
        self.last = ""

    def remember(self, error: KafkaError) -> None:
        self.last = error.str()


class _NotYetError(UnavailableError):
    """The broker answers that it cannot say yet."""


class _AbsentError(StartRefusedError):
    """The broker says: no such topic."""


def _policies(value: str) -> frozenset[str]:
    """A setting as a set: `compact,delete` means the same in any order."""
    return frozenset(part.strip() for part in value.split(","))
