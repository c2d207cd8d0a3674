"""A product of a test's own on the real broker, which reads copies of the year's sources."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import polars as pl
import pytest
from structlog.contextvars import clear_contextvars
from tests.topics.settled import settled

from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly import feed as feeding
from headwater.assembly import running
from headwater.assembly.feed import FeedOptions, feed
from headwater.assembly.flights import SOURCES, Source, data_directory
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.config import Settings
from headwater.contract import Decoder, load_contract
from headwater.flow import ROW

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"


class Trial:
    """A project below `root`, with names that no other test uses."""

    def __init__(self, root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.settings = root, settings
        self.name = uuid4().hex[:10]
        self.product = f"trial.p{self.name}"
        self.sources: dict[str, Source] = {}
        self._monkeypatch = monkeypatch

    def declare(self, text: str, output: str, inputs: Mapping[str, str]) -> None:
        """Write the project: a product that publishes PRODUCT under the contract `output`.

        `inputs`: of each word in `text` the source whose copy it stands for.
        """
        originals = {source.topic: source for source in SOURCES}
        for word, original in inputs.items():
            topic = f"trial.{word.lower()}{self.name}"
            self.sources[word] = replace(originals[original], topic=topic)
            contract = SCHEMAS / original.replace(".", "/") / "v1.avsc"
            self._write("schemas", topic, "v1.avsc", contract.read_text())
            text = text.replace(word, topic)
        self._write("schemas", self.product, "v1.avsc", output)
        text = text.replace("PRODUCT", self.product)
        self._write("products", self.product, "product.py", text)
        self._monkeypatch.setattr(feeding, "SOURCES", tuple(self.sources.values()))
        # the alarm of this process is pytest's
        self._monkeypatch.setattr(running, "bounded", lambda loaded, _seconds: loaded)

    def _write(self, folder: str, name: str, file: str, text: str) -> None:
        path = self.root / folder / name.replace(".", "/") / file
        path.parent.mkdir(parents=True)
        path.write_text(text)

    def read(self, word: str) -> pl.DataFrame:
        """What an input is fed with."""
        return self.sources[word].read(data_directory())

    def feed(self, partitions: int | None = None) -> None:
        """The year, into all inputs."""
        options = FeedOptions(partitions=partitions)
        for _ in feed(self.settings, self.root / "schemas", options, lambda *_: None):
            pass

    def run(self) -> Summary:
        """Run the product to the ends of now."""
        try:
            product = load_product(self.product)
            return run_product(product, self.settings, RunOptions(until_end=True))
        finally:
            clear_contextvars()

    def published(self) -> pl.DataFrame:
        """What a read_committed reader sees."""
        contract = load_contract(self.root / "schemas", self.product, 1)
        ends = settled(KafkaTopics(self.settings.kafka), self.product)
        with (
            closing(SchemaRegistry(self.settings.registry)) as registry,
            closing(KafkaLogReader(self.settings.kafka)) as reader,
        ):
            decoder = Decoder(contract, registry.schema)
            ranges = {partition: (0, end) for partition, end in ends.items()}
            parts = reader.read(ranges, max_records=20_000)
            return pl.concat([decoder.decode(each.values).frame.drop(ROW) for each in parts])
