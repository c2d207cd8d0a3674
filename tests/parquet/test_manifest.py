"""What is of Parquet tables alone: their manifests."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import xxhash
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.parquet.table import ParquetSnapshotTable
from headwater.errors import DamagedError, StartRefusedError
from headwater.ports import UnreadableRecord


def opened(directory: Path) -> ParquetSnapshotTable:
    """A new handle."""
    return ParquetSnapshotTable(DirectoryFiles(directory), product=TOPIC, topic=TOPIC)


def entry(directory: Path, version: int) -> Path:
    """The manifest of a version."""
    return directory / "manifest" / f"{version:020}.json"


def two_commits(directory: Path) -> None:
    """A table of versions 0 to 2."""
    table = opened(directory)
    for start in (0, 10):
        table.offsets("one")
        table.commit(change(rows(start, start + 10), record(start, start + 10)))


def sealed(lines: list[str]) -> str:
    """Lines of a manifest with the digest that belongs to them."""
    text = "".join(line + "\n" for line in lines)
    digest = xxhash.xxh3_128_hexdigest(text.encode())
    return text + json.dumps({"digest": digest}, separators=(",", ":")) + "\n"


def test_a_reader_needs_nothing_but_json_and_parquet(tmp_path: Path) -> None:
    """The newest manifest names every file, with size, rows, bounds and the digest of its bytes."""
    two_commits(tmp_path)
    newest = max((tmp_path / "manifest").glob("*.json"))
    head, *files, seal = map(json.loads, newest.read_text().splitlines())
    assert (head["version"], head["product"], head["topic"]) == (2, TOPIC, TOPIC)
    assert head["headwater"]["ranges"][0]["end"] == 20
    assert head["offsets"] == {"one": {"0": 20}}
    assert set(seal) == {"digest"}
    assert [(each["rows"], each["offsets"]) for each in files] == [(10, [0, 9]), (10, [10, 19])]
    for each in files:
        content = (tmp_path / each["path"]).read_bytes()
        assert each["size"] == len(content)
        assert each["digest"] == xxhash.xxh3_128_hexdigest(content)
    found = pq.read_table([tmp_path / each["path"] for each in files])
    assert sorted(found["_offset"].to_pylist()) == list(range(20))


def test_old_manifests_stay_and_hold_the_records(tmp_path: Path) -> None:
    """Any version can be read for as long as its files stand."""
    two_commits(tmp_path)
    assert sorted(path.stem for path in (tmp_path / "manifest").iterdir()) == [
        f"{version:020}" for version in range(3)
    ]
    assert [version for version, _ in opened(tmp_path).commits()] == [1, 2]


def test_a_crash_after_the_creation_leaves_a_table_that_goes_on(tmp_path: Path) -> None:
    """A table without rows, or a folder without a manifest, is no obstacle."""
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    entry(tmp_path / "a", 1).unlink()
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "a").rows() == 10
    (tmp_path / "b" / "manifest").mkdir(parents=True)
    (tmp_path / "b" / "manifest" / ".half.tmp").write_text("{")
    opened(tmp_path / "b").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "b").rows() == 10


def test_a_table_cut_back_to_an_older_version_goes_on_from_there(tmp_path: Path) -> None:
    """The newest manifest that stands is the table, for a handle that saw a newer one too."""
    two_commits(tmp_path)
    table = opened(tmp_path)
    entry(tmp_path, 2).unlink()
    assert table.offsets("one") == {0: 10}
    table.commit(change(rows(10, 12), record(10, 12)))
    assert opened(tmp_path).rows() == 12


@pytest.mark.parametrize("version", [0, 1])
def test_a_manifest_that_is_gone_is_damage(tmp_path: Path, version: int) -> None:
    """Its record is gone with it, so nobody can tell what the table took."""
    two_commits(tmp_path)
    entry(tmp_path, version).unlink()
    with pytest.raises(DamagedError, match=f"lacks the manifest of version {version}"):
        opened(tmp_path).commits()


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"{"),
        lambda path: path.write_bytes(b"\xff\xfe\0"),
        lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1])),
        lambda path: path.write_text(path.read_text().replace('"rows":10', '"rows":11', 1)),
        lambda path: path.write_text(path.read_text().replace('"0":20', '"0":21', 1)),
        lambda path: path.write_text(sealed(["[]"])),
    ],
    ids=["emptied", "cut short", "garbled", "no seal", "rows changed", "end changed", "no head"],
)
def test_a_newest_manifest_that_is_not_what_was_written_is_damage(
    tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    """One sentence, and nothing is written behind it."""
    two_commits(tmp_path)
    harm(entry(tmp_path, 2))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DamagedError) as refused:
        opened(tmp_path)
    assert refused.value.code == "SNAPSHOT_DAMAGED"
    assert "\n" not in str(refused.value)
    assert set(tmp_path.rglob("*")) == before


def test_a_record_that_cannot_be_read_is_told_with_its_version(tmp_path: Path) -> None:
    """The table is whole, but what was taken is not known: the writer refuses to go on."""
    two_commits(tmp_path)
    lines = entry(tmp_path, 2).read_text().splitlines()
    head = json.loads(lines[0])
    head["headwater"].pop("ranges")
    entry(tmp_path, 2).write_text(sealed([json.dumps(head), *lines[1:-1]]))
    table = opened(tmp_path)
    _, (version, found) = table.commits()
    assert version == 2
    assert isinstance(found, UnreadableRecord)
    assert table.last_commit() == (version, found)


def test_a_table_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    """What a manifest of another format means is not guessed."""
    two_commits(tmp_path)
    lines = entry(tmp_path, 2).read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"format": 2})
    entry(tmp_path, 2).write_text(sealed(lines[:-1]))
    with pytest.raises(StartRefusedError) as refused:
        opened(tmp_path)
    assert refused.value.code == "TABLE_FEATURE"


def test_rows_by_another_writer_are_not_of_the_table(tmp_path: Path) -> None:
    """A file that no manifest names is no part of it; one that was rewritten is damage."""
    two_commits(tmp_path)
    table = opened(tmp_path)
    name = table.files()[0].name
    pq.write_table(rows(20, 30), tmp_path / "more.parquet")
    assert opened(tmp_path).rows() == 20
    pq.write_table(pq.read_table(tmp_path / name), tmp_path / name)
    with pytest.raises(DamagedError, match=name):
        list(table.scan(name))
