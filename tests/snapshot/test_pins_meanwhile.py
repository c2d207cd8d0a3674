"""Pins that are set or let go of between two looks of somebody else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import Lake
from tests.snapshot.test_upkeep import DAY_MS, later

from headwater.adapters.directory import DirectoryFiles
from headwater.errors import DamagedError


@pytest.fixture(params=FORMATS)
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A snapshot of two commits in any format."""
    return Lake(tmp_path / "orders", request.param)


def first(
    monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]
) -> Callable[[], None]:
    """Something that happens just before the files of a table are next asked so."""
    asked = getattr(DirectoryFiles, name)

    def meanwhile(*given: Any) -> Any:
        monkeypatch.setattr(DirectoryFiles, name, asked)
        act()
        return asked(*given)

    return lambda: monkeypatch.setattr(DirectoryFiles, name, meanwhile)


def test_a_pin_that_is_let_go_of_while_pins_are_read_is_none(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a list of pins nor upkeep fails for it."""
    table = lake.table()
    version = table.version() or 0
    table.pin("audit", version)
    table.pin("month", version)
    first(monkeypatch, "open", lambda: lake.table().unpin("audit"))()
    assert table.pins() == {"month": version}


def test_a_version_that_is_pinned_just_before_upkeep_is_not_lost(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that upkeep has not seen yet."""

    def pinned() -> None:
        lake.publish(300, 310)
        lake.take()
        table = lake.table()
        table.pin("audit", table.version() or 0)

    table = lake.table()
    first(monkeypatch, "sole", pinned)()
    assert table.tidy(later(0).wall_ms(), DAY_MS) is not None
    assert list(lake.table().pins()) == ["audit"]


def test_a_version_that_upkeep_let_go_of_just_before_is_not_pinned(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a pin would keep nothing, and hold up all upkeep."""

    def replaced() -> None:
        """Another one is the newest, and this one is no longer kept, though its files are."""
        lake.publish(300, 310)
        lake.take()
        lake.table().tidy(later(0.5).wall_ms(), 0)

    table = lake.table()
    version = table.version() or 0
    first(monkeypatch, "sole", replaced)()
    if lake.format == "delta":  # its entries stay, and with them any version whose files do
        table.pin("audit", version)
        lake.table().files(version)
        return
    with pytest.raises(DamagedError) as gone:
        table.pin("audit", version)
    assert gone.value.code == "FILE_GONE"
    assert lake.table().pins() == {}
