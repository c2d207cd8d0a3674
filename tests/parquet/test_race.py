"""What one handle says of commits and of files is of one version."""

from pathlib import Path

import pytest
from tests.snapshot.lake import Lake

from headwater.adapters.parquet import manifest
from headwater.adapters.tables.files import TableFiles


def test_a_commit_that_comes_between_two_looks_is_in_both_or_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever verifies would take the rows of the other version for missing."""
    lake = Lake(tmp_path / "orders", "parquet")
    table, listed = lake.table(), manifest.versions

    def beaten(files: TableFiles) -> list[int]:
        monkeypatch.setattr(manifest, "versions", listed)
        lake.publish(300, 310)
        lake.take()
        return listed(files)

    before = {each.name for each in lake.table().files()}
    monkeypatch.setattr(manifest, "versions", beaten)
    commits = table.commits()
    assert (len(commits) == 2) == ({each.name for each in table.files()} == before)
    assert len(table.commits()) == 3
