"""An input of a product that begins in its publisher's snapshot, found by the settings."""

from contextlib import closing

from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.project import LoadedProduct
from headwater.assembly.subjects import key_schema_id
from headwater.assembly.table_formats import SnapshotTables
from headwater.config import Settings
from headwater.contract import Encoder
from headwater.errors import ConfigurationError, Problem
from headwater.ports import Registry
from headwater.reader.backfill import Backfill, backfill_of
from headwater.snapshot.rows import contract_of


def open_backfill(loaded: LoadedProduct, topic: str, settings: Settings) -> Backfill:
    """The newest snapshot of an input, for a product that cannot begin in its log.

    Raises ConfigurationError (NOT_AN_INPUT) and what `backfill_of` does.
    """
    inputs = list(loaded.streams())
    if topic not in inputs:
        text = f"{loaded.name} reads no stream {topic}; it reads {', '.join(inputs)}"
        raise ConfigurationError([Problem("NOT_AN_INPUT", text)])
    with closing(SchemaRegistry(settings.registry)) as registry:
        return backfill_of(
            topic,
            loaded.name,
            SnapshotTables.of(settings, topic).open(topic),
            KafkaTopics(settings.kafka),
            lambda schema_id: _encoder(topic, schema_id, registry),
        )


def _encoder(topic: str, schema_id: int, registry: Registry) -> Encoder:
    """Of the schema that the publisher recorded, and of its composite key."""
    contract = contract_of(registry.schema(schema_id), schema_id, topic)
    return Encoder(contract, schema_id, key_schema_id=key_schema_id(contract, registry))
