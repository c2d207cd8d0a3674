"""What `headwater demo` says of what an older one left in its folder."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.cli import demo as command
from headwater.cli.main import main
from headwater.errors import StartRefusedError


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a snapshot of other columns than those of today."""

    def visit(*_: object) -> Iterator[Any]:
        raise StartRefusedError("The columns are others.", code="SNAPSHOT_COLUMNS")

    (tmp_path / "schemas").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("headwater.embedded.stack.up", lambda *_, **__: None)
    monkeypatch.setattr(command, "resolve", lambda settings: settings)
    monkeypatch.setattr(command, "configure_logs", lambda **_: None)
    monkeypatch.setattr(command, "run_feed", lambda *_: [])
    monkeypatch.setattr(command, "visit", visit)
    return tmp_path


def demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says, which ends with 78."""
    monkeypatch.setattr(sys, "argv", ["headwater", "demo"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 78
    return capsys.readouterr().err


def test_what_an_older_demo_left_is_refused_with_a_way_out(
    refused: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code stays, and the folder to delete is named."""
    said = demo(monkeypatch, capsys)
    assert "SNAPSHOT_COLUMNS: The columns are others. If it is an older demo" in said
    assert f"run `headwater dev down`, delete {refused / '.headwater'} (all data" in said


@pytest.mark.usefixtures("refused")
def test_on_a_cluster_nobody_is_told_to_delete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies there is not the demo's alone."""
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", "there:9092")
    assert "delete" not in demo(monkeypatch, capsys)
