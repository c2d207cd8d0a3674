"""The products over the year of flights as bounded data, against a batch computation with Polars.

The same over a broker, which takes less time, is in tests/demo.
"""

from pathlib import Path

import polars as pl
import pytest
from tests.products import batch

from headwater.assembly.flights import aircraft, data_directory, departures, observations
from headwater.testing import ProductDriver
from headwater.testing.driver import Outcome

pytestmark = pytest.mark.slow

PRODUCTS = Path(__file__).parents[2] / "products"


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """The 336,776 departures in the order they are fed in."""
    return departures(data_directory())


def sound(outcome: Outcome) -> pl.DataFrame:
    """What came out, of every row that went in."""
    assert not outcome.dead_letters
    assert not outcome.late
    assert not outcome.violations
    return outcome.frame()


def test_departure_delays_are_a_batch_join_with_the_aircraft(flights: pl.DataFrame) -> None:
    """Every flight that left, once; an aircraft that is not registered has nulls."""
    driver = ProductDriver(PRODUCTS / "operations/departure_delays")
    planes = aircraft(data_directory())
    driver.table("fleet.aircraft", planes)
    found = sound(driver.run(flights))
    batch.assert_delays(found, batch.departure_delays(flights, planes))
    assert found["aircraft_manufacturer"].null_count() == 48_550


def test_route_punctuality_is_a_batch_group_by(flights: pl.DataFrame) -> None:
    """Every route and hour once; the end of data closes the last hours."""
    driver = ProductDriver(PRODUCTS / "operations/route_punctuality")
    found = sound(driver.run(flights))
    batch.assert_punctuality(found, batch.route_punctuality(flights))
    assert found["flights"].sum() == flights.height
    assert (found["p95_delay"] > 255).sum() == 869


def test_weather_delays_find_the_weather_of_their_hour(flights: pl.DataFrame) -> None:
    """That of the airport, at most an hour old; where the station was silent there is none."""
    driver = ProductDriver(PRODUCTS / "experience/weather_delays")
    weather = observations(data_directory())
    driver.table("meteorology.observations", weather)
    found = sound(driver.run(flights))
    batch.assert_delays(found, batch.weather_delays(flights, weather))
    age = found["sched_dep"] - found["observed_at"]
    assert age.null_count() == 1_431
    assert (age.dt.total_minutes() == 60).sum() == 97


def test_utilisation_is_the_flying_days_of_a_batch_computation(flights: pl.DataFrame) -> None:
    """Every flight that left is in one flying day of its aircraft."""
    driver = ProductDriver(PRODUCTS / "fleet/utilisation")
    found = sound(driver.run(flights))
    batch.assert_utilisation(found, batch.utilisation(flights))
    assert (found.height, found["flights"].sum()) == (266_786, 328_521)
