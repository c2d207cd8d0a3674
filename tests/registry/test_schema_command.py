"""`headwater schema`: files beside the registry, and an upstream's schema pinned."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.registry import SchemaRegistry
from headwater.assembly import schemas
from headwater.assembly.schemas import PinOptions
from headwater.cli.main import main
from headwater.contract import UNDOCUMENTED, Contract, load_contract, registered_contract
from headwater.embedded import Addresses
from headwater.errors import DeclarationError

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "Which one.", "origin": "ledger"},
    {"name": "paid", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    {
        "name": "lines",
        "type": {
            "type": "array",
            "items": {
                "type": "record",
                "name": "Line",
                "fields": [{"name": "amount", "type": "double"}],
            },
        },
    },
]


def upstream(**more: Any) -> str:
    """A schema as another team wrote it."""
    record = {"type": "record", "name": "Invoice", "namespace": "billing", "fields": FIELDS}
    return json.dumps(record | more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty project."""
    (tmp_path / "schemas").mkdir()
    return tmp_path


def pinned(root: Path, text: str, **options: Any) -> schemas.Pinned:
    """Pin a schema of a registry in memory."""
    found = MemoryRegistry().register("billing.invoices-value", text, compatibility="BACKWARD")
    return schemas.pin(root, "billing.invoices", found, "BACKWARD", PinOptions(**options))


def test_a_pinned_schema_is_a_contract_that_keeps_everything(root: Path) -> None:
    """Attributes of the upstream's own stay; what is missing is filled in and told."""
    done = pinned(root, upstream(team="billing"), key=["id"], event_time="paid")
    contract = load_contract(root / "schemas", "billing.invoices", 1)
    assert (contract.key, contract.event_time) == (("id",), "paid")
    assert contract.compatibility == "BACKWARD"
    assert contract.schema["team"] == "billing"
    assert contract.schema["fields"][0] == FIELDS[0]
    assert contract.schema["fields"][1]["doc"] == UNDOCUMENTED
    assert done.to_document == ["paid", "lines", "lines[].amount"]
    assert done.is_new


FOREIGN = {
    "key": "the billing team",
    "eventTime": "id",
    "rules": "see the wiki",
    "dataset": "billing-eu",
    "maxAhead": "soon",
    "compatibility": "mostly",
    "owners": ["anna"],
    "fields": [
        {"name": "id", "type": "string", "rule": "starts with INV", "sensitivity": ["none"]},
        {"name": "paid", "type": "double", "doc": 1, "units": "EUR", "nonFinite": "no"},
    ],
}
"""Another team's attributes, which mean something else under our names."""


def foreign(text: str) -> Contract:
    """A registered schema read as a contract."""
    path = Path("billing.invoices-value v3")
    return registered_contract(text, topic="billing.invoices", version=3, path=path)


def test_a_registered_schema_with_sentences_for_rules_is_read() -> None:
    """What is none of our attributes is left out, and what is Avro's and ours is kept."""
    contract = foreign(upstream(**FOREIGN))
    assert [*contract.columns] == ["id", "paid"]
    assert (contract.rules, contract.dataset, contract.max_ahead) == ((), (), None)
    assert (contract.key, contract.event_time, contract.sensitivity) == ((), None, {})
    secret = [{**FIELDS[0], "sensitivity": "secret", "rule": "LENGTH(id) > 2"}, *FIELDS[1:]]
    ours = foreign(upstream(key="id", eventTime="paid", fields=secret))
    assert (ours.key, ours.event_time, ours.rules) == (("id",), "paid", ())
    assert ours.sensitivity == {"id": "secret"}
    assert ours.schema["fields"][0]["doc"] == FIELDS[0]["doc"]


def test_what_is_no_avro_is_refused_from_the_registry_too() -> None:
    """Leniency ends where nothing can be read."""
    broken = [{"name": "id", "type": "txt"}]
    for text in (upstream(fields=broken), "{", '["null"]'):
        with pytest.raises(DeclarationError):
            foreign(text)


