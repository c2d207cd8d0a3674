"""Snapshots of a product: its logs, its tables in a directory, and the registry between them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.project import LoadedProduct
from headwater.assembly.registration import registered_ids
from headwater.assembly.subjects import key_subject
from headwater.config import Settings
from headwater.contract import Contract, registered_contract
from headwater.ports import Table
from headwater.product.snapshot import KEEP_MS, TARGET_BYTES
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.schema import snapshot_schema, snapshot_subject
from headwater.snapshot.upkeep import Upkeep
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Progress, Snapshotter, Taken

UNVERSIONED: Final = 0  # a contract that only the registry knows any more


class Snapshots:
    """Takes and verifies the snapshots of every output of a product, until `close`.

    Each topic has a table of its own, `<directory>/<topic>`; the directory is that of the settings
    unless one is given.
    """

    def __init__(
        self, loaded: LoadedProduct, settings: Settings, directory: Path | None = None
    ) -> None:
        self._loaded = loaded
        self._settings = settings
        self._directory = settings.snapshots if directory is None else directory
        self._registry = SchemaRegistry(settings.registry)
        self._topics = KafkaTopics(settings.kafka)
        self._reader = KafkaLogReader(settings.kafka)

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

        Then upkeep, if it is due. See `Snapshotter.take`, `LatestSnapshotter.take` and `Upkeep`.
        Also raises DeclarationError (NOT_REGISTERED), RegistrationRefusedError, UnavailableError.
        """
        table = self._table(topic)
        contract = self.contracts[topic]
        is_registering = self._settings.environment == "dev"
        ids = registered_ids(self._loaded, self._registry, is_registering=is_registering)[topic]
        self._registry.register(
            snapshot_subject(topic), snapshot_schema(contract), compatibility=contract.compatibility
        )
        taken = self._snapshotter()(
            product=self._loaded.name,
            topic=topic,
            topics=self._topics,
            reader=self._reader,
            table=table,
            codec=RowCodec(contract, *ids, lookup=self._registry.schema),
        ).take(progress)
        return replace(taken, upkeep=self._upkeep(table).run_when_due())

    def verify(self, topic: str, progress: Progress, *, full: bool) -> Verdict:
        """Compare a topic's snapshot with its log; see `Verifier.verify`."""
        return Verifier(
            topic=topic,
            topics=self._topics,
            reader=self._reader,
            open_table=lambda: self._table(topic),
            codecs=lambda schema_id: self._codec(topic, schema_id),
            full=full,
        ).verify(progress)

    def close(self) -> None:
        """Let go of the clients."""
        self._reader.close()
        self._registry.close()

    def _snapshotter(self) -> type[Snapshotter] | type[LatestSnapshotter]:
        policy = self._loaded.product.snapshot
        return LatestSnapshotter if policy and policy.mode == "latest" else Snapshotter

    def _upkeep(self, table: Table) -> Upkeep:
        policy = self._loaded.product.snapshot
        if policy is None:
            return Upkeep(table, TARGET_BYTES, KEEP_MS)
        return Upkeep(table, policy.target_bytes, policy.keep_ms)

    def _table(self, topic: str) -> DeltaSnapshotTable:
        directory = (self._directory / topic).absolute()
        return DeltaSnapshotTable(directory, product=self._loaded.name, topic=topic)

    def _codec(self, topic: str, schema_id: int) -> RowCodec:
        """Under the contract as the registry holds it: the file may be newer than the snapshot."""
        text = self._registry.schema(schema_id)
        path = Path(f"schema {schema_id} of the registry")
        contract = registered_contract(text, topic=topic, version=UNVERSIONED, path=path)
        key = self._registry.latest(key_subject(topic)) if len(contract.key) > 1 else None
        key_id = None if key is None else key.schema_id
        return RowCodec(contract, schema_id, key_id, lookup=self._registry.schema)
