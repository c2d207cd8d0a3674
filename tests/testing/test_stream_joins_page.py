"""What docs/stream-joins.md shows works, on the flights and the weather of a week."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from headwater.assembly.flights import data_directory, departures, observations
from headwater.testing import ProductDriver

ROOT = Path(__file__).parents[2]
WEEK = (datetime(2013, 1, 10, tzinfo=UTC), datetime(2013, 1, 17, tzinfo=UTC))


def test_the_example_of_the_page_is_a_batch_join(project: Any) -> None:
    """Every pair of a departure and an hour of fog, once."""
    for topic in ("operations/departures", "meteorology/observations"):
        target = project.root / "schemas" / topic / "v1.avsc"
        target.parent.mkdir(parents=True)
        target.write_text((ROOT / "schemas" / topic / "v1.avsc").read_text())
    fields = {"flight_id": "string", "origin": "string", "visibility": ["null", "double"]}
    project.contract("operations.foggy", fields, key="flight_id")
    page = (ROOT / "docs/stream-joins.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    project.product("operations.foggy", example)
    flights = departures(data_directory()).filter(pl.col("sched_dep").is_between(*WEEK))
    flights = flights.sort("sched_dep")
    weather = observations(data_directory()).filter(pl.col("observed_at").is_between(*WEEK))
    inputs = {"operations.departures": flights, "meteorology.observations": weather}
    outcome = ProductDriver("operations.foggy").run(inputs)
    low = weather.filter(pl.col("visib") < 1).select("origin", "observed_at", visibility="visib")
    near = (pl.col("sched_dep") - pl.col("observed_at")).abs() <= timedelta(minutes=30)
    wanted = flights.join(low, on="origin").filter(near)
    found = outcome.frame()
    assert found.height > 100
    assert not outcome.late
    order = ["flight_id", "visibility"]
    assert found.sort(order).equals(wanted.select(found.columns).sort(order))
