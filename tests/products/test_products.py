"""The products of this repository on data they were not written for."""

import re
from pathlib import Path

import polars as pl
import pytest

from headwater.assembly.checking import check
from headwater.assembly.project import product_files
from headwater.assembly.samples import cases, run_case
from headwater.flow import loosen
from headwater.testing import ProductDriver

ROOT = Path(__file__).parents[2]
FILES = product_files(ROOT)


def test_nothing_is_wrong_with_the_whole_project() -> None:
    """Products, contracts and samples, all at once."""
    checked = check([], ROOT)
    assert {
        "experience.weather-delays",
        "fleet.utilisation",
        "operations.cancellations",
        "operations.departure-delays",
        "operations.route-punctuality",
    } == set(checked.products)
    assert checked.samples >= 7


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_product_makes_of_its_samples_what_it_must(file: Path) -> None:
    """Every product has samples, and they hold."""
    driver = ProductDriver(file)
    found = cases(driver.loaded.samples)
    assert found
    assert [run_case(case, driver).differences for case in found] == [[]] * len(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_product_imports_nothing_of_headwater_but_the_door(file: Path) -> None:
    """What is behind the door may change."""
    assert not re.search(r"(from|import) headwater\.", file.read_text(encoding="utf-8"))
    assert (file.parent / "README.md").is_file()


def test_every_departure_is_delayed_or_cancelled_and_never_both() -> None:
    """Together the two products are a partition of their input."""
    delays = ProductDriver(ROOT / "products/operations/departure_delays")
    cancellations = ProductDriver(ROOT / "products/operations/cancellations")
    columns = delays.loaded.inputs["operations.departures"].columns
    count = 500
    n = pl.int_range(count)
    left = n % 7 != 0
    frame = pl.select(
        flight_id=pl.format("f{}", n),
        carrier=pl.lit("UA"),
        flight=n,
        tailnum=pl.when(n % 14 != 0).then(pl.lit("N1")),
        origin=pl.lit("JFK"),
        dest=pl.lit("LAX"),
        sched_dep=pl.from_epoch(n * 60).dt.replace_time_zone("UTC"),
        dep_time=pl.when(left).then(pl.from_epoch(n * 60)).dt.replace_time_zone("UTC"),
        dep_delay=pl.when(left).then(n - 250.0),
        distance=10.0 + n,
    ).cast({name: loosen(columns[name]) for name in ("flight", "sched_dep", "dep_time")})
    delayed = delays.run(frame).frame()
    cancelled = cancellations.run(frame).frame()
    assert delayed.height + cancelled.height == count
    assert set(delayed["flight_id"]) | set(cancelled["flight_id"]) == set(frame["flight_id"])
    assert (
        delayed.filter(pl.col("late")).height == delayed.filter(pl.col("delay_minutes") > 15).height
    )
    assert set(cancelled["stage"]) == {"unassigned", "assigned"}
