"""Trouble while a table is kept up: told, harmless, and gone with its cause."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.snapshot.test_upkeep import (
    Opener,
    commit,
    data_files,
    kept,
    offsets,
    opened,
    require_whole,
    stored,
)

from headwater.adapters.directory import files
from headwater.errors import DamagedError
from headwater.ports import Swept

__all__ = ["opened", "stored"]


class StoppedError(Exception):
    """Whoever does the upkeep is to stop."""


def test_a_pin_that_is_none_is_told_and_nothing_is_taken_away(
    stored: Opener, tmp_path: Path
) -> None:
    """Somebody wrote it by hand: which version they need, nobody knows."""
    for number in range(10):
        commit(stored, number)
    stored().pin("audit", 2)
    (tmp_path / "snapshot" / "_pins" / "audit.json").write_text("v2")
    before = data_files(tmp_path)
    with pytest.raises(DamagedError, match=r"audit\.json"):
        kept(stored()).run()
    assert data_files(tmp_path) >= before
    stored().pin("audit", 2)
    kept(stored()).run()
    require_whole(stored(), 10)
    assert offsets(stored(), 2) == list(range(4))


def test_a_draft_that_gets_its_name_meanwhile_is_no_trouble(
    stored: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer at work beside the sweep; its drafts come and go."""
    commit(stored, 0)
    draft = tmp_path / "snapshot" / ".draft.tmp"
    draft.write_bytes(b"half")
    entries = files._entries

    def gone_by_then(folder: str, before: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        for name, entry in entries(folder, before):
            if name == draft.name:
                draft.unlink()
            yield name, entry

    monkeypatch.setattr(files, "_entries", gone_by_then)
    assert kept(stored()).run().swept == Swept()
    assert not draft.exists()


def test_an_upkeep_that_is_to_stop_leaves_the_table_as_it_was(opened: Opener) -> None:
    """Between two parts of the rows; the next one begins again."""
    for number in range(10):
        commit(opened, number)

    def stop() -> None:
        raise StoppedError

    before = opened().version()
    with pytest.raises(StoppedError):
        replace(kept(opened()), beat=stop).run()
    assert opened().version() == before
    assert kept(opened()).run().merged == 10
    require_whole(opened(), 10)
