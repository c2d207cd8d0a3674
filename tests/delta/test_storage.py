"""What is of Delta alone: its log, its features, and other writers of it."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, parquet_files, record, rows

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.errors import StartRefusedError
from headwater.ports import CommitRecord


def opened(directory: Path) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(directory, product=TOPIC, topic=TOPIC)


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A Delta table without our mark, or of another topic, is refused."""
    write_deltalake(tmp_path, pa.table({"id": [1]}))
    with pytest.raises(StartRefusedError, match="another table") as refused:
        opened(tmp_path)
    assert refused.value.code == "NOT_OUR_TABLE"
    assert DeltaTable(tmp_path).version() == 0


def test_a_crash_after_the_creation_leaves_a_table_that_goes_on(tmp_path: Path) -> None:
    """A table without rows, or a `_delta_log` without a version, is no obstacle."""
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    (tmp_path / "a" / "_delta_log" / f"{1:020}.json").unlink()
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "a").rows() == 10
    (tmp_path / "b" / "_delta_log").mkdir(parents=True)
    opened(tmp_path / "b").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "b").rows() == 10


def test_compaction_keeps_offsets_and_cuts(tmp_path: Path) -> None:
    """Delta's own maintenance neither moves a cut nor hides a commit record."""
    table = opened(tmp_path)
    for start in range(0, 50, 10):
        table.commit(change(rows(start, start + 10), record(start, start + 10)))
        table.offsets("one")
    DeltaTable(tmp_path).optimize.compact()
    DeltaTable(tmp_path).create_checkpoint()
    DeltaTable(tmp_path).cleanup_metadata()
    again = opened(tmp_path)
    assert again.offsets("one") == {0: 50}
    ends = [r.ranges[0].end for _, r in again.commits() if isinstance(r, CommitRecord)]
    assert ends == [10, 20, 30, 40, 50]
    assert again.rows() == 50


def test_the_record_of_a_cut_stands_in_the_delta_log(tmp_path: Path) -> None:
    """Any reader of Delta can see what a commit says of itself."""
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    entry = DeltaTable(tmp_path).history(1)[0]
    assert json.loads(entry["headwater"])["ranges"][0] == {
        "partition": 0,
        "start": 0,
        "end": 10,
        "rows": 10,
        "hash": "0" * 32,
    }
    assert DeltaTable(tmp_path).transaction_version("one/0") == 10


def test_a_table_with_features_that_are_not_kept_is_left_alone(tmp_path: Path) -> None:
    """Another writer may ask of all writers what we do not do: then nothing is written."""
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    DeltaTable(tmp_path).alter.add_constraint({"known": "_offset >= 0"})
    before = parquet_files(tmp_path)
    table = opened(tmp_path)
    table.offsets("one")
    with pytest.raises(StartRefusedError) as refused:
        table.commit(change(rows(10, 20), record(10, 20)))
    assert refused.value.code == "TABLE_FEATURE"
    assert parquet_files(tmp_path) == before


def test_a_commit_goes_behind_what_another_tool_wrote(tmp_path: Path) -> None:
    """A table may be compacted by any Delta writer between two snapshots."""
    table = opened(tmp_path)
    for start in (0, 10):
        table.offsets("one")
        table.commit(change(rows(start, start + 10), record(start, start + 10)))
    table.offsets("one")
    DeltaTable(tmp_path).optimize.compact()
    table.commit(change(rows(20, 30), record(20, 30)))
    found = DeltaTable(tmp_path).to_pyarrow_table()["_offset"].to_pylist()
    assert sorted(found) == list(range(30))
    assert opened(tmp_path).rows() == 30
    assert opened(tmp_path).offsets("one") == {0: 30}
