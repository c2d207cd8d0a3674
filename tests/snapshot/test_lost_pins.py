"""Pins of versions that the table does not have: somebody else cut it back, or cleaned it up."""

from pathlib import Path

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import Lake
from tests.snapshot.test_upkeep import DAY_MS, later

from headwater.errors import DamagedError
from headwater.snapshot.upkeep import Upkeep

NEVER = 99


@pytest.fixture(params=FORMATS)
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A snapshot of many small commits in any format."""
    lake = Lake(tmp_path / "orders", request.param)
    for begin in range(300, 360, 6):
        lake.publish(begin, begin + 6)
        lake.take()
    return lake


def test_a_pin_of_a_version_that_is_not_there_is_named_and_nothing_is_removed(
    any_lake: Lake,
) -> None:
    """Small files are merged all the same; once the pin is gone, what nobody needs goes."""
    table = any_lake.table()
    table.pin("audit", table.version() or 0)
    (any_lake.directory / "_pins" / "audit.json").write_text(str(NEVER))
    files = {path for path in any_lake.directory.rglob("part-*.parquet") if path.is_file()}
    upkeep = Upkeep(any_lake.table(), 1 << 20, DAY_MS, later(3))
    for _ in range(2):
        with pytest.raises(DamagedError) as told:
            upkeep.run()
        assert f"The pin audit keeps version {NEVER}" in str(told.value)
        assert "audit --remove`" in str(told.value)
        assert told.value.code == "SNAPSHOT_DAMAGED"
        assert all(path.exists() for path in files)
    assert len(any_lake.table().files()) == 3
    assert any_lake.verify().outcome == "equal"
    assert any_lake.table().unpin("audit")
    done = upkeep.run()
    assert done.swept is not None
    assert done.swept.files >= len(files)
    assert any_lake.verify().outcome == "equal"
