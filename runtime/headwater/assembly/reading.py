"""Products for their consumers: broker, registry and tables, found by the settings."""

from pathlib import Path

from headwater.adapters.kafka.follower import KafkaFollower
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.addresses import resolve
from headwater.assembly.subjects import value_subject
from headwater.assembly.table_formats import SnapshotTables
from headwater.config import Settings
from headwater.contract import Contract, registered_contract
from headwater.errors import ReadRefusedError
from headwater.ports import Registry
from headwater.reader.product import Product, Sources


def product_of(topic: str, product: str, settings: Settings) -> Product:
    """The product whose log is `topic`, under the newest contract that is registered.

    Addresses that are not set are those of the stack around here. Raises what `open` does.
    """
    settings = resolve(settings)
    tables = SnapshotTables.of(settings, product)
    registry = SchemaRegistry(settings.registry)
    try:
        contract = _contract(topic, registry)
    except BaseException:
        registry.close()
        raise
    return Product(
        contract,
        Sources(
            topics=KafkaTopics(settings.kafka),
            registry=registry,
            open_table=lambda: tables.open(topic),
            open_range_reader=lambda: KafkaLogReader(settings.kafka),
            open_follower=lambda: KafkaFollower(settings.kafka),
            close=registry.close,
        ),
    )


def _contract(topic: str, registry: Registry) -> Contract:
    subject = value_subject(topic)
    found = registry.latest(subject)
    if found is None:
        raise ReadRefusedError(
            f"The registry knows no product {topic}: nothing is registered as {subject}. Check the"
            f" name, the output and the address of the registry.",
            code="PRODUCT_UNKNOWN",
        )
    path = Path(f"version {found.version} of {subject} in the registry")
    return registered_contract(found.schema, topic=topic, version=found.version or 0, path=path)
