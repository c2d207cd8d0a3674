"""Products for their consumers: broker, registry and tables, found by notices and the settings.

What opens a product is loaded, and what reads its data when that is asked for.
"""

from __future__ import annotations

import re
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headwater.adapters.kafka.follower import KafkaFollower
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.addresses import resolve
from headwater.assembly.subjects import value_subject
from headwater.assembly.table_formats import SnapshotTables
from headwater.errors import ReadRefusedError
from headwater.reader.product import Product, Sources

if TYPE_CHECKING:
    from headwater.config import Settings
    from headwater.contract import Contract
    from headwater.ports import RegisteredSchema, Registry


TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka allows
SHOWN: Final = 80  # letters of a name in a message


def product_of(
    topic: str, product: str, settings: Settings, *, is_announced: bool = True
) -> Product:
    """The product whose log is `topic`, under the newest contract that is registered.

    Its table is where the last notice says, else in the location of the settings; there alone
    unless `is_announced`. Addresses that are not set are those of the stack around here. The
    contract is fixed here and read when it is asked for. Raises what `open` does.
    """
    settings = resolve(settings)
    tables = SnapshotTables.of(settings, product)
    registry = SchemaRegistry(settings.registry)
    try:
        registered = _registered(topic, registry)
    except BaseException:
        registry.close()
        raise
    topics, configured = KafkaTopics(settings.kafka), tables.place(topic)

    @cache  # nobody is asked before the first table, and all tables of it are found at one place
    def place() -> str:
        if not is_announced:
            return configured
        from headwater.reader.place import table_place  # noqa: PLC0415  # loads Polars

        with closing(KafkaLogReader(settings.kafka)) as reader:
            notices = (topics, registry, reader)
            return table_place(product, topic, configured, notices=notices)

    return Product(
        lambda: _contract(topic, registered),
        Sources(
            topics=topics,
            registry=registry,
            open_table=lambda: tables.open_at(place(), topic),
            open_range_reader=lambda: KafkaLogReader(settings.kafka),
            open_follower=lambda: KafkaFollower(settings.kafka),
            close=registry.close,
        ),
    )


def _registered(topic: str, registry: Registry) -> RegisteredSchema:
    if not TOPIC_NAME.fullmatch(topic):
        raise ReadRefusedError(
            f"{topic[:SHOWN]!r} is no name of a product: letters, digits, dots, dashes and"
            f" underscores.",
            code="PRODUCT_UNKNOWN",
        )
    subject = value_subject(topic)
    found = registry.latest(subject)
    if found is None:
        raise ReadRefusedError(
            f"The registry knows no product {topic}: nothing is registered as {subject}. Check the"
            f" name, the output and the address of the registry.",
            code="PRODUCT_UNKNOWN",
        )
    return found


def _contract(topic: str, found: RegisteredSchema) -> Contract:
    from headwater.contract import registered_contract  # noqa: PLC0415  # loads Polars and Arrow

    path = Path(f"version {found.version} of {value_subject(topic)} in the registry")
    return registered_contract(found.schema, topic=topic, version=found.version or 0, path=path)
