"""One product becomes one running process: topics, schemas, tasks, loop.

Everything is checked here, before the first poll; the loop trusts it afterwards.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.adapters.kafka.follower import KafkaFollower
from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics, check_topic
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.checkpoints import checkpoints_of
from headwater.assembly.co_partitioning import co_partitioned, require_co_partitioning
from headwater.assembly.parking import in_order
from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import registered_ids
from headwater.assembly.release import release_of
from headwater.assembly.sandbox import ChildSandbox, Setting
from headwater.assembly.starting import start_policy
from headwater.assembly.state import changelogs, stores_on_disk
from headwater.assembly.tables import followed_tables, partitions_beside, require_tables
from headwater.assembly.tasks import TaskMaker
from headwater.assembly.workers import identity
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.config.rules import TIMEOUTS_MS
from headwater.config.settings import DeadLetterLimit
from headwater.engine import (
    BadRecordLimit,
    BadRecordWindow,
    CommitPolicy,
    DeadLetterTail,
    FollowedTables,
    LetterWriter,
    Loop,
    LoopSettings,
    Outside,
    Purging,
    Restoring,
    Start,
    StartPositions,
    StateSources,
)
from headwater.errors import StartRefusedError
from headwater.model import Partition, Positions
from headwater.ports import Monitor, RecordSource, TopicSettings
from headwater.reader.backfill import Backfill
from headwater.reader.backfill_source import BackfillSource

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
        start: Start | Backfill | None = None,
    ) -> None:
        self._backfill = start if isinstance(start, Backfill) else None
        self._loaded = loaded
        self._settings = settings
        self._is_dev = settings.environment == "dev"
        with ExitStack() as opened:  # a start that is refused leaves nothing open
            self._registry = opened.enter_context(closing(SchemaRegistry(settings.registry)))
            self._topics = KafkaTopics(settings.kafka)
            self.dead_letters: Final = f"{loaded.name}.dead-letters"
            self._partitions = self._input_partitions()
            require_co_partitioning(loaded, self._topics)
            self._repartitions = {t: self._moved_partitions(t) for t in loaded.repartitions}
            require_tables(loaded, self._topics, self._repartitions)
            self._prepare_topics()
            self._stores = stores_on_disk(loaded, settings.state_dir, self._topics)
            self._checkpoints = checkpoints_of(self._stores, settings)
            if self._checkpoints is not None:
                opened.enter_context(closing(self._checkpoints))
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
                repartitions=self._repartitions,
            )
            self.loop: Final = Loop(
                self._outside(telling, self._tables(maker, telling.monitor)),
                in_order(loaded, maker.tasks(), self._stores, telling.monitor),
                StartPositions(start_policy(loaded, start), self._topics, self._reader),
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
            self._opened = opened.pop_all()

    def targets(self) -> Positions:
        """The read_committed ends of the inputs as they are now; of a backfill its cut."""
        if self._backfill is not None:
            return self._backfill.cut
        ends: dict[Partition, int] = {}
        for topic in self._partitions:
            ends.update(self._topics.ends(topic))
        return ends

    def standing(self) -> Positions:
        """The group's committed positions, or the beginning where it has none yet."""
        found: dict[Partition, int] = {}
        for topic in self._partitions:
            found.update(self._topics.beginnings(topic))
            if self._backfill is not None and topic == self._backfill.topic:
                found.update(self._backfill.starts)
            found.update(self._topics.group_offsets(self._loaded.name, topic))
        return found

    def close(self) -> None:
        """Let go of what the loop does not close itself."""
        self._reader.close()
        self._opened.close()

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

    def _moved_partitions(self, repartition: str) -> int:
        """As many as there are; a new one has those of what is joined there, else of the inputs."""
        beside = partitions_beside(self._loaded, repartition, self._topics)
        for left, right in self._loaded.joined:
            if repartition in {left.topic, right.topic}:
                others = {left.topic, right.topic} - {repartition}
                beside = beside or self._topics.partitions(others.pop())
        return self._topics.partitions(repartition) or beside or max(self._partitions.values())

    def _own_topics(self) -> Iterator[TopicSettings]:
        most = max(self._partitions.values())
        for output in self._loaded.product.outputs:
            yield self._topic(output.topic, "log", most)
        yield self._topic(self.dead_letters, "dead-letters", most)
        for repartition in self._repartitions:
            yield self._topic(repartition, "repartition", self._repartitions[repartition])
        counts = {**self._partitions, **self._repartitions}
        for changelog, source in changelogs(self._loaded).items():
            yield TopicSettings(changelog, counts[source], "table")

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

    # -- data path -----------------------------------------------------------------------------

    def _tables(self, maker: TaskMaker, monitor: Monitor) -> FollowedTables | None:
        tables = self._loaded.product.tables
        if not tables:
            return None
        windows = {table.topic: _window(self._settings.dead_letters) for table in tables}
        return followed_tables(maker, KafkaFollower(self._settings.kafka), windows, monitor)

    def _outside(self, telling: Telling, tables: FollowedTables | None) -> Outside:
        settings = self._settings
        product = self._loaded.name
        own_id = identity(product, settings.instance)
        shared = {**settings.kafka, "statistics.interval.ms": STATISTICS_MS}
        source: RecordSource = KafkaSource(
            shared, group=product, member=own_id, on_statistics=telling.on_statistics
        )
        if self._backfill is not None:
            source = BackfillSource(source, self._backfill)
        log = KafkaTransactionalLog(
            shared, transactional_id=own_id, on_statistics=telling.on_statistics
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
        sources = StateSources(self._topics, self._reader, self._checkpoints, tables)
        restoring = Restoring(self._stores, sources, SYSTEM)
        return Outside(
            source,
            log,
            telling.monitor,
            SYSTEM,
            tail,
            sandbox,
            restoring,
            Purging(self._topics, self._loaded.repartitions, SYSTEM),
            tables,
            co_partitioned(self._loaded),
        )


def _window(limit: DeadLetterLimit) -> BadRecordWindow:
    codes = {code: BadRecordLimit(**dict(own)) for code, own in limit.codes.items()}
    return BadRecordWindow(BadRecordLimit(limit.share, limit.window, limit.at_least), codes)


def _transaction_timeout_s(settings: Settings) -> float:
    name = "transaction.timeout.ms"
    return int(settings.kafka.get(name, TIMEOUTS_MS[name])) / 1000
