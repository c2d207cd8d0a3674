"""A year of departures with the weather of their hour, against a batch join."""

import json
from pathlib import Path

import pytest

from headwater.assembly.flights import data_directory, departures, observations
from headwater.testing import ProductDriver

SCHEMAS = Path(__file__).parents[2] / "schemas"
PRODUCT = """
import polars as pl
from headwater import DataProduct

product = DataProduct("trial.weather", owner="flight-operations@airport.example")
departures = product.stream("operations.departures", contract=1)
weather = product.table("meteorology.observations", contract=1, HELD, versioned=True)
joined = departuresREKEY.join_asof(
    weather, by="origin", within="90m", columns={"observed_at": "observed_at", "visib": "visib"}
)
product.publish(joined.select("flight_id", "observed_at", "visib"), contract=1)
"""
TIME = {"type": "long", "logicalType": "timestamp-millis"}
OUTPUT = {
    "type": "record",
    "name": "Weathered",
    "doc": "A departure and the weather before it.",
    "owner": "flight-operations@airport.example",
    "key": "flight_id",
    "fields": [
        {"name": "flight_id", "type": "string", "doc": "The flight."},
        {"name": "observed_at", "type": ["null", TIME], "default": None, "doc": "When."},
        {"name": "visib", "type": ["null", "double"], "default": None, "doc": "Visibility."},
    ],
}


WAYS = {"broadcast": ("", "broadcast=True"), "rekeyed": ('.rekey("origin")', "broadcast=False")}


@pytest.fixture(params=WAYS)
def driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> ProductDriver:
    """The product, with the contracts of this repository."""
    rekey, held = WAYS[request.param]
    monkeypatch.chdir(tmp_path)
    for topic in ("operations/departures", "meteorology/observations"):
        _written(tmp_path, topic, (SCHEMAS / topic / "v1.avsc").read_text())
    _written(tmp_path, "trial/weather", json.dumps(OUTPUT))
    file = tmp_path / "products/trial/weather/product.py"
    file.parent.mkdir(parents=True)
    file.write_text(PRODUCT.replace("HELD", held).replace("REKEY", rekey))
    return ProductDriver(file)


def _written(root: Path, topic: str, text: str) -> None:
    path = root / "schemas" / topic / "v1.avsc"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.slow
def test_a_year_of_departures_with_their_weather_equals_a_batch_join(
    driver: ProductDriver,
) -> None:
    """Every departure once, with the last observation of its airport, if it is young enough."""
    stream, table = departures(data_directory()), observations(data_directory())
    driver.table("meteorology.observations", table)
    found = driver.run(stream).frame()
    expected = stream.join_asof(
        table.sort("observed_at"),
        left_on="sched_dep",
        right_on="observed_at",
        by="origin",
        tolerance="90m",
        coalesce=False,
        check_sortedness=False,
    )
    assert found.height == stream.height
    assert found.sort("flight_id").equals(expected.select(found.columns).sort("flight_id"))
    assert 0 < found["visib"].null_count() < found.height / 100
