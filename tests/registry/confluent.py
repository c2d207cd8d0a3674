"""Confluent's client and serializers, the one way tests make them: bounded, and no question more.

Left alone, the client waits for ever, and the serializers first ask the registry which subject is
associated with the topic. Apicurio has no such page: now and then, in thousands, its "not found",
written from a worker's thread, is lost, and the answer never comes. The strategy by topic, which
they would fall back to, asks nothing.
"""

from typing import Any, Final

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer

ANSWER_S: Final = 10.0  # per try and far above what a busy machine needs; the default is for ever
BY_TOPIC: Final = {"subject.name.strategy.type": "TOPIC"}


def registry_client(url: str) -> SchemaRegistryClient:
    """Confluent's client of the registry at this address; the caller closes it."""
    return SchemaRegistryClient({"url": url, "timeout": ANSWER_S})


def serializer(client: SchemaRegistryClient, schema: str, **conf: Any) -> AvroSerializer:
    """Confluent's serializer; `conf` with underscores for dots. A strategy there comes first."""
    named = {name.replace("_", "."): value for name, value in conf.items()}
    made: AvroSerializer = AvroSerializer(client, schema, conf=BY_TOPIC | named)
    return made


def deserializer(client: SchemaRegistryClient, schema: str | None = None) -> AvroDeserializer:
    """Confluent's deserializer, to the writer's schema or to this one."""
    made: AvroDeserializer = AvroDeserializer(client, schema, conf=BY_TOPIC)
    return made
