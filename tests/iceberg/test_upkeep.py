"""Upkeep of an Iceberg table: its snapshots expire, their records and pinned ones do not."""

import time
from pathlib import Path

import pytest
from tests.iceberg.test_iceberg import commits, ends, opened, theirs
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg import upkeep
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.errors import DamagedError

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def few_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three versions are kept, so that tests need few commits."""
    monkeypatch.setattr(upkeep, "SNAPSHOTS_KEPT", 3)


def tidied(directory: Path, days: int = 0) -> IcebergSnapshotTable:
    """A handle, after upkeep so many days later."""
    table = opened(directory)
    table.tidy(int(time.time() * 1_000) + days * DAY_MS, 30 * DAY_MS)
    return table


def more(directory: Path, number: int) -> None:
    """The commit behind so many others of ten rows."""
    table = opened(directory)
    table.offsets("one")
    start = 10 * number
    table.commit(change(rows(start, start + 10), record(start, start + 10)))


def test_few_snapshots_stay_and_all_records(tmp_path: Path) -> None:
    """Whatever `keep` says: each of them costs every commit its time."""
    commits(tmp_path, 6)
    tidied(tmp_path)
    assert len(theirs(tmp_path).snapshots()) == 3
    more(tmp_path, 6)
    table = tidied(tmp_path)
    assert len(theirs(tmp_path).snapshots()) == 3
    assert ends(table) == [10, 20, 30, 40, 50, 60, 70]
    assert [version for version, _ in table.commits()] == [1, 2, 3, 4, 5, 6, 7]
    assert table.rows() == 70


def test_a_pinned_snapshot_stays_and_its_record_is_told_once(tmp_path: Path) -> None:
    """And goes by its age when its pin is gone."""
    commits(tmp_path, 3)
    opened(tmp_path).pin("audit", 2)
    for number in range(3, 8):
        more(tmp_path, number)
    table = tidied(tmp_path)
    assert {each.sequence_number for each in theirs(tmp_path).snapshots()} == {2, 6, 7, 8}
    assert ends(table) == list(range(10, 90, 10))
    assert sum(file.rows or 0 for file in table.files(2)) == 20
    table.unpin("audit")
    tidied(tmp_path)
    assert {each.sequence_number for each in theirs(tmp_path).snapshots()} == {2, 6, 7, 8}
    tidied(tmp_path, days=31)
    assert {each.sequence_number for each in theirs(tmp_path).snapshots()} == {8}
    assert ends(opened(tmp_path)) == list(range(10, 90, 10))


def test_a_table_rolled_back_to_a_pin_has_the_records_before_it(tmp_path: Path) -> None:
    """Those of later cuts are no longer its own."""
    commits(tmp_path, 6)
    opened(tmp_path).pin("audit", 2)
    tidied(tmp_path)
    table = theirs(tmp_path)
    (pinned,) = [each for each in table.snapshots() if each.sequence_number == 2]
    table.manage_snapshots().set_current_snapshot(snapshot_id=pinned.snapshot_id).commit()
    again = opened(tmp_path)
    assert again.offsets("one") == {0: 20}
    assert ends(again) == [10, 20]


def test_a_tag_of_another_writer_is_left_alone(tmp_path: Path) -> None:
    """It names a snapshot that somebody needs."""
    commits(tmp_path, 6)
    table = theirs(tmp_path)
    (tagged,) = [each for each in table.snapshots() if each.sequence_number == 1]
    table.manage_snapshots().create_tag(tagged.snapshot_id, "theirs").commit()
    found = tidied(tmp_path, days=31)
    assert {each.sequence_number for each in theirs(tmp_path).snapshots()} == {1, 6}
    assert ends(found) == [10, 20, 30, 40, 50, 60]


def test_metadata_of_what_expired_leaves_the_disk(tmp_path: Path) -> None:
    """Lists and manifests that no snapshot names, once they are a day old."""
    commits(tmp_path, 6)
    before = set((tmp_path / "metadata").glob("*.avro"))
    tidied(tmp_path)
    assert set((tmp_path / "metadata").glob("*.avro")) == before
    tidied(tmp_path, days=2)
    left = set((tmp_path / "metadata").glob("*.avro"))
    assert len(left) < len(before)
    assert theirs(tmp_path).scan().to_arrow().num_rows == 60


def test_a_lost_file_of_records_is_told(tmp_path: Path) -> None:
    """As damage, not as a table of fewer cuts."""
    commits(tmp_path, 6)
    tidied(tmp_path)
    (records,) = (tmp_path / "metadata").glob("records-*.jsonl")
    records.unlink()
    with pytest.raises(DamagedError, match="metadata is gone"):
        opened(tmp_path).commits()


def test_a_copy_of_a_table_loses_no_file(tmp_path: Path) -> None:
    """Its metadata names the files of the original, so nothing of it may look unneeded."""
    commits(tmp_path / "table", 2)
    (tmp_path / "table").rename(tmp_path / "copy")
    (tmp_path / "table").symlink_to(tmp_path / "copy")
    before = set((tmp_path / "copy").rglob("*.parquet"))
    table = IcebergSnapshotTable(DirectoryFiles(tmp_path / "copy"), product=TOPIC, topic=TOPIC)
    table.tidy(int(time.time() * 1_000) + 31 * DAY_MS, DAY_MS)
    assert set((tmp_path / "copy").rglob("*.parquet")) == before
