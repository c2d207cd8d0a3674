"""What docs/process.md and docs/dedupe.md show works."""

import re
from pathlib import Path
from typing import Any

from headwater.testing import ProductDriver

ROOT = Path(__file__).parents[2]
OTHERS = {"year": 2013, "month": 1, "day": 1, "hour": 0, "precip": 0.0, "visib": 10.0}
TIME = {"type": "long", "logicalType": "timestamp-millis"}


def driver(project: Any, page: str, fields: dict[str, Any]) -> ProductDriver:
    """The product of a page, which publishes these fields."""
    name = "meteorology.product"
    target = project.root / "schemas/meteorology/observations/v1.avsc"
    target.parent.mkdir(parents=True)
    target.write_text((ROOT / "schemas/meteorology/observations/v1.avsc").read_text())
    project.contract(name, {"origin": "string", **fields}, key="origin")
    text = (ROOT / "docs" / page).read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    project.product(name, example)
    return ProductDriver(name)


def observed(*times: str) -> list[dict[str, Any]]:
    """Observations of stations at times of one day, as `JFK 03:00`."""
    return [
        {**OTHERS, "origin": origin, "observed_at": f"2013-01-01T{time}:00Z"}
        for origin, time in (each.split() for each in times)
    ]


def test_a_silent_station_is_told(project: Any) -> None:
    """When another shows that two hours have passed; at the end of the data all are."""
    stations = driver(project, "process.md", {"silent_since": TIME})
    given = observed("JFK 01:00", "LGA 01:00", "LGA 02:30", "LGA 03:10", "JFK 04:00")
    told = [(each["origin"], each["silent_since"][11:16]) for each in stations.run(given).events()]
    assert told == [("JFK", "01:00"), ("LGA", "03:10"), ("JFK", "04:00")]


def test_an_observation_that_comes_twice_goes_on_once(project: Any) -> None:
    """Whatever came between."""
    once = driver(project, "dedupe.md", {"observed_at": TIME})
    given = observed("JFK 01:00", "LGA 01:00", "JFK 02:00", "JFK 01:00", "LGA 01:00")
    assert [each["origin"] for each in once.run(given).events()] == ["JFK", "LGA", "JFK"]
