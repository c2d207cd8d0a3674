"""A year of departures joined with their aircraft on the real broker, against a batch join."""

import os
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
from headwater.assembly.flights import SOURCES, data_directory
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, Summary, run_product
from headwater.config import Settings, load_settings
from headwater.contract import Decoder, load_contract
from headwater.embedded import Addresses
from headwater.errors import StartRefusedError
from headwater.flow import ROW
from headwater.ports import TopicSettings

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "schemas"
PRODUCT = """
import polars as pl
from headwater import DataProduct

product = DataProduct("trial.NAME", owner="flight-operations@airport.example")
departures = product.stream("DEPARTURES", contract=1)
aircraft = product.table("AIRCRAFT", contract=1, broadcast=True)
joined = departures.join(aircraft, on="tailnum", columns={"year": "built", "seats": "seats"})
product.publish(
    joined.select("flight_id", "tailnum", "built", "seats"), contract=1
)
"""
OUTPUT = """{"type": "record", "name": "Joined", "doc": "A departure and its aircraft.",
 "owner": "flight-operations@airport.example", "key": "flight_id", "fields": [
 {"name": "flight_id", "type": "string", "doc": "The flight."},
 {"name": "tailnum", "type": ["null", "string"], "default": null, "doc": "The aircraft."},
 {"name": "built", "type": ["null", "int"], "default": null, "doc": "Its year."},
 {"name": "seats", "type": ["null", "int"], "default": null, "doc": "Its seats."}]}"""


class Year:
    """A project of its own on the session's broker, whose two inputs are fed."""

    def __init__(self, stack: Addresses, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = uuid.uuid4().hex[:10]
        self.root = root
        self.product = f"trial.j{name}"
        self.aircraft, self.departures = f"trial.a{name}", f"trial.d{name}"
        environment = {
            "HEADWATER_KAFKA": stack.kafka,
            "HEADWATER_REGISTRY": stack.registry,
            "HEADWATER_ENVIRONMENT": "dev",
        }
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        monkeypatch.chdir(root)
        self._contract(self.aircraft, (SCHEMAS / "fleet/aircraft/v1.avsc").read_text())
        self._contract(self.departures, (SCHEMAS / "operations/departures/v1.avsc").read_text())
        self._contract(self.product, OUTPUT)
        file = root / "products" / self.product.replace(".", "/") / "product.py"
        file.parent.mkdir(parents=True)
        text = PRODUCT.replace("NAME", self.product.partition(".")[2])
        text = text.replace("DEPARTURES", self.departures).replace("AIRCRAFT", self.aircraft)
        file.write_text(text)
        self.settings: Settings = load_settings(root, dict(os.environ))
        by_topic = {source.topic: source for source in SOURCES}
        self.sources = (
            replace(by_topic["fleet.aircraft"], topic=self.aircraft),
            replace(by_topic["operations.departures"], topic=self.departures),
        )
        monkeypatch.setattr(module, "SOURCES", self.sources)
        # the alarm of this process is pytest's
        monkeypatch.setattr(running, "bounded", lambda loaded, _seconds: loaded)

    def _contract(self, topic: str, text: str) -> None:
        path = self.root / "schemas" / topic.replace(".", "/") / "v1.avsc"
        path.parent.mkdir(parents=True)
        path.write_text(text)

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


@pytest.fixture
def year(stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Year:
    """Nothing is fed yet."""
    return Year(stack, tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_year_of_departures_joined_equals_a_batch_join(year: Year) -> None:
    """Every departure once, with what an independent join of the data set gives it."""
    year.feed()
    summary = year.run()
    table, stream = (source.read(data_directory()) for source in year.sources)
    planes = table.select("tailnum", "seats", built="year")
    expected = stream.join(planes, on="tailnum", how="left").select(
        "flight_id", "tailnum", "built", "seats"
    )
    found = pl.concat(year.published())
    assert summary.read == stream.height == found.height
    assert found.sort("flight_id").equals(expected.sort("flight_id"))
    assert found["built"].null_count() > 0
    assert found["built"].drop_nulls().len() > found.height / 2


def test_a_table_that_is_not_compacted_or_not_there_refuses_the_start(year: Year) -> None:
    """Before the first record, and before anything is created."""
    topics = KafkaTopics(year.settings.kafka)
    topics.create([TopicSettings(year.departures, 1, "source")])
    with pytest.raises(StartRefusedError, match=year.aircraft) as caught:
        year.run()
    assert caught.value.code == "TOPIC_MISSING"
    topics.create([TopicSettings(year.aircraft, 1, "log")])
    with pytest.raises(StartRefusedError, match=r"cleanup.policy=compact") as caught:
        year.run()
    assert caught.value.code == "TABLE_NOT_COMPACTED"
    assert topics.partitions(year.product) is None
