"""Inputs and processes of the fault tests."""

import polars as pl
import pytest
from tests.faults.harness import Bench

from headwater.assembly.flights import data_directory, departures, repeated
from headwater.embedded import Addresses


@pytest.fixture(scope="session")
def bench(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A project on the session's stack."""
    return Bench(stack, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def flights() -> pl.DataFrame:
    """336,776 departures."""
    return departures(data_directory())


@pytest.fixture(scope="session")
def million(flights: pl.DataFrame) -> pl.DataFrame:
    """1,010,328 departures: three copies of each, with ids of their own."""
    return repeated(flights, "flight_id", 3)


@pytest.fixture(scope="session")
def year(bench: Bench, flights: pl.DataFrame) -> str:
    """A topic that holds `flights`."""
    return bench.source("year", [flights])


@pytest.fixture(scope="session")
def spring_flights(flights: pl.DataFrame) -> pl.DataFrame:
    """120,000 departures: some four seconds of work in small transactions, enough to disturb it."""
    return flights.head(120_000)


@pytest.fixture(scope="session")
def spring(bench: Bench, spring_flights: pl.DataFrame) -> str:
    """A topic that holds `spring_flights`."""
    return bench.source("spring", [spring_flights])


@pytest.fixture(scope="session")
def three_years(bench: Bench, million: pl.DataFrame) -> str:
    """A topic that holds `million`."""
    return bench.source("three-years", [million])
