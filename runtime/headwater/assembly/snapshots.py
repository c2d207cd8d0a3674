"""Snapshots of a product: its logs, its tables in one location, and the registry between them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from headwater.adapters.kafka.producer import KafkaTransactionalLog
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.announcing import Announcer
from headwater.assembly.input_days import InputDays
from headwater.assembly.open_letters import OpenLetters
from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import registered_ids
from headwater.assembly.subjects import key_schema_id, value_subject
from headwater.assembly.table_formats import DEFAULT, SnapshotTables
from headwater.config import Settings
from headwater.contract import Contract
from headwater.product import Snapshot
from headwater.product.snapshot import KEEP_MS, TARGET_BYTES
from headwater.snapshot.days import ClosedDays, closed_days
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.rows import RowCodec, contract_of
from headwater.snapshot.schema import snapshot_schema, snapshot_subject
from headwater.snapshot.upkeep import Upkeep, Upkept
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Progress, Snapshotter, Taken

QUIET: Final = {"log_level": "2"}  # critical: what fails here is told by an error


class Snapshots:
    """Takes and verifies the snapshots of every output of a product, until `close`.

    Each topic has a table of its own, `<location>/<topic>`; the location is that of the settings
    unless one is given. Tables in another one are copies: they are announced to nobody.
    """

    def __init__(
        self, loaded: LoadedProduct, settings: Settings, location: str | None = None
    ) -> None:
        self._loaded = loaded
        self._settings = settings
        self._tables = SnapshotTables.of(settings, loaded.name, location)
        self._registry = SchemaRegistry(settings.registry)
        self._topics = KafkaTopics(settings.kafka)
        self._reader = KafkaLogReader(settings.kafka)
        self._is_copy = location is not None
        self._announced: dict[str, int] = {}  # the version up to which each topic's table is
        self._letters = OpenLetters(loaded.name, self._topics, self._registry, self._reader)

    @property
    def product(self) -> str:
        """The product's name."""
        return self._loaded.name

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """The contract of every output, by topic."""
        return self._loaded.outputs

    def take(self, topic: str, progress: Progress) -> Taken:
        """Take what a topic published since its last snapshot, in the declared mode.

        See `Snapshotter.take` and `LatestSnapshotter.take`. Also raises what
        `SnapshotTables.open_as` does, DeclarationError (NOT_REGISTERED), RegistrationRefusedError,
        UnavailableError.
        """
        table = self._tables.open_as(topic, self._form)
        contract = self.contracts[topic]
        is_registering = self._settings.environment == "dev"
        ids = registered_ids(self._loaded, self._registry, is_registering=is_registering)[topic]
        self._registry.register(
            snapshot_subject(topic),
            snapshot_schema(
                contract, log_subject=value_subject(topic), divided_by=self._divided_by
            ),
            compatibility=contract.compatibility,
        )
        snapshotter = self._snapshotter(topic)(
            product=self._loaded.name,
            topic=topic,
            topics=self._topics,
            reader=self._reader,
            table=table,
            codec=RowCodec(
                contract, *ids, lookup=self._registry.schema, divided_by=self._divided_by
            ),
        )
        return snapshotter.take(progress)

    def announce(self, topic: str) -> int:
        """Announce the commits of a topic's table that no notice tells of; how many they were.

        See `Announcer.announce`. Once all of them are, nobody is asked before the next commit.
        """
        table = self._tables.open(topic)
        version = table.version()
        if self._is_copy or version is None or version == self._announced.get(topic):
            return 0
        announcer = Announcer(
            self._topics,
            self._registry,
            self._reader,
            self._notice_log,
            is_creating=self._settings.environment == "dev",
        )
        notices = announcer.announce(self._loaded.name, topic, table, self._form)
        self._announced[topic] = version
        return notices

    def keep_up(self, topic: str, beat: Callable[[], object]) -> Upkept | None:
        """Merge small files and take away what nobody needs, if that is due; see `Upkeep`.

        For behind the announcement: nobody waits for it to learn of a cut.
        """
        policy = self._loaded.product.snapshot
        target = policy.target_bytes if policy else TARGET_BYTES
        keep_ms = policy.keep_ms if policy else KEEP_MS
        return Upkeep(self._tables.open(topic), target, keep_ms, beat=beat).run_when_due()

    def _notice_log(self) -> KafkaTransactionalLog:
        transactional_id = f"{self._loaded.name}.snapshots"
        return KafkaTransactionalLog(
            {**QUIET, **self._settings.kafka}, transactional_id=transactional_id
        )

    def storage(self, topic: str) -> tuple[int, int]:
        """How many files the newest snapshot of a topic has, and how many bytes these are."""
        table = self._tables.open(topic)
        files = [] if table.version() is None else table.files()
        return len(files), sum(each.size or 0 for each in files)

    def days(self, topic: str) -> ClosedDays:
        """The days of a topic's newest snapshot; asks its whole history."""
        return closed_days(record for _, record in self._tables.open(topic).commits())

    def open_letters(self, progress: Progress) -> int:
        """How many dead letters of the product are open, as of now. Raises UnavailableError."""
        return self._letters.count(progress)

    def verify(
        self, topic: str, progress: Progress, *, full: bool, at: str | None = None
    ) -> Verdict:
        """Compare a topic's snapshot with its log; see `Verifier.verify`."""
        return self._verifier(topic, full=full).verify(progress, at=at)

    def verify_all(self, topic: str, progress: Progress, *, full: bool) -> list[Verdict]:
        """Compare every cut of a topic's snapshot with its log; see `Verifier.verify_all`."""
        return self._verifier(topic, full=full).verify_all(progress)

    def close(self) -> None:
        """Let go of the clients."""
        self._reader.close()
        self._registry.close()

    def _verifier(self, topic: str, *, full: bool) -> Verifier:
        return Verifier(
            topic=topic,
            topics=self._topics,
            reader=self._reader,
            open_table=lambda: self._tables.open(topic),
            codecs=lambda schema_id: self._codec(topic, schema_id),
            full=full,
        )

    @property
    def _form(self) -> str:
        policy = self._loaded.product.snapshot
        return policy.format if policy else DEFAULT

    def _snapshotter(self, topic: str) -> Callable[..., Snapshotter | LatestSnapshotter]:
        match self._loaded.product.snapshot:
            case Snapshot(mode="latest"):
                return LatestSnapshotter
            case Snapshot(mode="daily"):
                days = InputDays(self._loaded, self._topics)
                return partial(Snapshotter, closing=partial(days.closing, topic))
            case _:
                return Snapshotter

    @property
    def _divided_by(self) -> str | None:
        policy = self._loaded.product.snapshot
        return policy.divided_by if policy else None

    def _codec(self, topic: str, schema_id: int) -> RowCodec:
        """Under the contract as the registry holds it: the file may be newer than the snapshot."""
        contract = contract_of(self._registry.schema(schema_id), schema_id, topic)
        key_id = key_schema_id(contract, self._registry)
        return RowCodec(contract, schema_id, key_id, lookup=self._registry.schema)
