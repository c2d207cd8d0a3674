"""Upkeep of a Delta table as other readers of Delta see it."""

import os
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.delta.reading import load
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.delta.upkeep import CHECKPOINT_VERSIONS, checkpoint
from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.objects.files import BucketFiles
from headwater.errors import DamagedError
from headwater.ports import Change, NewFile

DAY_MS = 86_400_000


def opened(directory: Path) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(DirectoryFiles(directory), product=TOPIC, topic=TOPIC)


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


def test_a_writer_makes_a_checkpoint_of_every_tenth_version(tmp_path: Path) -> None:
    """Whoever opens a table between two runs of upkeep replays ten entries at most."""
    commits(tmp_path, range(21))
    assert checkpoints(tmp_path) == [10, 20]
    for entry in (tmp_path / "_delta_log").glob("0*[01][0-9].json"):
        entry.unlink()
    assert DeltaTable(tmp_path).to_pyarrow_table().num_rows == 210


def test_the_newest_record_is_found_without_a_list_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log only grows, and a commit asks for the newest record; merges have none."""
    commits(tmp_path, range(3))
    table = opened(tmp_path)
    table.commit(replacing([file.name for file in table.files()]))
    monkeypatch.delattr(DeltaTable, "history")
    found = opened(tmp_path).last_commit()
    assert found is not None
    version, last = found
    assert (version, last) == (3, record(20, 30))


def test_a_newest_record_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    """Where a checkpoint spares readers the entry, the writer still says what is wrong with it."""
    commits(tmp_path, range(3))
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    entry = tmp_path / "_delta_log" / f"{3:020d}.json"
    entry.write_text(entry.read_text().replace("{", "[", 1))
    with pytest.raises(DamagedError, match="entry 3"):
        opened(tmp_path).last_commit()


def test_a_commit_leads_where_the_log_says(tmp_path: Path) -> None:
    """A handle knows the ends behind its own commit, and asks again behind another's."""
    table, other = opened(tmp_path), opened(tmp_path)
    for start, writer in enumerate([table, table, other, table, other]):
        writer.offsets("one")
        writer.commit(
            change(rows(10 * start, 10 * start + 10), record(10 * start, 10 * start + 10))
        )
        told = DeltaTable(tmp_path).transaction_version("one/0")
        assert writer.offsets("one") == {0: told} == opened(tmp_path).offsets("one")
        assert writer.offsets("another topic's") == {}


def test_files_stay_where_another_writer_cleaned_the_log(tmp_path: Path) -> None:
    """What it took out, and when, nobody can tell any more."""
    commits(tmp_path, range(3))
    table = opened(tmp_path)
    removed = [file.name for file in table.files()]
    table.commit(replacing(removed))
    opened(tmp_path).tidy(in_days(0), 30 * DAY_MS)
    for version in range(5):
        (tmp_path / "_delta_log" / f"{version:020d}.json").unlink()
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


def test_a_checkpoint_is_durable_before_its_name_and_named_before_the_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a power cut leaves, no reader is led to a checkpoint that is not whole."""
    commits(tmp_path, range(5))
    told: list[tuple[str, int]] = []
    synced: dict[int, int] = {}
    sync, replace = os.fsync, Path.replace

    def syncing(descriptor: int) -> None:
        sync(descriptor)
        about = os.fstat(descriptor)
        synced[about.st_ino] = about.st_size

    def naming(path: Path, target: Path) -> Path:
        assert synced[path.stat().st_ino] == path.stat().st_size > 0
        told.append((target.name, len(synced)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", naming)
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    (checkpoint, before), (hint, behind) = told
    assert (checkpoint, hint) == (f"{5:020d}.checkpoint.parquet", "_last_checkpoint")
    assert behind >= before + 2  # the folder with the checkpoint's name, then the hint itself


def test_a_checkpoint_follows_the_one_before_it(tmp_path: Path) -> None:
    """The entries that this one stands for are not read again; another reader finds all rows."""
    commits(tmp_path, range(3))
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    for version in (1, 2):
        (tmp_path / "_delta_log" / f"{version:020d}.json").unlink()
    commits(tmp_path, range(3, 5))
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    assert checkpoints(tmp_path) == [3, 5]
    assert DeltaTable(tmp_path).to_pyarrow_table().num_rows == 50


def test_a_handle_that_looked_long_ago_leaves_a_newer_checkpoint_alone(tmp_path: Path) -> None:
    """Another process went on meanwhile; its hint names what this one does not know yet."""
    commits(tmp_path, range(3))
    older = DeltaTable(tmp_path)
    commits(tmp_path, range(3, 5))
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    checkpoint(older, DirectoryFiles(tmp_path))
    assert checkpoints(tmp_path) == [5]
    assert opened(tmp_path).rows() == 50


def test_a_checkpoint_in_a_bucket_is_put_before_the_hint_and_asked_for_by_name(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a directory; a list that lags behind misleads no writer."""
    files = BucketFiles(bucket)
    table = DeltaSnapshotTable(files, product=TOPIC, topic=TOPIC)
    put, told = BucketFiles.put, list[str]()

    def putting(self: BucketFiles, name: str, content: bytes) -> None:
        told.append(name.removeprefix("_delta_log/"))
        put(self, name, content)

    monkeypatch.setattr(BucketFiles, "put", putting)
    for number in range(2 * CHECKPOINT_VERSIONS + 1):
        table.offsets("one")
        with monkeypatch.context() as patch:
            patch.setattr(BucketFiles, "listed", lambda *_given: iter(()))
            table.commit(change(rows(number, number + 1), record(number, number + 1)))
    assert told == [
        f"{10:020d}.checkpoint.parquet",
        "_last_checkpoint",
        f"{20:020d}.checkpoint.parquet",
        "_last_checkpoint",
    ]
    assert load(files).count() == 2 * CHECKPOINT_VERSIONS + 1


@pytest.mark.parametrize("left", [0, 1_000], ids=["empty", "cut short"])
def test_a_torn_checkpoint_is_told_with_the_way_out(tmp_path: Path, left: int) -> None:
    """Of another writer, whose disk lost it with the power: what is said makes the table whole."""
    commits(tmp_path, range(5))
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    log = tmp_path / "_delta_log"
    (torn,) = log.glob("*.checkpoint.parquet")
    torn.write_bytes(torn.read_bytes()[:left])
    with pytest.raises(DamagedError, match=r"remove that and _last_checkpoint") as told:
        opened(tmp_path)
    assert torn.name in str(told.value)
    torn.unlink()
    (log / "_last_checkpoint").unlink()
    assert opened(tmp_path).rows() == 50
    opened(tmp_path).tidy(in_days(0), DAY_MS)
    assert checkpoints(tmp_path) == [5]
