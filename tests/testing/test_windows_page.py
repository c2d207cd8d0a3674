"""What docs/windows.md shows works, on the weather of a year."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from headwater.assembly.description import describe
from headwater.assembly.flights import data_directory, observations
from headwater.testing import ProductDriver

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_page_is_a_batch_computation(project: Any) -> None:
    """Every day of every airport, by end and airport; the end of data closes the last."""
    contract = "schemas/meteorology/observations/v1.avsc"
    target = project.root / contract
    target.parent.mkdir(parents=True)
    target.write_text((ROOT / contract).read_text())
    time = {"type": "long", "logicalType": "timestamp-millis"}
    fields = {
        "origin": "string",
        "window_start": time,
        "window_end": time,
        "hours": "long",
        "warmest": ["null", "double"],
        "rain": ["null", "double"],
    }
    project.contract("meteorology.days", fields, key="origin", eventTime="window_start")
    observed = json.loads(target.read_text())
    late = project.root / "schemas/meteorology/days/late/v1.avsc"
    late.parent.mkdir(parents=True)
    late.write_text(json.dumps({**observed, "name": "LateObservation"}))
    example, side = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/windows.md").read_text(), re.DOTALL
    )
    project.product("meteorology.days", f"{example}\n{side}")
    driver = ProductDriver("meteorology.days")
    weather = observations(data_directory())
    outcome = driver.run(weather)
    day = pl.col("observed_at").dt.truncate("1d").alias("window_start")
    wanted = (
        weather.group_by("origin", day)
        .agg(
            hours=pl.len().cast(pl.Int64), warmest=pl.col("temp").max(), rain=pl.col("precip").sum()
        )
        .sort("window_start", "origin")
    )
    found = outcome.frame()
    assert found.drop("window_end", "rain").equals(wanted.drop("rain"))
    assert ((found["rain"] - wanted["rain"]).abs() < 1e-12).all()
    assert (found["window_end"] - found["window_start"]).unique().item().days == 1
    assert not outcome.dead_letters
    assert not outcome.late
    output, _ = describe(driver.loaded)["outputs"]
    assert output["steps"][0]["does"] == (
        "by origin in windows of 1d, open for 1h more, on_close: hours=count(), "
        "warmest=max(temp), rain=sum(precip)"
    )
    given = weather.sample(fraction=1, shuffle=True, seed=7).head(100)
    shuffled = driver.run(given)
    end = pl.col("observed_at").dt.truncate("1d") + pl.duration(days=1, hours=1)
    assert shuffled.frame("late").equals(given.filter(end <= pl.col("observed_at").cum_max()))
    late_rows = shuffled.frame("late").height
    assert late_rows == shuffled.late["meteorology.days.window-1"] > 0
    assert late_rows + shuffled.frame()["hours"].sum() == 100
