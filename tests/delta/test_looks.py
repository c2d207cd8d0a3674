"""What deltalake finds in a log that others write, or clean, while it looks."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.errors import DamagedError

DAY_S = 86_400


def opened(directory: Path) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(DirectoryFiles(directory), product=TOPIC, topic=TOPIC)


def commit(directory: Path, start: int) -> None:
    """One row."""
    table = opened(directory)
    table.offsets("one")
    table.commit(change(rows(start, start + 1), record(start, start + 1)))


def entry(directory: Path, version: int) -> Path:
    """The file of an entry."""
    return directory / "_delta_log" / f"{version:020}.json"


def passes_by(directory: Path, version: int, look: Callable[..., Any]) -> Callable[..., Any]:
    """A look whose first list of the log passes by an entry, but not by the ones behind it."""
    looks = iter([True])

    def listed(*given: Any, **named: Any) -> Any:
        if not next(looks, False):
            return look(*given, **named)
        content = entry(directory, version).read_bytes()
        entry(directory, version).unlink()
        try:
            return look(*given, **named)
        finally:
            entry(directory, version).write_bytes(content)

    return listed


@pytest.mark.parametrize("name", ["__init__", "update_incremental"])
def test_of_two_entries_that_land_while_the_log_is_listed_the_second_is_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A long directory is listed in steps, each of which may see what the one before could not."""
    commit(tmp_path, 0)
    table = opened(tmp_path)
    commit(tmp_path, 1)
    commit(tmp_path, 2)
    monkeypatch.setattr(DeltaTable, name, passes_by(tmp_path, 2, getattr(DeltaTable, name)))
    if name == "__init__":
        table = opened(tmp_path)
    assert table.version() == 3
    assert table.rows() == 3


def test_a_gap_in_the_log_that_stays_is_damage(tmp_path: Path) -> None:
    """However often one looks."""
    for start in range(3):
        commit(tmp_path, start)
    entry(tmp_path, 2).unlink()
    with pytest.raises(DamagedError, match="its log lacks version 2"):
        opened(tmp_path)


def test_a_checkpoint_stays_for_a_day_behind_the_one_that_replaced_it(tmp_path: Path) -> None:
    """However old: until then it was the newest, and a reader may just have begun with it."""

    def upkeep() -> list[int]:
        opened(tmp_path).tidy(int(time.time() * 1_000), 30 * DAY_S * 1_000)
        found = sorted((tmp_path / "_delta_log").glob("*.checkpoint.parquet"))
        return [int(path.name.partition(".")[0]) for path in found]

    commit(tmp_path, 0)
    assert upkeep() == [1]
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - 3 * DAY_S,) * 2)
    commit(tmp_path, 1)
    assert upkeep() == [1, 2]
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - DAY_S,) * 2)
    assert upkeep() == [2]
