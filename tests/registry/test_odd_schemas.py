"""`headwater schema` and `check` beside a registry that holds anything at all."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.registry.answering import SUBJECT, Answers, answering, held

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import schemas
from headwater.assembly.published import changed_in_registry
from headwater.assembly.schemas import PinOptions
from headwater.cli.main import main
from headwater.contract import parse_contract
from headwater.errors import DeclarationError
from headwater.ports import RegisteredSchema

TOPIC = "billing.invoices"
FIELD = {"name": "id", "type": "string", "doc": "Which one."}


def record(**more: Any) -> str:
    """A schema with these attributes."""
    return json.dumps({"type": "record", "name": "Invoice", "fields": [FIELD]} | more)


def nested(levels: int, *, name: str) -> str:
    """A record with an attribute that nests so deep."""
    return record(**{name: None}).replace("null", "[" * levels + "]" * levels)


def deep(levels: int) -> str:
    """A record with a type that nests so deep."""
    type_ = '{"type":"array","items":' * levels + '"int"' + "}" * levels
    return record(fields=[FIELD, {"name": "deep", "type": None}]).replace("null", type_)


NO_FIELDS: list[Any] = [None, "abc", [1], 5, {}, [{"type": "int"}], [{"name": 5}]]
NO_TYPES: list[Any] = [None, 5, [], {}, "txt"]
NO_ORDERS: list[Any] = [[], None, "up"]
NONE = [
    *(record(fields=each) for each in NO_FIELDS),
    *(record(fields=[{"name": "id", "type": each}]) for each in NO_TYPES),
    *(record(fields=[FIELD | {"order": each}]) for each in NO_ORDERS),
    *(record(name=5), record(namespace=5), record(aliases=5)),
    *(
        deep(33),
        deep(100),
        deep(300),
        deep(3_000),
        *(nested(each, name="x") for each in (401, 900, 3_000)),
    ),
    *("", "{", "null", "[]", "5", '"string"', '{"type":["record"]}', record(doc="\ud800")),
]
"""What no contract can be made of."""
LEVELS = (1, 40, 200, 390)
OURS = ("key", "eventTime", "doc", "rules", "dataset", "owner", "sunset", "maxAhead")
ODD: list[Any] = [5, [], [[]], {}, [{}], "soon", "DROP TABLE"]
SOME = [
    *(record(**{each: odd}) for each in OURS for odd in ODD),
    *(record(compatibility=odd) for odd in ODD),
    *(record(fields=[FIELD | {"rule": odd}]) for odd in ODD),
    record(fields=[FIELD | {"sensitivity": [], "unit": {}, "doc": []}]),
    *(nested(levels, name=each) for levels in LEVELS for each in ("x", "key", "rules")),
]
"""What is Avro, with attributes that mean something else than ours, or nothing."""


def registered(text: str) -> RegisteredSchema:
    """The schema as a registry gives it."""
    return RegisteredSchema(7, text, SUBJECT, 1)


class Holding(MemoryRegistry):
    """A registry of one version of one subject."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._held = registered(text)

    def versions(self, subject: str) -> list[RegisteredSchema]:
        """The one."""
        assert subject == SUBJECT
        return [self._held]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_schema_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    """Before anything walks into it, and without a file."""
    with pytest.raises(DeclarationError, match="BAD_SCHEMA") as refused:
        schemas.pin(tmp_path, TOPIC, registered(text), "FULL", PinOptions())
    assert f"version 1 of {SUBJECT}" in str(refused.value)
    with pytest.raises(DeclarationError):
        schemas.from_registry(Holding(text), TOPIC, SUBJECT, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", SOME)
def test_what_is_avro_is_pinned_whatever_else_it_says(tmp_path: Path, text: str) -> None:
    """What it says beyond is kept where it means nothing to us, and left out where it does."""
    done = schemas.pin(tmp_path, TOPIC, registered(text), "FULL", PinOptions())
    assert ([*done.contract.columns], done.contract.rules) == (["id"], ())
    _, shown = schemas.from_registry(Holding(text), TOPIC, SUBJECT, None)
    assert schemas.difference(done.contract, shown).changed == {}


@pytest.mark.parametrize("text", [*NONE, *SOME])
def test_any_schema_stands_beside_a_file(tmp_path: Path, text: str) -> None:
    """As one that differs."""
    file = tmp_path / "schemas/billing/invoices/v1.avsc"
    file.parent.mkdir(parents=True)
    file.write_text(record(doc="Ours."))
    (row,) = schemas.standings(tmp_path, TOPIC, SUBJECT, Holding(text))
    assert (row.is_equal, row.schema_id) == (False, 7)
    ours = parse_contract(file.read_text(), topic=TOPIC, version=1, path=file)
    (problem,) = changed_in_registry({TOPIC: [ours]}, Holding(text))
    assert problem.code == "PUBLISHED_CHANGED"


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`headwater` in an empty project, beside a registry of these answers."""
    root = tmp_path / "a/b/c/d/e/project"
    (root / "schemas").mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("HEADWATER_KAFKA", "127.0.0.1:1")

    def run(answers: Answers, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
        with answering(answers) as url:
            monkeypatch.setenv("HEADWATER_REGISTRY", url)
            with pytest.raises(SystemExit) as caught:
                main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


HELD = {"subject": SUBJECT, "version": 1, "id": 7, "schema": record()}


@pytest.mark.parametrize(
    "answer",
    [
        {"version": "/../../../../../evil"},
        {"version": True},
        {"id": "5x"},
        {"guid": "nonsense"},
        {"guid": 5},
        {"schema": {}},
    ],
)
def test_nothing_is_written_for_a_registry_that_talks_nonsense(
    command: Command, tmp_path: Path, answer: dict[str, Any]
) -> None:
    """Outside the project least of all; it is the registry that is away."""
    code, said, wrong = command(held(HELD, **answer), "schema", "pin", TOPIC)
    assert (code, said) == (69, "")
    assert wrong.startswith("UNAVAILABLE: The schema registry at http://127.0.0.1")
    assert list(tmp_path.rglob("*.avsc")) == []


@pytest.mark.parametrize("text", [record(fields=None), deep(3_000), nested(3_000, name="x")])
@pytest.mark.parametrize("verb", [("pin", TOPIC), ("show", TOPIC, "--subject", SUBJECT)])
def test_a_schema_that_is_none_is_the_declarations_mistake(
    command: Command, text: str, verb: tuple[str, ...]
) -> None:
    """One sentence, exit 78, no trace."""
    code, _, wrong = command(held(HELD, schema=text), "schema", *verb)
    assert (code, wrong.count("\n")) == (78, 1)
    assert "BAD_SCHEMA: " in wrong


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_was_left_out_is_said(command: Command, form: str) -> None:
    """In the words of the command and for scripts."""
    text = record(rules=[{"name": "r", "check": "1 > 0"}], fields=[FIELD | {"rule": "id <> 'x'"}])
    code, said, _ = command(held(HELD, schema=text), "schema", "pin", TOPIC, "--format", form)
    assert code == 0
    if form == "json":
        assert json.loads(said)["rules_left_out"] == ["rules", "rule of id"]
    else:
        assert "its rules were left out, write your own: rules, rule of id" in said


def test_a_deep_attribute_is_shown(command: Command) -> None:
    """Python's encoder follows as deep as a schema is taken."""
    answers = held(HELD, schema=nested(390, name="x"))
    shown = command(answers, "schema", "show", TOPIC, "--subject", SUBJECT, "--format", "json")
    assert shown[0] == 0
