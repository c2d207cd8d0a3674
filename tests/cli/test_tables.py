"""Tables as a terminal, a log or a program reads them."""

import sys

import pytest
from rich.table import Table

from headwater.cli.tables import show, table

PLACE = "operations.departure-delays[0]@123456"
CODE = "SCHEMA_SUBJECT_MISMATCH"


@pytest.fixture
def made() -> Table:
    """Names that must stay whole, beside sentences."""
    made = table("topic", "rows", "code", "what it is", numbers={"rows"})
    made.add_row(PLACE, "336,776", CODE, "word " * 40)
    made.add_row("x" * 30, "1", "[red]", "[red]not markup[/red]")
    return made


def test_a_row_that_is_piped_is_one_line(made: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever its length: nothing folds, nothing is cut off, no blanks stand at the end."""
    show(made)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split() == [PLACE, "336,776", CODE, *["word"] * 40]
    assert "[red]not markup[/red]" in lines[2]
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_on_a_terminal_sentences_fold_and_names_do_not(
    made: Table, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between words alone; a terminal narrower than the names gets longer lines."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(made)
    said = capsys.readouterr().out
    names = len(f"{PLACE}  336,776  {CODE}  markup[/red]")
    assert max(map(len, said.splitlines())) <= max(width, names)
    assert PLACE in said
    assert CODE in said
    assert "336,776" in said
    assert said.count("word") == 40
    assert "x" * 30 in said
