"""What docs/tables.md shows works."""

import re
from pathlib import Path
from typing import Any

from headwater.testing import ProductDriver

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_page_runs(project: Any) -> None:
    """With the contracts of this repository."""
    for topic in ("operations/departures", "fleet/aircraft"):
        target = project.root / "schemas" / topic / "v1.avsc"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / "schemas" / topic / "v1.avsc").read_text())
    nullable = {"tailnum": ["null", "string"], "built": ["null", "int"]}
    fields = {"flight_id": "string", **nullable}
    project.contract("operations.built", fields, key="flight_id")
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/tables.md").read_text(), re.DOTALL
    )
    project.product("operations.built", example)
    driver = ProductDriver("operations.built")
    assert driver.loaded.plans["operations.built"].columns is not None
    assert list(driver.loaded.tables["fleet.aircraft"].rows.columns) == ["tailnum", "year"]
