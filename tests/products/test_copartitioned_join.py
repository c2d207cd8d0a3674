"""Observations with their airport and their own history, on the real broker, by partition."""

import json
import os
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from structlog.contextvars import clear_contextvars

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly import feed as module
from headwater.assembly import running
from headwater.assembly.feed import FeedOptions, feed
from headwater.assembly.flights import SOURCES, Source, airports, data_directory, observations
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, run_product
from headwater.config import Settings, load_settings
from headwater.contract import Decoder, load_contract
from headwater.embedded import Addresses
from headwater.flow import ROW

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "schemas"
PRODUCT = """
from headwater import DataProduct

product = DataProduct("trial.NAME", owner="weather@airport.example")
observations = product.stream("OBSERVATIONS", contract=1)
airports = product.table("AIRPORTS", contract=1)
history = product.table("HISTORY", contract=1, versioned=True)
named = observations.join(airports, on="origin", columns={"name": "name"})
again = named.join_asof(history, by="origin", within="1h", columns={"temp": "again"}, how="inner")
product.publish(again.select("origin", "observed_at", "temp", "again", "name"), contract=1)
"""
OPTIONAL = {"default": None, "doc": "As recorded."}
OUTPUT = {
    "type": "record",
    "name": "Named",
    "doc": "An observation.",
    "owner": "weather@airport.example",
    "key": "origin",
    "fields": [
        {"name": "origin", "type": "string", "doc": "Where."},
        {
            "name": "observed_at",
            "type": {"type": "long", "logicalType": "timestamp-millis"},
            "doc": "When.",
        },
        {"name": "temp", "type": ["null", "double"], **OPTIONAL},
        {"name": "again", "type": ["null", "double"], **OPTIONAL},
        {"name": "name", "type": ["null", "string"], **OPTIONAL},
    ],
}


class Year:
    """A project on the session's broker: observations, their history and the airports are fed."""

    def __init__(self, root: Path) -> None:
        name = uuid.uuid4().hex[:10]
        self.root = root
        self.product = f"trial.c{name}"
        self.sources = {
            "OBSERVATIONS": _copy("meteorology.observations", f"trial.o{name}"),
            "AIRPORTS": _copy("reference.airports", f"trial.a{name}"),
            "HISTORY": _copy("meteorology.observations", f"trial.h{name}"),
        }
        text = PRODUCT.replace("NAME", self.product.partition(".")[2])
        for word, (original, source) in self.sources.items():
            text = text.replace(word, source.topic)
            path = SCHEMAS / original.replace(".", "/") / "v1.avsc"
            self._write(source.topic, path.read_text())
        self._write(self.product, json.dumps(OUTPUT))
        file = root / "products" / self.product.replace(".", "/") / "product.py"
        file.parent.mkdir(parents=True)
        file.write_text(text)

    def _write(self, topic: str, contract: str) -> None:
        path = self.root / "schemas" / topic.replace(".", "/") / "v1.avsc"
        path.parent.mkdir(parents=True)
        path.write_text(contract)

    def published(self, settings: Settings) -> pl.DataFrame:
        """What a read_committed reader sees."""
        contract = load_contract(self.root / "schemas", self.product, 1)
        ends = KafkaTopics(settings.kafka).ends(self.product)
        with (
            closing(SchemaRegistry(settings.registry)) as registry,
            closing(KafkaLogReader(settings.kafka)) as reader,
        ):
            decoder = Decoder(contract, registry.schema)
            ranges = {partition: (0, end) for partition, end in ends.items()}
            parts = reader.read(ranges, max_records=20_000)
            return pl.concat([decoder.decode(each.values).frame.drop(ROW) for each in parts])


def _copy(topic: str, name: str) -> tuple[str, Source]:
    (source,) = (each for each in SOURCES if each.topic == topic)
    return topic, replace(source, topic=name)


def test_a_year_of_observations_finds_the_rows_of_their_partitions(
    stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is joined as a batch join does; the history of its airport holds itself."""
    environment = {"KAFKA": stack.kafka, "REGISTRY": stack.registry, "ENVIRONMENT": "dev"}
    for key, value in environment.items():
        monkeypatch.setenv(f"HEADWATER_{key}", value)
    monkeypatch.chdir(tmp_path)
    year = Year(tmp_path)
    settings = load_settings(tmp_path, dict(os.environ))
    monkeypatch.setattr(module, "SOURCES", tuple(source for _, source in year.sources.values()))
    # the alarm of this process is pytest's
    monkeypatch.setattr(running, "bounded", lambda loaded, _seconds: loaded)
    for _ in feed(settings, tmp_path / "schemas", FeedOptions(partitions=3), lambda *_: None):
        pass
    try:
        summary = run_product(load_product(year.product), settings, RunOptions(until_end=True))
    finally:
        clear_contextvars()
    directory = data_directory()
    stream, names = observations(directory), airports(directory).select(origin="faa", name="name")
    expected = stream.with_columns(again="temp").join(names, on="origin", how="left")
    found = year.published(settings)
    order = ["origin", "observed_at"]
    assert summary.read == stream.height == found.height
    assert found.sort(order).equals(expected.select(found.columns).sort(order))
    assert found["name"].null_count() == 0
