"""One product becomes one running process: topics, schemas, tasks, loop.

Everything is checked here, before the first poll; the loop trusts it afterwards.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.adapters.kafka.follower import KafkaFollower
from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics, check_topic
from headwater.adapters.registry import SchemaRegistry
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.assembly.parking import in_order, parked_changelogs, parked_stores
from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import registered_ids
from headwater.assembly.release import release_of
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.assembly.state import changelogs, stores_of
from headwater.assembly.tables import broadcast_tables, require_tables
from headwater.assembly.tasks import TaskMaker
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.config.rules import TIMEOUTS_MS
from headwater.config.settings import DeadLetterLimit
from headwater.engine import (
    BadRecordLimit,
    BadRecordWindow,
    BroadcastTables,
    CommitPolicy,
    DeadLetterTail,
    LetterWriter,
    Loop,
    LoopSettings,
    Outside,
    Restoring,
    Start,
    StartPolicy,
    StartPositions,
    Stores,
)
from headwater.errors import StartRefusedError
from headwater.model import Partition, Positions
from headwater.ports import Monitor, TopicSettings
from headwater.product import Stream

WORKER: Final = 0  # one worker per process; in the id so that more can come without a new id
STATE_BYTES: Final = 64 << 20  # of RocksDB, all stores of the process: buffers and blocks
STATISTICS_MS: Final = 1_000  # how often librdkafka tells: lag is as old as this at most


@dataclass(frozen=True, slots=True)
class Telling:
    """Who hears of the loop, and of librdkafka's statistics (JSON text)."""

    monitor: Monitor
    on_statistics: Callable[[str], None]


