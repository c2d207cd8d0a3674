"""Where the records of a pinned contract come from: subjects, names of contracts, how to read."""

import json
import sys
from pathlib import Path

import pytest
from tests.testing.conftest import Project

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import schemas
from headwater.assembly.schemas import PinOptions
from headwater.assembly.upstream import subject_for, upstream_of
from headwater.cli.main import main
from headwater.errors import DeclarationError
from headwater.ports import RegisteredSchema
from headwater.product.names import event_name

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "GateOpened",
        "namespace": "shop",
        "fields": [{"name": "gate", "type": "string", "doc": "Which."}],
    }
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, which is also the current directory."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


def found(subject: str) -> RegisteredSchema:
    """The schema as registered under a subject."""
    return RegisteredSchema(1, SCHEMA, subject, 1)


@pytest.mark.parametrize(
    ("name", "subject", "contract", "call"),
    [
        ("shop.gates", "shop.gates-value", "shop.gates", '"shop.gates", contract=1'),
        ("shop.gates", "old-value", "shop.gates", '"shop.gates", contract=1'),
        (
            "shop.gates",
            "shop.gates-shop.GateOpened",
            "shop.gate-opened",
            '"shop.gates", contracts=[("shop.gate-opened", 1)]',
        ),
        (
            "shop.opened",
            "shop.gates-shop.GateOpened",
            "shop.opened",
            '"shop.gates", contracts=[("shop.opened", 1)]',
        ),
        (
            "shop.gates",
            "shop.GateOpened",
            "shop.gate-opened",
            '"shop.gates", contracts=[("shop.gate-opened", 1)], subjects="record"',
        ),
        (
            "shop.gate-opened",
            "shop.GateOpened",
            "shop.gate-opened",
            'TOPIC, contracts=[("shop.gate-opened", 1)], subjects="record"',
        ),
    ],
)
def test_a_type_of_event_has_a_contract_of_its_own(
    tmp_path: Path, name: str, subject: str, contract: str, call: str
) -> None:
    """Named after the event, or as the user says; the advice reads under the subject's strategy."""
    upstream = upstream_of(tmp_path, name, found(subject))
    assert upstream.contract == contract
    assert upstream.call(1) == f"product.stream({call})"


def test_the_advice_can_be_followed_word_for_word(project: Project) -> None:
    """A product with the printed call reads the pinned file, and its subject is found by it."""
    subject = "shop.gates-shop.GateOpened"
    upstream = upstream_of(project.root, "shop.gates", found(subject))
    schemas.pin(project.root, upstream.contract, found(subject), "NONE", PinOptions())
    assert (project.root / "schemas/shop/gate_opened/v1.avsc").is_file()
    project.product(
        "shop.copies", f"(opened,) = {upstream.call(1)}\nproduct.publish(opened, contract=1)\n"
    )
    assert subject_for(project.root, "shop.gate-opened", None) == subject
    assert upstream_of(project.root, "shop.gate-opened", found(subject)) == upstream


@pytest.mark.parametrize(
    ("more", "subject"),
    [
        ("contracts=[('shop.opened', 1)]", "shop.gates-shop.GateOpened"),
        ("contracts=[('shop.opened', 1)], subjects='record'", "shop.GateOpened"),
        ("contracts=[('shop.opened', 1)], subjects='topic'", "shop.gates-value"),
        ("contracts=[('shop.opened', 2)]", "shop.opened-value"),
    ],
)
def test_a_declared_input_says_under_which_subject(
    project: Project, more: str, subject: str
) -> None:
    """By its strategy and its contract's record; the topic's own subject where nothing says it."""
    project.contract("shop.opened", {"id": "string"}, name="GateOpened", namespace="shop")
    project.product("shop.copies", f'product.stream("shop.gates", {more})\n')
    assert subject_for(project.root, "shop.opened", None) == subject
    assert subject_for(project.root, "shop.opened", "mine") == "mine"


def test_two_declared_subjects_are_asked_back(project: Project) -> None:
    """Nobody guesses which of two topics is meant."""
    project.contract("shop.opened", {"id": "string"}, name="GateOpened", namespace="shop")
    for topic in ("gates", "doors"):
        project.product(
            f"shop.of-{topic}", f'product.stream("shop.{topic}", contracts=[("shop.opened", 1)])\n'
        )
    with pytest.raises(DeclarationError, match="SEVERAL_SUBJECTS") as caught:
        subject_for(project.root, "shop.opened", None)
    assert "shop.doors-shop.GateOpened and shop.gates-shop.GateOpened" in str(caught.value)


@pytest.mark.parametrize("subject", ["nope.nope-value", "nope"])
def test_versions_of_nothing_are_no_table(project: Project, subject: str) -> None:
    """Neither a file nor a subject: a name that was mistyped, or a topic of several types."""
    with pytest.raises(DeclarationError) as caught:
        schemas.standings(project.root, "nope.nope", subject, MemoryRegistry())
    (problem,) = caught.value.problems
    assert problem.code == "NO_CONTRACT"
    assert f"nor the registry a subject {subject}; write or pin one" in problem.message
    project.product("shop.copies", 'product.stream("nope.nope", contracts=[("shop.opened", 1)])\n')
    with pytest.raises(DeclarationError, match=r"it is read as shop\.opened"):
        schemas.standings(project.root, "nope.nope", subject, MemoryRegistry())


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ("shop.GateOpened", "shop.gate-opened"),
        ("HTTPRequest2Made", "shop.http-request2-made"),
        ("a.b.gate_opened_v2", "shop.gate-opened-v2"),
        ("_1st", None),
        ("__", None),
    ],
)
def test_names_of_records_become_names_of_contracts(record: str, name: str | None) -> None:
    """In the topic's domain, in lower case with dashes."""
    assert event_name("shop.gates", record) == name


def test_files_are_told_as_paths_from_here(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In mistakes and in what is shown, as by `headwater check`."""
    said = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["headwater", "schema", "show", "shop.orders"])
        with pytest.raises(SystemExit):
            main()
        shown = capsys.readouterr()
        said.append(shown.out + shown.err)
        project.contract("shop.orders", key="nothing")
    assert said[0].startswith("shop.orders v1, from schemas/shop/orders/v1.avsc\n")
    assert said[1].startswith("schemas/shop/orders/v1.avsc:5: BAD_KEY")
    assert str(project.root) not in "".join(said)
