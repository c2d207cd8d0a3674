"""Gates that open and close: what Confluent's serializers write, and what products make of it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from tests.cli import inside
from tests.registry.confluent import deserializer, registry_client, serializer
from tests.topics.settled import settled

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.embedded import Addresses
from headwater.model import Headers, RawRecord
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

Context = SerializationContext
LIMIT_S = 60  # for one command


class Airport:
    """A project below `folder`; `domain` is a domain nobody else uses."""

    def __init__(self, addresses: Addresses, folder: Path) -> None:
        self.addresses = addresses
        self.folder = folder
        self.domain = f"a{uuid4().hex[:10]}"
        self._clients: list[SchemaRegistryClient] = []
        self.topics = KafkaTopics({"bootstrap.servers": addresses.kafka})

    def schema(self, name: str, **more: Any) -> str:
        """A record of this full name: a gate, a number, and whatever else."""
        fields = [
            {"name": "gate", "type": "string", "doc": "Which."},
            {"name": "number", "type": "long", "doc": "How often."},
        ]
        record = {"type": "record", "name": f"{self.domain}.{name}", "key": "gate"}
        return json.dumps({**record, "fields": fields, **more})

    def contract(self, topic: str, name: str, version: int = 1, **more: Any) -> str:
        """Write the same as a contract; gives the topic's whole name."""
        full = f"{self.domain}.{topic}"
        file = self.folder / "schemas" / folder_of(full) / f"v{version}.avsc"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.schema(name, **more))
        return full

    def topic(self, name: str) -> str:
        """An empty input topic of one partition."""
        full = f"{self.domain}.{name}"
        self.topics.create([TopicSettings(full, 1, "log")])
        return full

    def product(self, name: str, body: str) -> str:
        """A product that `body` declares."""
        full = f"{self.domain}.{name}"
        file = self.folder / "products" / folder_of(full) / "product.py"
        file.parent.mkdir(parents=True)
        head = f'from headwater import DataProduct\nproduct = DataProduct("{full}", owner="me")\n'
        file.write_text(head + dedent(body))
        return full

    # -- Confluent's side ----------------------------------------------------------------------

    def serializer(self, url: str, schema: str, **conf: Any) -> AvroSerializer:
        """Confluent's serializer; `conf` with underscores for dots."""
        return serializer(self._client(url), schema, **conf)

    def send(self, topic: str, records: Sequence[tuple[AvroSerializer, Mapping[str, Any]]]) -> None:
        """Produce records through their serializers, headers included."""
        producer = Producer({"bootstrap.servers": self.addresses.kafka})
        for serialize, record in records:
            headers: list[Any] = []
            context = Context(topic, MessageField.VALUE, headers)
            value = serialize(dict(record), context)
            key = str(record["gate"]).encode()
            producer.produce(topic, value, key, headers=headers)
        assert producer.flush(20) == 0

    def read(self, topic: str, url: str) -> list[Any]:
        """What Confluent's deserializer makes of a topic."""
        read = deserializer(self._client(url))
        return [
            read(each.value, Context(topic, MessageField.VALUE, list(each.headers)))
            for each in self.records(topic)
        ]

    def _client(self, url: str) -> SchemaRegistryClient:
        self._clients.append(registry_client(url))
        return self._clients[-1]

    def close(self) -> None:
        """Let go of Confluent's clients."""
        for client in self._clients:
            client.close()

    # -- our side ------------------------------------------------------------------------------

    def command(self, *arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `headwater` in this process."""
        return inside.command(arguments, self.folder, self._settings(url))

    def process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `headwater` as a process: a refused start leaves what it opened to its end."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
        return subprocess.run(
            [sys.executable, "-m", "headwater", *arguments],
            cwd=self.folder,
            env={**inherited, **self._settings(None)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def _settings(self, url: str | None) -> dict[str, str]:
        return {
            "HEADWATER_KAFKA": self.addresses.kafka,
            "HEADWATER_REGISTRY": url or self.addresses.registry,
            "HEADWATER_ENVIRONMENT": "dev",
            "HEADWATER_INSTANCE": "w",
            "HEADWATER_SNAPSHOTS": str(self.folder / "lake"),
        }

    def run(self, product: str, *options: str, url: str | None = None) -> dict[str, Any]:
        """Run a product to the end of now; returns the summary it printed."""
        done = self.command("run", product, "--until-end", "--format", "json", *options, url=url)
        assert done.returncode == 0, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def records(self, topic: str) -> list[RawRecord]:
        """Every record a read_committed reader sees."""
        ends = settled(self.topics, topic)
        ranges = {p: (at, ends[p]) for p, at in self.topics.beginnings(topic).items()}
        with closing(KafkaLogReader({"bootstrap.servers": self.addresses.kafka})) as reader:
            batches = list(reader.read(ranges, max_records=1_000))
        return [records.raw(row) for records in batches for row in range(len(records))]

    def letters(self, product: str) -> list[tuple[str, bytes | None]]:
        """Code and value of each dead letter."""
        found = self.records(f"{product}.dead-letters")
        return [(_header(each.headers, "headwater.error.code"), each.value) for each in found]


def _header(headers: Headers, name: str) -> str:
    return next((value or b"").decode() for given, value in headers if given == name)
