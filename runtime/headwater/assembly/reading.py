"""Products for their consumers: broker, registry and tables, found by notices and the settings."""

from contextlib import closing
from functools import cache
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
from headwater.reader.place import table_directory
from headwater.reader.product import Product, Sources


def product_of(
    topic: str, product: str, settings: Settings, *, is_announced: bool = True
) -> Product:
    """The product whose log is `topic`, under the newest contract that is registered.

    Its table is where the last notice says, else below the directory of the settings; there alone
    unless `is_announced`. Addresses that are not set are those of the stack around here. Raises
    what `open` does.
    """
    settings = resolve(settings)
    tables = SnapshotTables.of(settings, product)
    registry = SchemaRegistry(settings.registry)
    try:
        contract = _contract(topic, registry)
    except BaseException:
        registry.close()
        raise
    topics, configured = KafkaTopics(settings.kafka), (settings.snapshots / topic).absolute()

    @cache  # nobody is asked before the first table, and all tables of it are found at one place
    def directory() -> Path:
        if not is_announced:
            return configured
        with closing(KafkaLogReader(settings.kafka)) as reader:
            notices = (topics, registry, reader)
            return table_directory(product, topic, configured, notices=notices)

    return Product(
        contract,
        Sources(
            topics=topics,
            registry=registry,
            open_table=lambda: tables.open_at(directory(), topic),
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
