"""docs/evolution.md typed word for word."""

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from headwater.assembly.checking import check
from headwater.cli.main import main

PAGE: Final = (Path(__file__).parents[2] / "docs/evolution.md").read_text(encoding="utf-8")
FILE: Final = re.compile(r"^`(\S+)`\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAID: Final = re.compile(r"^```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the files of the page; also the current directory."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILE.findall(PAGE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_files_of_the_page_are_a_whole_project(typed: Path) -> None:
    """Nothing is missing from it, and `check` says what the page says."""
    checked = check([], typed)
    assert checked.products == ["operations.gate-delays", "operations.gate-delays.v2"]
    assert checked.notes == SAID.findall(PAGE)


def test_a_sunset_is_told_in_one_way_everywhere(
    typed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before its day and after, by every command that needs no broker."""
    for file in typed.rglob("v1.avsc"):
        file.write_text(file.read_text().replace("2030-06-30", "2020-06-30"))
    assert "`PAST ITS SUNSET of 2030-06-30 and may end any day`" in PAGE
    late = "PAST ITS SUNSET of 2020-06-30 and may end any day: read operations.gate-delays.v2"
    for words, times in (
        (["check"], 2),
        (["describe", "operations.gate-delays"], 1),
        (["describe", "operations.gate-delays.v2"], 1),
        (["schema", "show", "operations.gate-delays"], 1),
    ):
        monkeypatch.setattr(sys, "argv", ["headwater", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = " ".join(capsys.readouterr().out.split())
        assert (ended.value.code, said.count(late), said.count("2020-06-30")) == (0, times, times)
