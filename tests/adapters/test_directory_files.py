"""What the files of a table in a directory promise beside the laws of tables."""

import os
from pathlib import Path

import pytest
from tests.adapters.durability import watched_syncs

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.tables.files import StoredFile, numbered
from headwater.adapters.tables.upkeep import is_beside


def test_a_settled_file_is_durable_with_every_folder_that_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not take a new folder away, with what a commit names in it."""
    synced = watched_syncs(monkeypatch)
    files, name = DirectoryFiles(tmp_path), "data/airport=CPH/part-0.parquet"
    with files.writing(str(Path(name).parent), lambda: name) as sink:
        sink.write(b"rows")
    files.settle([name])
    led = [tmp_path / name, *(tmp_path / name).parents]
    assert {each.stat().st_ino for each in led[: led.index(tmp_path) + 1]} <= synced


def test_a_directory_that_is_made_during_a_look_holds_no_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process begins the table there; a second look must not take it for a file."""
    place = tmp_path / "table"
    real = Path.is_dir

    def looked(path: Path) -> bool:
        found = real(path)
        place.mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(Path, "is_dir", looked)
    assert DirectoryFiles(place).children() == set()


def test_a_file_where_a_directory_was_asked_for_tells_its_own_name(tmp_path: Path) -> None:
    """So the refusal names what stands there."""
    (tmp_path / "notes.txt").write_text("mine")
    assert DirectoryFiles(tmp_path / "notes.txt").children() == {"notes.txt"}


def test_a_numbered_file_is_json_in_the_folder_itself() -> None:
    """A pin may be named by a number, and a checkpoint is: neither is a version of the table."""
    version = StoredFile(f"_delta_log/{7:020d}.json", 1, 0.0)
    others = (
        "_pins/8.json",
        "_delta_log/old/9.json",
        "_delta_log/10",
        "_delta_log/11.checkpoint.parquet",
        "_delta_log/12.tmp.json",
        "13.json",
    )
    listed = [version, *(StoredFile(name, 1, 0.0) for name in others)]
    assert list(numbered(listed, "_delta_log")) == [(7, version)]


def test_what_a_crash_leaves_of_a_file_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upkeep takes it away, whichever way the file was written."""
    files = DirectoryFiles(tmp_path)
    left: list[StoredFile] = []
    with files.writing("", lambda: "part-0.parquet"):
        left += files.listed()
    files.delete("part-0.parquet")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: left.extend(files.listed()))
    files.put("note", b"x")
    drafts = [each for each in left if each.name != "note"]
    assert len(drafts) == 2
    assert all(map(is_beside, drafts))
