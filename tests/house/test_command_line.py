"""The command line is one thing: every command explains itself in the same words."""

import importlib
import json
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, get_origin

import pytest
import typer

from headwater.cli.main import COMMANDS, main, report

PRODUCT = "Name, folder or file of a product."
EXITS = re.compile(r"Exit codes: 0 \S.*\.$")


METAVAR = re.compile(r"[A-Z|]+|[A-Z]*\[?PARTITION\]?@OFFSET")


def is_choice(parameter: Any) -> bool:
    """One of some words, which the help page shows in the place of a metavar."""
    annotation = parameter.type_descriptor.annotation
    return get_origin(annotation) is Literal or issubclass(annotation, Enum)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and subcommand by what a person types, groups included."""
    for name in COMMANDS:
        module = importlib.import_module(f"headwater.cli.{name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        yield name, command
        for inner, each in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", each


ALL = dict(commands())
RUNNING = {
    name: each
    for name, each in ALL.items()
    if not hasattr(each, "commands") or each.invoke_without_command
}
OPTIONS = [
    (name, parameter)
    for name, each in RUNNING.items()
    for parameter in each.params
    if parameter.name != "help"
]


def test_there_are_commands_to_look_at() -> None:
    """The tests below would be empty without."""
    assert {"dead-letters replay", "schema diff", "dev up", "demo", "run"} <= RUNNING.keys()
    assert callable(report)


@pytest.mark.parametrize("name", ALL)
def test_every_command_shows_an_example_of_itself(name: str) -> None:
    """The first words of its epilog, so that they can be copied."""
    epilog = ALL[name].epilog or ""
    assert epilog.startswith("Example: ")
    assert f"headwater {name}" in epilog


@pytest.mark.parametrize("name", RUNNING)
def test_every_command_tells_its_exit_codes(name: str) -> None:
    """The last words of its epilog; zero comes first, and only those of the README are used."""
    found = EXITS.search(RUNNING[name].epilog)
    assert found is not None
    told = [int(code) for code in re.findall(r"\b(?:(?<=[:,;] )|(?<=codes: ))(\d+) ", found[0])]
    assert told == sorted(told)
    assert set(told) <= {0, 1, 2, 65, 69, 70, 75, 78, 142}


@pytest.mark.parametrize("name", ALL)
def test_wrong_usage_is_a_mistake_of_78(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never 2, which is an answer: cannot be decided. One line says what is wrong, in JSON too."""
    monkeypatch.setattr("sys.argv", ["headwater", *name.split(), "--nonsense", "--format", "json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 78
    said = capsys.readouterr()
    (problem,) = json.loads(said.out)["problems"]
    assert problem["code"] == "USAGE"
    assert "No such option: --nonsense" in problem["message"]
    assert problem["message"].endswith(f"See `headwater {name} --help`.")
    assert said.err.splitlines() == [f"USAGE: {problem['message']}"]


@pytest.mark.parametrize("name", ["", *(name for name in ALL if name not in RUNNING)])
def test_a_group_without_a_command_is_wrong_usage_that_gets_its_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page says what there is, and nothing is added to it."""
    monkeypatch.setattr("sys.argv", ["headwater", *name.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 78
    said = capsys.readouterr()
    assert "Usage: " in said.out
    assert not said.err


@pytest.mark.parametrize("name", ALL)
def test_paragraphs_of_help_are_as_wide_as_the_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as wide as the source: no line breaks within one but those of the terminal."""
    monkeypatch.setattr("sys.argv", ["headwater", *name.split(), "--help"])
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = capsys.readouterr().out
    for paragraph in (ALL[name].help or "").split("\n\n"):
        assert " ".join(paragraph.split()) in said


@pytest.mark.parametrize(
    ("name", "parameter"), OPTIONS, ids=lambda each: getattr(each, "name", each)
)
def test_every_argument_says_what_it_is_and_what_to_write(name: str, parameter: Any) -> None:
    """A word in capitals for a value, one sentence for a meaning; what may be repeated says so."""
    assert (parameter.help or "").strip(), name
    if parameter.name in {"product", "products"}:
        assert (parameter.metavar, parameter.help) == ("PRODUCT", PRODUCT)
    if not (getattr(parameter, "is_flag", False) or is_choice(parameter)):
        assert METAVAR.fullmatch(parameter.metavar or ""), name
    if getattr(parameter, "multiple", False):
        assert "repeatable" in parameter.help


@pytest.mark.parametrize("name", ["diff", "schema diff"])
def test_both_comparisons_say_what_they_compare(name: str) -> None:
    """One compares data, the other versions of a contract."""
    first = ALL[name].help.splitlines()[0]
    assert ("data" in first, "contract" in first) == (name == "diff", name != "diff")
