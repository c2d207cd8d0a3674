"""The weather of a year in daily windows on the real broker, against a batch computation."""

import os
import shutil
import uuid
from collections.abc import Iterator
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
from headwater.assembly.flights import SOURCES, Source, data_directory
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.config import Settings, load_settings
from headwater.contract import Decoder, load_contract
from headwater.embedded import Addresses
from headwater.flow import ROW

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "schemas"
PRODUCT = """
from headwater import DataProduct, aggregates, tumbling

product = DataProduct("PRODUCT", owner="meteorology@airport.example")
days = product.stream("SOURCE", contract=1).group_by("origin").window(tumbling("1d"))
product.publish(
    days.agg(hours=aggregates.count(), warmest=aggregates.max("temp")).map(
        lambda frame: frame.drop("window_end")
    ),
    contract=1,
)
"""
OUTPUT = """{"type": "record", "name": "Day", "doc": "The weather of a day.",
 "owner": "meteorology@airport.example", "key": "origin", "eventTime": "window_start", "fields": [
 {"name": "origin", "type": "string", "doc": "The airport."},
 {"name": "window_start", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "."},
 {"name": "hours", "type": "long", "doc": "Observations."},
 {"name": "warmest", "type": ["null", "double"], "default": null, "unit": "F", "doc": "Most."}]}"""


class Weather:
    """A project of its own on the session's broker."""

    def __init__(self, stack: Addresses, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = uuid.uuid4().hex[:10]
        self.root, self.product, topic = root, f"trial.w{name}", f"trial.o{name}"
        monkeypatch.setenv("HEADWATER_KAFKA", stack.kafka)
        monkeypatch.setenv("HEADWATER_REGISTRY", stack.registry)
        monkeypatch.setenv("HEADWATER_ENVIRONMENT", "dev")
        monkeypatch.chdir(root)
        source = (SCHEMAS / "meteorology/observations/v1.avsc").read_text()
        for name, text in ((topic, source), (self.product, OUTPUT)):
            path = root / "schemas" / name.replace(".", "/") / "v1.avsc"
            path.parent.mkdir(parents=True)
            path.write_text(text)
        file = root / "products" / self.product.replace(".", "/") / "product.py"
        file.parent.mkdir(parents=True)
        file.write_text(PRODUCT.replace("PRODUCT", self.product).replace("SOURCE", topic))
        self.settings: Settings = load_settings(root, dict(os.environ))
        (found,) = [each for each in SOURCES if each.topic == "meteorology.observations"]
        self.source: Source = replace(found, topic=topic)
        monkeypatch.setattr(module, "SOURCES", (self.source,))
        # the alarm of this process is pytest's
        monkeypatch.setattr(running, "bounded", lambda loaded, _seconds: loaded)

    def feed(self) -> None:
        for _ in feed(self.settings, self.root / "schemas", FeedOptions(), lambda *_: None):
            pass

    def run(self) -> Summary:
        """Run the product to the ends of now."""
        try:
            return run_product(
                load_product(self.product), load_settings(), RunOptions(until_end=True)
            )
        finally:
            clear_contextvars()

    def published(self) -> Iterator[pl.DataFrame]:
        """What a read_committed reader sees."""
        contract = load_contract(self.root / "schemas", self.product, 1)
        ends = KafkaTopics(self.settings.kafka).ends(self.product)
        with (
            closing(SchemaRegistry(self.settings.registry)) as registry,
            closing(KafkaLogReader(self.settings.kafka)) as reader,
        ):
            decoder = Decoder(contract, registry.schema)
            ranges = {partition: (0, end) for partition, end in ends.items()}
            for records in reader.read(ranges, max_records=20_000):
                yield decoder.decode(records.values).frame.drop(ROW)


def test_the_days_of_a_year_close_once(
    stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the last of each airport, in order; started again without its disk, none again."""
    weather = Weather(stack, tmp_path, monkeypatch)
    weather.feed()
    first = weather.run()
    rows = weather.source.read(data_directory())
    assert first.read == rows.height
    day = pl.col("observed_at").dt.truncate("1d").alias("window_start")
    days = rows.group_by("origin", day).agg(
        hours=pl.len().cast(pl.Int64), warmest=pl.col("temp").max()
    )
    closed = days.sort("origin", "window_start").filter(
        pl.col("window_start") < pl.col("window_start").max().over("origin")
    )
    found = pl.concat(weather.published())
    assert found.sort("origin", maintain_order=True).equals(closed)
    shutil.rmtree(tmp_path / ".headwater" / "state")
    again = weather.run()
    assert again.read == again.written.total() == 0
    assert pl.concat(weather.published()).height == closed.height