def test_a_schema_is_shown_whatever_its_owner_calls_a_rule() -> None:
    """`schema show --subject` asks nothing of what others wrote."""
    registry = MemoryRegistry()
    registry.register("billing.invoices-value", upstream(**FOREIGN), compatibility="BACKWARD")
    found, contract = schemas.from_registry(
        registry, "billing.invoices", "billing.invoices-value", None
    )
    assert (found.version, [*contract.columns]) == (1, ["id", "paid"])


def test_a_schema_whose_rules_are_none_is_pinned_without_them(root: Path) -> None:
    """And it is told."""
    done = pinned(root, upstream(**FOREIGN), key=["id"])
    written = json.loads(done.path.read_text())
    assert done.is_stripped
    assert done.contract.compatibility == "BACKWARD"
    assert done.rules_left_out == ["rules", "dataset", "maxAhead", "rule of id"]
    assert not written.keys() & {"rules", "dataset", "owners", "maxAhead"}
    assert "rule" not in written["fields"][0]


def test_rules_that_could_be_computed_are_not_taken_over_either(root: Path) -> None:
    """What a reader takes is the reader's own decision, and no expression of others is compiled."""
    huge = "REPEAT(id, 4000000000) = id"
    amount = {"name": "amount", "type": "double", "rule": {"check": "amount > 0"}}
    line = {"type": "record", "name": "Line", "fields": [amount]}
    fields = [
        {**FIELDS[0], "rule": ["LENGTH(id) > 2", huge]},
        FIELDS[1],
        {"name": "lines", "type": ["null", {"type": "array", "items": line}]},
    ]
    text = upstream(
        fields=fields,
        rules=[{"name": "huge", "check": huge}],
        dataset=[{"name": "ids", "unique": "id"}],
        eventTime="paid",
        maxAhead="1s",
        team="billing",
    )
    done = pinned(root, text)
    assert done.rules_left_out == [
        *("rules", "dataset", "maxAhead"),
        *("rule of id", "rule of lines[].amount"),
    ]
    contract = load_contract(root / "schemas", "billing.invoices", 1)
    assert (contract.rules, contract.dataset, contract.max_ahead) == ((), (), None)
    assert '"rule"' not in done.path.read_text()
    assert (done.is_stripped, contract.schema["team"]) == (False, "billing")


def test_without_versions_the_last_two_are_compared() -> None:
    """And with one, it and its neighbour."""
    assert schemas.neighbours("a.b", [1, 2, 4], None, None) == (2, 4)
    assert schemas.neighbours("a.b", [1, 2, 4], 1, None) == (1, 4)
    assert schemas.neighbours("a.b", [1, 2, 4], None, 2) == (1, 2)
    assert schemas.neighbours("a.b", [1, 2, 4], 4, 1) == (4, 1)
    for known in ([], [3]):
        with pytest.raises(DeclarationError, match="NO_VERSION"):
            schemas.neighbours("a.b", known, None, None)


def test_pinning_again_keeps_what_was_written(root: Path) -> None:
    """The docs of the file are the project's own work."""
    done = pinned(root, upstream())
    done.path.write_text(done.path.read_text().replace(UNDOCUMENTED, "Now it is."))
    written = done.path.read_text()
    again = pinned(root, upstream())
    assert (again.is_new, again.to_document) == (False, [])
    assert done.path.read_text() == written


def test_a_file_of_another_schema_is_not_written_over(root: Path) -> None:
    """Two upstreams, or a registry that was reset: a person decides."""
    pinned(root, upstream())
    with pytest.raises(DeclarationError, match="PINNED_OTHERWISE"):
        pinned(root, upstream(fields=FIELDS[:1]))


