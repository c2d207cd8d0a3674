"""Upkeep of a Delta table as other readers of Delta see it."""

import time
from pathlib import Path

import pytest
from deltalake import DeltaTable
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.errors import DamagedError
from headwater.ports import Change, NewFile

DAY_MS = 86_400_000


def opened(directory: Path) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(directory, product=TOPIC, topic=TOPIC)


def commits(directory: Path, numbers: range) -> None:
    """Commits of ten rows."""
    table = opened(directory)
    for start in numbers:
        table.offsets("one")
        table.commit(change(rows(10 * start, 10 * start + 10), record(10 * start, 10 * start + 10)))


def replacing(removed: list[str]) -> Change:
    """A merge of the first thirty rows."""
    return Change([NewFile("part-0-0-30", rows(0, 30))], None, removed=removed)


def checkpoints(directory: Path) -> list[int]:
    """The versions that have one."""
    found = (directory / "_delta_log").glob("*.checkpoint.parquet")
    return sorted(int(path.name.partition(".")[0]) for path in found)


def in_days(days: int) -> int:
    """Epoch ms."""
    return int(time.time() * 1_000) + days * DAY_MS


def test_readers_begin_at_a_checkpoint_and_every_record_stays(tmp_path: Path) -> None:
    """The entries before it are not needed to read the table, but hold the records of its cuts."""
    commits(tmp_path, range(5))
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    commits(tmp_path, range(5, 7))
    assert checkpoints(tmp_path) == [5]
    assert opened(tmp_path).offsets("one") == {0: 70}
    assert len(opened(tmp_path).commits()) == 7
    for entry in (tmp_path / "_delta_log").glob("0*[0-3].json"):
        entry.unlink()
    assert DeltaTable(tmp_path).to_pyarrow_table().num_rows == 70


def test_checkpoints_that_newer_ones_replaced_go_after_a_day(tmp_path: Path) -> None:
    """Who began with an old one is done by then; any version is still read without it."""
    for number in range(3):
        commits(tmp_path, range(number, number + 1))
        opened(tmp_path).tidy(in_days(0), DAY_MS)
    assert checkpoints(tmp_path) == [1, 2, 3]
    opened(tmp_path).tidy(in_days(2), 30 * DAY_MS)
    assert checkpoints(tmp_path) == [3]
    assert DeltaTable(tmp_path, version=2).to_pyarrow_table().num_rows == 20


def test_files_stay_where_another_writer_cleaned_the_log(tmp_path: Path) -> None:
    """What it took out, and when, nobody can tell any more."""
    commits(tmp_path, range(3))
    table = opened(tmp_path)
    removed = [file.name for file in table.files()]
    table.commit(replacing(removed))
    opened(tmp_path).tidy(in_days(0), 30 * DAY_MS)
    (tmp_path / "_delta_log" / f"{4:020d}.json").unlink()
    opened(tmp_path).tidy(in_days(10), DAY_MS)
    assert all((tmp_path / name).exists() for name in removed)


def test_another_writers_vacuum_is_told_and_harms_nothing_new(tmp_path: Path) -> None:
    """It takes older versions away; the newest one and every record stay."""
    commits(tmp_path, range(3))
    table = opened(tmp_path)
    version = table.version()
    table.commit(replacing([file.name for file in table.files()]))
    DeltaTable(tmp_path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    again = opened(tmp_path)
    assert again.rows() == 30
    assert len(again.commits()) == 3
    with pytest.raises(DamagedError) as gone:
        again.files(version)
    assert gone.value.code == "FILE_GONE"
