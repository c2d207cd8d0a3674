"""The demo, as `make demo` runs it, in a folder and on a stack of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.products import batch

from headwater import embedded
from headwater.adapters.kafka.reader import KafkaLogReader
from headwater.adapters.kafka.topics import KafkaTopics
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.addresses import resolve
from headwater.assembly.flights import aircraft, data_directory, departures, observations
from headwater.assembly.tour import ways_to_read
from headwater.config import Settings, load_settings
from headwater.contract import Decoder, load_contract
from headwater.flow import ROW
from headwater.model import Partition

ROOT = Path(__file__).parents[2]
DEPARTED, CANCELLED = 328_521, 8_255  # of the 336,776 flights of 2013
OTHERS = ("operations.route-punctuality", "experience.weather-delays", "fleet.utilisation")

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def without_settings() -> dict[str, str]:
    """The environment with no address set."""
    return {name: text for name, text in os.environ.items() if not name.startswith("HEADWATER_")}


def headwater(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, with no address set."""
    return subprocess.run(
        [sys.executable, "-m", "headwater", *arguments],
        cwd=folder,
        env=without_settings(),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the products of this repository; its stack ends with the tests."""
    folder = tmp_path_factory.mktemp("demo")
    for part in ("products", "schemas"):
        shutil.copytree(ROOT / part, folder / part)
    yield folder
    embedded.down(folder)


@pytest.fixture(scope="module")
def visited(folder: Path) -> list[dict[str, Any]]:
    """What the demo says of each product."""
    done = headwater(folder, "demo", "--format", "json")
    return list(json.loads(done.stdout))


def test_one_command_leads_from_nothing_to_two_verified_snapshots(
    visited: list[dict[str, Any]],
) -> None:
    """Every flight becomes one output of one product; lag is zero; snapshots equal their logs."""
    assert [each["product"] for each in visited] == [
        "operations.departure-delays",
        "operations.cancellations",
    ]
    assert [each["read"] for each in visited] == [DEPARTED + CANCELLED] * 2
    assert [each["snapshot_rows"] for each in visited] == [DEPARTED, CANCELLED]
    assert [each["lag"] for each in visited] == [0, 0]
    assert [each["dead_letters"] for each in visited] == [0, 0]
    assert [each["verified"] for each in visited] == ["equal", "equal"]


@pytest.mark.usefixtures("visited")
def test_the_demo_can_be_run_again_and_changes_nothing(folder: Path) -> None:
    """What is done already is not done again."""
    again = json.loads(headwater(folder, "demo", "--format", "json").stdout)
    assert [each["read"] for each in again] == [0, 0]
    assert [each["snapshot_rows"] for each in again] == [DEPARTED, CANCELLED]


@pytest.mark.usefixtures("visited")
@pytest.mark.parametrize(
    "way", ["Snapshot with Polars", "Snapshot with SQL", "Live log with a plain Kafka client"]
)
def test_a_printed_way_to_read_works_as_printed(folder: Path, way: str) -> None:
    """People copy these lines; DuckDB is installed here already."""
    printed = ways_to_read(resolve(load_settings(folder, {}), folder))[way]
    command = printed.rpartition("pip install --quiet duckdb && ")[2]
    for tool, ours in {"python": "", "headwater": " -m headwater"}.items():
        command = command.replace(f".venv/bin/{tool}", f"{sys.executable}{ours}")
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=without_settings(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "delay_minutes" in done.stdout


@pytest.mark.usefixtures("visited")
def test_register_tells_what_was_published_already(folder: Path) -> None:
    """Registering is idempotent and shows ids and versions."""
    done = headwater(folder, "register", "operations.cancellations", "--format", "json")
    assert json.loads(done.stdout)


class Logs:
    """What a read_committed reader sees of the topics of a project."""

    def __init__(self, folder: Path) -> None:
        self._schemas = folder / "schemas"
        self._settings: Settings = resolve(load_settings(folder, {}), folder)
        self._topics = KafkaTopics(self._settings.kafka)

    def read(self, topic: str, version: int) -> pl.DataFrame:
        """Every event of a log."""
        ends = self._topics.ends(topic)
        return self._events(topic, version, {each: (0, end) for each, end in ends.items()})

    def watermark(self) -> datetime:
        """How far event time came in all partitions of the departures: they are fed in order."""
        topic = "operations.departures"
        last = {each: (end - 1, end) for each, end in self._topics.ends(topic).items()}
        found = self._events(topic, 1, last)["sched_dep"]
        assert found.len() == len(last)
        return found.min()  # type: ignore[return-value]  # of a column of times

    def _events(
        self, topic: str, version: int, ranges: dict[Partition, tuple[int, int]]
    ) -> pl.DataFrame:
        with (
            closing(SchemaRegistry(self._settings.registry)) as registry,
            closing(KafkaLogReader(self._settings.kafka)) as reader,
        ):
            decoder = Decoder(load_contract(self._schemas, topic, version), registry.schema)
            parts = reader.read(ranges, max_records=20_000)
            return pl.concat([decoder.decode(each.values).frame.drop(ROW) for each in parts])


@pytest.mark.usefixtures("visited")
def test_all_products_make_of_the_year_what_a_batch_computation_does(folder: Path) -> None:
    """But for windows that are still open at the end: event time has not passed them."""
    headwater(folder, "run", *OTHERS, "--until-end")
    directory, logs = data_directory(), Logs(folder)
    flights = departures(directory)
    wanted = batch.departure_delays(flights, aircraft(directory))
    batch.assert_delays(logs.read("operations.departure-delays", 2), wanted)
    wanted = batch.weather_delays(flights, observations(directory))
    batch.assert_delays(logs.read("experience.weather-delays", 1), wanted)
    reached = logs.watermark()
    hours = batch.route_punctuality(flights).filter(pl.col("hour") + batch.HOUR <= reached)
    batch.assert_punctuality(logs.read("operations.route-punctuality", 1), hours)
    days = batch.utilisation(flights).filter(pl.col("last_departure") + batch.NIGHT < reached)
    batch.assert_utilisation(logs.read("fleet.utilisation", 1), days)
