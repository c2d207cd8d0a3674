"""What `headwater dead-letters` says, and what it refuses to do."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from tests.dead_letters.world import World

from headwater.assembly.letters.box import Entry
from headwater.assembly.letters.replay import Replayed, ReplayOptions
from headwater.cli.letter_answers import print_list, print_outcome
from headwater.cli.letter_options import selection_of
from headwater.cli.main import main
from headwater.errors import ConfigurationError
from headwater.model import Code

REASON: Final = "rule 'age > 0' is broken"
NARROW: Final = 40  # columns: less than a letter's line and its reason need


@pytest.fixture
def entries() -> list[Entry]:
    """Two open letters; the first was refused three times, for a long reason."""
    world = World()
    world.set_aside(b"1", code=Code.SCHEMA_SUBJECT_MISMATCH)
    world.set_aside(b"2")
    first, second = world.entries()
    letter = replace(first.letter, message=f"{REASON} " * 8, attempts=3)
    return [replace(first, letter=letter), second]


def test_a_listed_letter_is_a_line_that_stays_whole_and_below_it_why(
    entries: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    """Piped, so that grep finds code, place and reason; times are of seconds."""
    print_list(entries, has_resolved=False)
    heading, first, why, second, because = capsys.readouterr().out.splitlines()
    assert heading.split() == ["at", "code", "record", "first", "seen"]
    at, code, record, seen = first.split()
    assert (at, code, record) == ("0@0", "SCHEMA_SUBJECT_MISMATCH", "in[0]@0")
    assert len(seen) == len("2026-11-21T16:52:38Z")
    assert why == f"    step, 3 attempts: {' '.join([REASON] * 8)}"
    assert second.split()[1] == "STEP_FAILED"
    assert because == "    step: why"


def test_resolved_letters_are_listed_with_what_became_of_them(
    entries: list[Entry], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a last column, where there can be any."""
    print_list([replace(entries[0], status="failed-again")], has_resolved=True)
    heading, first, _ = capsys.readouterr().out.splitlines()
    assert (heading.split()[-1], first.split()[-1]) == ("status", "failed-again")


def test_on_a_terminal_reasons_are_shortened_and_names_are_not(
    entries: list[Entry],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However narrow it is."""
    monkeypatch.setenv("COLUMNS", str(NARROW))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_list(entries, has_resolved=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1] == "SCHEMA_SUBJECT_MISMATCH"
    assert lines[2] == f"    step, 3 attempts: {REASON}"[: NARROW - 1] + "…"


@pytest.mark.parametrize("code", ["CONTRACT_VIOLATION", "contract_violation", "contract-violation"])
def test_a_code_may_be_written_in_any_case(code: str) -> None:
    """It is meant as letters carry it."""
    assert selection_of([code], None, None, None, None).codes == {"CONTRACT_VIOLATION"}


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("contract_violaton", "did you mean CONTRACT_VIOLATION?"),
        ("NOSUCH", "the codes are EMPTY_VALUE, BAD_MAGIC, "),
    ],
)
def test_a_code_that_is_none_is_refused(code: str, advice: str) -> None:
    """Instead of finding no letters, which would look like good news."""
    with pytest.raises(ConfigurationError) as refused:
        selection_of([code], None, None, None, None)
    (problem,) = refused.value.problems
    assert problem.code == "BAD_VALUE"
    assert f"--code {code}: there is no such code; {advice}" in problem.message


def test_a_time_is_meant_to_the_millisecond() -> None:
    """In whatever zone it is written."""
    for text in ("2026-01-31T00:00:00.001Z", "2026-01-31T01:00:00.001+01:00"):
        assert selection_of(None, None, text, None, None).since_ms == 1_769_817_600_001


@pytest.mark.parametrize("text", ["2026-01-31T00:00:00", "yesterday"])
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    """Letters are of a moment, not of whatever zone a shell is in."""
    with pytest.raises(ConfigurationError) as refused:
        selection_of(None, None, text, None, None)
    (problem,) = refused.value.problems
    assert problem.message.startswith(f"--since {text}: write a time with its zone")


def test_nothing_is_discarded_where_nobody_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal only --yes is a yes, before anything else is looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.isatty", lambda _file: False)
    line = ["headwater", "dead-letters", "discard", "people.signups", "--reason", "x"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 78
    said = capsys.readouterr().err
    assert said.startswith("UNCONFIRMED: standard input is no terminal")
    assert "--yes" in said


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ({"replayed": 0}, ["t: 0 letters replayed"]),
        ({"replayed": 1}, ["t: 1 letter replayed, nothing to publish"]),
        ({"replayed": 2, "written": {"out": 2}}, ["t: 2 letters replayed, 2 to out"]),
        (
            {"replayed": 1, "written": {"out": 1}, "keys": 1, "newer_keys": 1},
            ["t: 1 letter replayed, 1 to out", "  1 of 1 key has newer values"],
        ),
        (
            {"replayed": 2, "moved": {"r": 1}, "superseded": {"out.latest-1": 1}},
            [
                "t: 2 letters replayed, nothing to publish",
                "  1 row to r, where the product goes on with them",
                "  1 row dropped by out.latest-1: a later one of the key came before",
            ],
        ),
        (
            {"replayed": 0, "left_newer": 1, "keys": 3, "newer_keys": 2},
            [
                "t: 0 letters replayed",
                "  1 letter left open: its key has newer values",
                "  2 of 3 keys have newer values",
            ],
        ),
    ],
)
def test_what_a_replay_came_to_is_told_in_sentences(
    done: dict[str, Any], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one, of many, and of nothing."""
    print_outcome("t", Replayed(**done), ReplayOptions(if_newest=False, is_dry=False))
    assert capsys.readouterr().out.splitlines() == said