@pytest.mark.parametrize(
    ("schema", "options", "code"),
    [
        ('"string"', {}, "BAD_SCHEMA"),
        (upstream(fields=[{"name": "a", "type": ["int", "string"]}]), {}, "UNSUPPORTED_TYPE"),
        (upstream(), {"key": ["lines"]}, "BAD_KEY"),
        (upstream(), {"event_time": "id"}, "BAD_EVENT_TIME"),
        (upstream(fields=[{"name": "_offset", "type": "int"}]), {}, "RESERVED_NAME"),
    ],
)
def test_what_our_contracts_cannot_hold_is_told_and_not_written(
    root: Path, schema: str, options: Mapping[str, Any], code: str
) -> None:
    """Clear problems, and no file that `headwater check` would refuse."""
    with pytest.raises(DeclarationError) as caught:
        pinned(root, schema, **options)
    assert code in {each.code for each in caught.value.problems}
    assert not list((root / "schemas").rglob("*.avsc"))


def test_versions_stand_side_by_side(root: Path) -> None:
    """Equal, different, not registered, without a file."""
    registry, subject = MemoryRegistry(), "billing.invoices-value"
    for text in (upstream(), upstream(doc="Two."), upstream(doc="Three.")):
        registry.register(subject, text, compatibility="NONE")
    found = registry.versions(subject)
    schemas.pin(root, "billing.invoices", found[1], "NONE", PinOptions())
    folder = root / "schemas/billing/invoices"
    full = json.loads((folder / "v2.avsc").read_text())
    (folder / "v4.avsc").write_text(json.dumps(full | {"deprecated": "Use v5."}))
    registry.register(subject, json.dumps({**full, "doc": "Three, ours."}), compatibility="NONE")
    (folder / "v3.avsc").write_text(json.dumps({**full, "doc": "Three, ours."}))
    rows = schemas.standings(root, "billing.invoices", subject, registry)
    assert [(r.version, r.file is not None, r.registered_as, r.is_equal) for r in rows] == [
        (1, False, 1, None),
        (2, True, 2, False),
        (3, True, 4, True),
        (3, False, 3, None),
        (4, True, None, None),
    ]
    assert rows[4].deprecated == "Use v5."