class Processor:
    """One product, checked and ready to run. `loop` runs it; `targets` are the ends of now."""

    def __init__(
        self,
        loaded: LoadedProduct,
        settings: Settings,
        telling: Telling,
        *,
        is_registering: bool = False,
        start: Start | None = None,
    ) -> None:
        self._loaded = loaded
        self._settings = settings
        self._is_dev = settings.environment == "dev"
        self._registry = SchemaRegistry(settings.registry)
        self._topics = KafkaTopics(settings.kafka)
        self.dead_letters: Final = f"{loaded.name}.dead-letters"
        self._partitions = self._input_partitions()
        self._changelogs = {**changelogs(loaded), **parked_changelogs(loaded)}
        require_tables(loaded, self._topics)
        self._prepare_topics()
        self._stores = self._stores_on_disk()
        self._ids = registered_ids(
            loaded, self._registry, is_registering=is_registering or self._is_dev
        )
        letters = LetterWriter(self.dead_letters, release_of(loaded.root, settings))
        maker = TaskMaker(
            loaded,
            self._ids,
            self._registry,
            self._topics,
            letters,
            settings.on_incompatible,
            stores=self._stores,
        )
        self.loop: Final = Loop(
            self._outside(telling, self._tables(maker)),
            in_order(loaded, maker.tasks(), self._stores, telling.monitor),
            StartPositions(self._start_policy(start), self._topics),
            window=_window(settings.dead_letters),
            settings=LoopSettings(
                policy=CommitPolicy(interval_s=settings.commit_interval.total_seconds()),
                poll_size=settings.poll_size,
                batch_bytes=settings.batch_bytes,
                step_timeout_s=settings.step_timeout.total_seconds(),
                outage_limit_s=settings.outage_limit.total_seconds(),
                transaction_timeout_s=_transaction_timeout_s(settings),
                on_incompatible=settings.on_incompatible,
            ),
        )

    def targets(self) -> Positions:
        """The read_committed ends of the inputs as they are now."""
        ends: dict[Partition, int] = {}
        for topic in self._partitions:
            ends.update(self._topics.ends(topic))
        return ends

    def standing(self) -> Positions:
        """The group's committed positions, or the beginning where it has none yet."""
        found: dict[Partition, int] = {}
        for topic in self._partitions:
            found.update(self._topics.beginnings(topic))
            found.update(self._topics.group_offsets(self._loaded.name, topic))
        return found

    def close(self) -> None:
        """Let go of what the loop does not close itself."""
        self._reader.close()
        self._registry.close()

    # -- topics --------------------------------------------------------------------------------

    def _input_partitions(self) -> dict[str, int]:
        found = {s.topic: self._topics.partitions(s.topic) for s in self._loaded.product.inputs}
        missing = [topic for topic, count in found.items() if count is None]
        if missing:
            raise StartRefusedError(
                f"there is no topic {', '.join(missing)} to read; start the product that "
                "publishes it, or check the name",
                code="TOPIC_MISSING",
            )
        return {topic: count for topic, count in found.items() if count is not None}

    def _own_topics(self) -> Iterator[TopicSettings]:
        most = max(self._partitions.values())
        for output in self._loaded.product.outputs:
            yield self._topic(output.topic, "log", most)
        yield self._topic(self.dead_letters, "dead-letters", most)
        for changelog, source in self._changelogs.items():
            yield TopicSettings(changelog, self._partitions[source], "table")

    def _topic(self, name: str, kind: Any, most: int) -> TopicSettings:
        # an existing count is right: it is frozen, and the loop checks it against what it recorded
        return TopicSettings(name, self._topics.partitions(name) or most, kind)

    def _prepare_topics(self) -> None:
        own = list(self._own_topics())
        if self._is_dev:
            self._topics.create(own)
        wrong = [difference for topic in own for difference in check_topic(self._topics, topic)]
        if wrong:
            raise StartRefusedError(
                "; ".join(wrong) + "; create or alter the topics so, then start again",
                code="TOPIC_SETTINGS",
            )

    def _stores_on_disk(self) -> Stores:
        """At `<state_dir>/<output>/<step>/<task>/`."""
        memory, directory = RocksDbMemory(STATE_BYTES), self._settings.state_dir

        def local(output: str, step: str) -> RocksDbStores:
            return RocksDbStores(directory / output / step, memory)

        steps = stores_of(self._loaded, local, self._topics.topic_id)
        return Stores([*steps.held, *parked_stores(self._loaded, local, self._topics.topic_id)])

    # -- data path -----------------------------------------------------------------------------

    def _tables(self, maker: TaskMaker) -> BroadcastTables | None:
        tables = self._loaded.product.tables
        if not tables:
            return None
        windows = {table.topic: _window(self._settings.dead_letters) for table in tables}
        return broadcast_tables(maker, KafkaFollower(self._settings.kafka), windows)

    def _outside(self, telling: Telling, tables: BroadcastTables | None) -> Outside:
        settings = self._settings
        product = self._loaded.name
        identity = f"{product}.{settings.instance}.{WORKER}"
        shared = {**settings.kafka, "statistics.interval.ms": STATISTICS_MS}
        source = KafkaSource(
            shared, group=product, member=identity, on_statistics=telling.on_statistics
        )
        log = KafkaTransactionalLog(
            shared, transactional_id=identity, on_statistics=telling.on_statistics
        )
        self._reader = KafkaLogReader(settings.kafka)
        tail = DeadLetterTail(self.dead_letters, self._reader, self._topics)
        sandbox = ChildSandbox(
            Setting(
                self._loaded.file,
                self._ids,
                self._registry,
                settings.step_timeout.total_seconds(),
                self._loaded.tables,
            )
        )
        restoring = Restoring(self._stores, self._topics, self._reader, SYSTEM)
        return Outside(source, log, telling.monitor, SYSTEM, tail, sandbox, restoring, tables)

    def _start_policy(self, explicit: Start | None) -> StartPolicy:
        product = self._loaded.product
        return StartPolicy(
            group=product.name,
            inputs={stream.topic: _start(stream) for stream in product.inputs},
            outputs=[output.topic for output in product.outputs],
            explicit=explicit,
            changelogs=list(self._changelogs),
        )


def _window(limit: DeadLetterLimit) -> BadRecordWindow:
    codes = {code: BadRecordLimit(**dict(own)) for code, own in limit.codes.items()}
    return BadRecordWindow(BadRecordLimit(limit.share, limit.window, limit.at_least), codes)


def _transaction_timeout_s(settings: Settings) -> float:
    name = "transaction.timeout.ms"
    return int(settings.kafka.get(name, TIMEOUTS_MS[name])) / 1000


def _start(stream: Stream) -> Start:
    if stream.start_ms is not None:
        return stream.start_ms
    return "latest" if stream.start == "latest" else "earliest"
