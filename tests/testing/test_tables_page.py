"""What docs/tables.md shows works."""

import re
from pathlib import Path
from typing import Any

import pytest

from headwater.testing import ProductDriver

ROOT = Path(__file__).parents[2]


HELD = {
    "fleet.aircraft": ["tailnum", "year"],
    "meteorology.observations": ["origin", "visib"],
}


@pytest.mark.parametrize("place", [0, 1], ids=HELD)
def test_the_examples_of_the_page_run(project: Any, place: int) -> None:
    """With the contracts of this repository."""
    table, held = list(HELD.items())[place]
    for topic in ("operations/departures", table.replace(".", "/")):
        target = project.root / "schemas" / topic / "v1.avsc"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / "schemas" / topic / "v1.avsc").read_text())
    nullable: dict[str, Any] = {"tailnum": ["null", "string"], "built": ["null", "int"]}
    fields: dict[str, Any] = {"flight_id": "string", **nullable}
    if place:
        fields = {"flight_id": "string", "origin": "string", "visibility": ["null", "double"]}
    project.contract("operations.built", fields, key="flight_id")
    page = (ROOT / "docs/tables.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == len(HELD)
    project.product("operations.built", examples[place])
    driver = ProductDriver("operations.built")
    assert driver.loaded.plans["operations.built"].columns is not None
    assert list(driver.loaded.tables[table].rows.columns) == held