def test_a_difference_names_fields_and_whom_it_breaks(root: Path) -> None:
    """Nested fields by their path; each direction with its reasons."""
    old = pinned(root, upstream()).contract
    inside = json.loads(json.dumps(FIELDS).replace('"double"', '"string"'))
    added = {"name": "note", "type": "string", "default": ""}
    other = MemoryRegistry()
    other.register("s", upstream(), compatibility="NONE")
    found = other.register(
        "s", upstream(fields=[inside[0], inside[2], added]), compatibility="NONE"
    )
    new = schemas.pin(root, "billing.invoices", found, "NONE", PinOptions()).contract
    difference = schemas.difference(old, new)
    assert difference.added == ["note"]
    assert difference.removed == ["paid"]
    assert difference.changed == {"lines[].amount": ("double", "string")}
    assert any("lines[].amount" in each for each in difference.backward)
    assert any("paid" in each for each in difference.forward)
    assert schemas.difference(old, old) == schemas.Difference([], [], {}, [], [])


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    stack: Addresses,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """The command line in the project, beside the real registry: code, output, errors."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("HEADWATER_KAFKA", stack.kafka)
    monkeypatch.setenv("HEADWATER_REGISTRY", stack.registry)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.kafka
def test_an_upstream_is_pinned_and_the_project_is_right(command: Command, stack: Addresses) -> None:
    """From the real registry to a file that `headwater check` takes, in one command."""
    topic = f"billing.i{uuid4().hex[:10]}"
    registry = SchemaRegistry({"url": stack.registry})
    registry.register(f"{topic}-value", upstream(), compatibility="BACKWARD")
    wider = upstream(fields=[*FIELDS, {"name": "note", "type": "string", "default": ""}])
    registry.register(f"{topic}-value", wider, compatibility="BACKWARD")
    registry.close()
    for version in ("1", "latest"):
        code, said, _ = command("schema", "pin", topic, "--key", "id", "--version", version)
        assert code == 0, said
    assert "contract=2" in said
    assert "lines[].amount" in said
    code, said, _ = command("schema", "versions", topic, "--format", "json")
    rows = json.loads(said)
    assert rows["compatibility"] == "BACKWARD"
    assert [each["version"] for each in rows["versions"]] == [1, 2]
    code, said, _ = command("schema", "diff", topic, "1", "2", "--format", "json")
    assert json.loads(said)["added"] == ["note"]
    code, said, _ = command("schema", "diff", topic, "1", "2", "--subject", f"{topic}-value")
    assert (code, "+ note" in said) == (0, True)
    for where in ((), ("--subject", f"{topic}-value")):
        code, said, _ = command("schema", "show", topic, *where)
        assert (code, "lines[].amount" in said) == (0, True)
    code, said, wrong = command("check")
    assert code == 0, said + wrong


@pytest.mark.kafka
def test_a_type_of_event_is_pinned_and_found_again(
    command: Command, stack: Addresses, root: Path
) -> None:
    """Under the subject of its record: by hand once, then as the declared input says."""
    domain = f"g{uuid4().hex[:10]}"
    subject = f"{domain}.gates-{domain}.GateOpened"
    record: dict[str, Any] = {"name": "GateOpened", "namespace": domain, "fields": FIELDS[:1]}
    with closing(SchemaRegistry({"url": stack.registry})) as registry:
        registry.register(subject, upstream(**record), compatibility="NONE")
        record["fields"] = [FIELDS[0], {"name": "note", "type": "string", "default": ""}]
        registry.register(subject, upstream(**record), compatibility="NONE")
    pin = ("schema", "pin", f"{domain}.gates", "--subject", subject, "--format", "json")
    code, said, wrong = command(*pin, "--version", "1", "--key", "id")
    assert code == 0, wrong
    done = json.loads(said)
    name = f"{domain}.gate-opened"
    assert done["file"] == f"schemas/{domain}/gate_opened/v1.avsc"
    assert done["read"] == f'product.stream("{domain}.gates", contracts=[("{name}", 1)])'
    file = root / "products" / domain / "copies/product.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from headwater import DataProduct\n"
        f'product = DataProduct("{domain}.copies", owner="me")\n{done["read"]}\n'
    )
    code, said, wrong = command("schema", "pin", name)
    assert code == 0, wrong
    assert "key id, as in the version beside it" in said
    assert f'read it with product.stream("{domain}.gates", contracts=[("{name}", 2)])' in said
    code, said, wrong = command("schema", "versions", name, "--format", "json")
    rows = json.loads(said)
    assert rows["subject"] == subject
    assert [each["registered_as"] for each in rows["versions"]] == [1, 2]
    code, _, wrong = command("schema", "versions", f"{domain}.gates")
    assert (code, f"it is read as {name}" in wrong) == (78, True)
    code, _, wrong = command("schema", "pin", name, "--key", "other")
    assert (code, "other, which is not a field" in wrong) == (78, True)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("versions", "billing.nothing"), "NO_CONTRACT"),
        (("versions", "billing.nothing", "--subject", "nothing"), "NO_CONTRACT"),
        (("pin", "billing.nothing"), "NO_SUBJECT"),
        (("pin", "billing.nothing", "--version", "one"), "BAD_VALUE"),
        (("show", "billing.nothing"), "NO_CONTRACT"),
        (("diff", "billing.nothing", "1", "2"), "NO_CONTRACT"),
        (("versions", "Billing"), "INVALID_NAME"),
    ],
)
def test_mistakes_are_one_sentence(command: Command, arguments: tuple[str, ...], text: str) -> None:
    """With exit 78 and no trace."""
    code, _, errors = command("schema", *arguments)
    assert code == 78
    assert text in errors
    assert "Traceback" not in errors
