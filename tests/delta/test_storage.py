"""What a snapshot directory does when the storage or its content is in the way."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.snapshot.changes import change

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.errors import DamagedError, RetriableError, StartRefusedError
from headwater.ports import CommitRecord, CutRange

TOPIC = "shop.orders"


def opened(directory: Path) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(directory, product=TOPIC, topic=TOPIC)


def rows(start: int, end: int) -> pa.Table:
    """Rows of partition 0 that do not compress."""
    offsets = range(start, end)
    return pa.table(
        {
            "id": pa.array([f"{hash((o, 'salt')):x}" for o in offsets], pa.string()),
            "_partition": pa.array([0 for _ in offsets], pa.int32()),
            "_offset": pa.array(offsets, pa.int64()),
            "_timestamp": pa.array(offsets, pa.timestamp("ms", "UTC")),
        }
    )


def record(start: int, end: int) -> CommitRecord:
    """The commit of those rows."""
    taken = CutRange(0, start, end, end - start, "0" * 32)
    return CommitRecord(f"commit-{start}-{end}", TOPIC, TOPIC, "one", 1, (taken,), 1_000)


def parquet_files(directory: Path) -> set[str]:
    """Names of all data files, those without a commit included."""
    return {path.name for path in directory.glob("*.parquet")}


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    """Files of somebody else are never mixed with a table."""
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(StartRefusedError, match="other files") as refused:
        opened(tmp_path)
    assert refused.value.code == "NOT_OUR_TABLE"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A Delta table without our mark, or of another topic, is refused."""
    write_deltalake(tmp_path, pa.table({"id": [1]}))
    with pytest.raises(StartRefusedError, match="another table") as refused:
        opened(tmp_path)
    assert refused.value.code == "NOT_OUR_TABLE"
    assert DeltaTable(tmp_path).version() == 0


def test_a_table_of_another_topic_is_refused_by_its_name(tmp_path: Path) -> None:
    """Two topics in one directory would mix their rows."""
    other = DeltaSnapshotTable(tmp_path, product="shop.returns", topic="shop.returns")
    other.commit(change(rows(0, 1), record(0, 1)))
    with pytest.raises(StartRefusedError, match=r"shop\.returns"):
        opened(tmp_path)


def test_a_place_that_cannot_be_a_directory_is_one_sentence(tmp_path: Path) -> None:
    """A file in the way: what, where, what to do next."""
    (tmp_path / "file").write_text("")
    with pytest.raises((RetriableError, StartRefusedError)) as refused:
        opened(tmp_path / "file" / "table").commit(change(rows(0, 1), record(0, 1)))
    assert "file/table" in str(refused.value)
    assert "\n" not in str(refused.value)


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_storage import change, opened, record, rows
from headwater.errors import RetriableError
table = opened(Path(sys.argv[1]))
table.offsets("one")
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    table.commit(change(rows(10, 50_000), record(10, 50_000)))
except RetriableError as error:
    print(error.code, error)
"""


@pytest.mark.parametrize("limit", [0, 50_000], ids=["nothing fits", "half a file fits"])
def test_a_full_disk_is_one_sentence_and_nothing_is_half_visible(
    tmp_path: Path, limit: int
) -> None:
    """The table stays at its last commit, no file is left, and the next run commits once."""
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    before = parquet_files(tmp_path)
    program = FULL.format(tests=str(Path(__file__).parent), limit=limit)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SNAPSHOT_STORAGE Could not write the snapshot")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert parquet_files(tmp_path) == before
    table = opened(tmp_path)
    assert table.offsets("one") == {0: 10}
    assert table.rows() == 10
    table.commit(change(rows(10, 50_000), record(10, 50_000)))
    assert opened(tmp_path).rows() == 50_000


def test_files_of_a_crash_before_the_commit_do_no_harm(tmp_path: Path) -> None:
    """Data files that no commit names are invisible, and the rerun commits once."""
    table = opened(tmp_path)
    table.commit(change(rows(0, 10), record(0, 10)))
    table.offsets("one")
    table.commit(change(rows(10, 20), record(10, 20)))
    # The state of a process that died between the data files and their commit:
    (tmp_path / "_delta_log" / f"{2:020}.json").unlink()
    rerun = opened(tmp_path)
    assert rerun.offsets("one") == {0: 10}
    assert rerun.rows() == 10
    rerun.commit(change(rows(10, 20), record(10, 20)))
    assert opened(tmp_path).rows() == 20
    assert len(parquet_files(tmp_path)) == 3


def test_a_crash_after_the_creation_leaves_a_table_that_goes_on(tmp_path: Path) -> None:
    """A table without rows, or a `_delta_log` without a version, is no obstacle."""
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    (tmp_path / "a" / "_delta_log" / f"{1:020}.json").unlink()
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "a").rows() == 10
    (tmp_path / "b" / "_delta_log").mkdir(parents=True)
    opened(tmp_path / "b").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "b").rows() == 10


def test_a_lost_answer_to_a_commit_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that happened but reported an error is not repeated, and its files stay."""
    real = DeltaTable.create_write_transaction

    def loses_the_answer(self: DeltaTable, *args: object, **kwargs: object) -> None:
        real(self, *args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", loses_the_answer)
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path).offsets("one") == {0: 10}
    assert len(opened(tmp_path).files()) == 1


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


def test_a_bit_that_rots_in_a_row_is_damage_never_another_value(tmp_path: Path) -> None:
    """Pages carry checksums, and they are looked at."""
    table = opened(tmp_path)
    table.commit(change(rows(0, 5_000), record(0, 5_000)))
    (path,) = tmp_path.glob("*.parquet")
    content = path.read_bytes()
    for place in range(100, len(content) * 9 // 10, 4_999):  # the footer is behind
        rotten = bytearray(content)
        rotten[place] ^= 1 << (place % 8)
        path.write_bytes(rotten)
        with pytest.raises(DamagedError, match=path.name):
            list(table.scan(path.name))
    path.write_bytes(content)
    assert sum(batch.num_rows for batch in table.scan(path.name)) == 5_000


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
