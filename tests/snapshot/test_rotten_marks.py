"""Small files of ours beside a table that rot: pins, and the mark of upkeep."""

import json
from pathlib import Path

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import Lake

from headwater.errors import DamagedError
from headwater.snapshot.upkeep import Upkeep

DAY_MS = 86_400_000


@pytest.fixture(params=FORMATS)
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A snapshot of two commits in any format."""
    return Lake(tmp_path / "orders", request.param)


@pytest.mark.parametrize("content", [b"\xffx", b"", b"1.5"], ids=["bytes", "empty", "no version"])
def test_a_rotten_pin_is_named_and_nothing_is_removed(any_lake: Lake, content: bytes) -> None:
    """Nobody knows what it keeps."""
    any_lake.table().pin("audit", 1)
    pin = any_lake.directory / "_pins" / "audit.json"
    pin.write_bytes(content)
    with pytest.raises(DamagedError, match=r"audit\.json tells no version.*headwater pin"):
        any_lake.table().pins()
    with pytest.raises(DamagedError, match=r"audit\.json tells no version"):
        Upkeep(any_lake.table(), 1 << 27, DAY_MS).run()


def test_a_rotten_mark_of_upkeep_is_none(any_lake: Lake) -> None:
    """It is due as on a table that was never kept up, and sets a new one."""
    mark = any_lake.directory / "_upkeep"
    mark.write_bytes(b"\xff\x00")
    assert not any_lake.table().is_upkeep_due(0)
    Upkeep(any_lake.table(), 1 << 27, DAY_MS).run()
    assert any_lake.table().is_upkeep_due(1 << 50)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"{}"], ids=["cut short", "bytes", "empty"])
def test_a_rotten_hint_of_a_checkpoint_is_none(tmp_path: Path, content: bytes) -> None:
    """The entries hold the same: upkeep makes the checkpoint again, and names it."""
    lake = Lake(tmp_path / "orders")
    Upkeep(lake.table(), 1 << 27, DAY_MS).run()
    hint = lake.directory / "_delta_log" / "_last_checkpoint"
    whole = json.loads(hint.read_bytes())
    hint.write_bytes(content)
    lake.publish(300, 310)
    assert lake.take().rows == 10
    Upkeep(lake.table(), 1 << 27, DAY_MS).run()
    assert json.loads(hint.read_bytes())["version"] == whole["version"] + 1
    assert lake.verify().outcome == "equal"


def test_a_rotten_entry_of_a_log_is_damage_to_upkeep(tmp_path: Path) -> None:
    """It is read by ourselves, for what a version took out: nobody knows what went."""
    lake = Lake(tmp_path / "orders")
    Upkeep(lake.table(), 1 << 27, DAY_MS).run()
    table = lake.table()
    entry = lake.directory / "_delta_log" / f"{table.version():020d}.json"
    entry.write_bytes(entry.read_bytes() + b'{"remove":{"size":1}}')
    with pytest.raises(DamagedError, match="its log is not what was written"):
        Upkeep(table, 1 << 27, DAY_MS).run()
