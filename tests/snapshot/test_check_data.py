"""`headwater check-data`: the rules of contracts over snapshots, without a broker."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tests.snapshot.changes import change

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.assembly.data_check import DataCheck
from headwater.cli.main import main
from headwater.contract import Contract, load_contract, to_arrow
from headwater.errors import DeclarationError
from headwater.ports import CommitRecord, CutRange
from headwater.snapshot.place import PLACE

FLIGHTS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "d"},
    {"name": "n", "type": ["null", "int"], "doc": "d", "rule": "n > 0"},
    {"name": "tail", "type": ["null", "string"], "doc": "d"},
]
AIRCRAFT: list[dict[str, Any]] = [
    {"name": "tailnum", "type": "string", "doc": "d"},
    {"name": "seats", "type": "long", "doc": "d"},
]
UNIQUE = {"name": "once", "unique": ["id"]}
KNOWN = {
    "name": "known",
    "references": {"topic": "air.fleet", "fields": ["tail"], "to": ["tailnum"]},
}
PRODUCT = """
from headwater import DataProduct

product = DataProduct(name="air.flights", owner="me@example.com")
product.publish(product.stream("air.raw", contract=1), contract=1)
"""


class Project:
    """A product in a folder of its own, and tables as `headwater snapshot` leaves them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = root / ".headwater" / "snapshots"
        folder = root / "products" / "air" / "flights"
        folder.mkdir(parents=True)
        (folder / "product.py").write_text(PRODUCT)
        self.contract("air.raw", FLIGHTS)
        self.contract("air.fleet", AIRCRAFT)

    def contract(self, topic: str, fields: list[dict[str, Any]], **more: Any) -> Contract:
        """Write a contract."""
        schema = {"type": "record", "name": topic.split(".")[1].title(), "doc": "d", **more}
        path = self.root / "schemas" / topic.replace(".", "/") / "v1.avsc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**schema, "owner": "me@example.com", "fields": fields}))
        return load_contract(self.root / "schemas", topic, 1)

    def store(self, contract: Contract, start: int = 0, **columns: Any) -> None:
        """Append rows of partition 0 from an offset on, published at the epoch."""
        types = {name: contract.columns[name] for name in columns}
        frame = pl.DataFrame(columns, schema=types)
        offsets = range(start, start + frame.height)
        rows = to_arrow(frame, contract)
        places = ([0] * frame.height, offsets, [0] * frame.height)
        for each, values in zip(PLACE, places, strict=True):
            rows = rows.append_column(each, pa.array(values, pa.int64()).cast(each.type))
        table = self.table(contract.topic)
        table.offsets("id")
        cut = CutRange(0, start, start + frame.height, frame.height, "0" * 32)
        product = topic = contract.topic
        table.commit(change(rows, CommitRecord(f"c{start}", product, topic, "id", 1, [cut], 0)))

    def table(self, topic: str) -> DeltaSnapshotTable:
        """The snapshot table of a topic."""
        return DeltaSnapshotTable(DirectoryFiles(self.tables / topic), product=topic, topic=topic)

    def check(self, contract: Contract) -> dict[str, tuple[int, list[int]]]:
        """Broken rows and example offsets of each rule."""

        def contract_of(topic: str) -> Contract:
            return load_contract(self.root / "schemas", topic, 1)

        found = DataCheck(contract, self.table, contract_of).run()
        return {each.rule: (each.broken, [at for _, at in each.examples]) for each in found}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project."""
    return Project(tmp_path)


def run(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line in the project's folder; its exit code."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_rules_of_rows_are_asked_of_every_file(project: Project) -> None:
    """Null passes; the examples are the first places of the log."""
    contract = project.contract("air.flights", FLIGHTS)
    project.store(contract, id=["a", "b"], n=[1, 0], tail=[None, None])
    project.store(contract, 2, id=["c", "d"], n=[None, -1], tail=[None, None])
    assert project.check(contract) == {"n": (2, [1, 3])}


def test_what_must_be_unique_is_compared_over_all_files(project: Project) -> None:
    """All rows of a value that stands there twice are told; a null equals nothing."""
    contract = project.contract(
        "air.flights", FLIGHTS, dataset=[UNIQUE, {"name": "both", "unique": ["id", "n"]}]
    )
    project.store(contract, id=["a", "b", "c"], n=[1, None, 3], tail=[None] * 3)
    project.store(contract, 3, id=["b", "a"], n=[None, 1], tail=[None] * 2)
    assert project.check(contract) == {"n": (0, []), "once": (4, [0, 4, 1, 3]), "both": (2, [0, 4])}


def test_the_number_of_rows_has_bounds(project: Project) -> None:
    """Too few and too many are broken by the table, not by a row."""
    bounds = [{"min": 3}, {"max": 1}, {"min": 1, "max": 2}]
    rules = [{"name": f"rows-{n}", "rows": each} for n, each in enumerate(bounds)]
    contract = project.contract("air.flights", FLIGHTS, dataset=rules)
    project.store(contract, id=["a", "b"], n=[1, 1], tail=[None] * 2)
    found = project.check(contract)
    assert found == {"n": (0, []), "rows-0": (1, []), "rows-1": (1, []), "rows-2": (0, [])}


def test_references_are_looked_up_in_the_snapshot_of_another_topic(project: Project) -> None:
    """A key that is not there is broken; null refers to nothing."""
    contract = project.contract("air.flights", FLIGHTS, dataset=[KNOWN])
    fleet = project.contract("air.fleet", AIRCRAFT)
    project.store(fleet, tailnum=["N1", "N2"], seats=[1, 2])
    project.store(contract, id=["a", "b", "c"], n=[1, 1, 1], tail=["N2", "N3", None])
    assert project.check(contract)["known"] == (1, [1])


def test_integers_of_different_width_refer_to_each_other(project: Project) -> None:
    """An int and a long of one value are one key."""
    rule = {"topic": "air.fleet", "fields": ["n"], "to": ["seats"]}
    contract = project.contract(
        "air.flights", FLIGHTS, dataset=[{"name": "seated", "references": rule}]
    )
    project.store(
        load_contract(project.root / "schemas", "air.fleet", 1), tailnum=["N1"], seats=[7]
    )
    project.store(contract, id=["a", "b"], n=[7, 8], tail=[None] * 2)
    assert project.check(contract)["seated"] == (1, [1])


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"name": "u", "unique": []}, '"unique" is a list'),
        ({"name": "u", "unique": ["id", "id"]}, '"unique" is a list of different fields'),
        ({"name": "u", "unique": ["idd"]}, "there is no field idd"),
        ({"unique": ["id"]}, 'needs a "name"'),
        ({"name": "u", "unique": ["id"], "severity": "reject"}, "is fail or warn"),
        ({"name": "r", "rows": {}}, '"rows" is'),
        ({"name": "r", "rows": {"min": -1}}, '"rows" is'),
        ({"name": "r", "rows": {"mim": 1}}, '"rows" is'),
        ({"name": "r", "rows": {"min": 5, "max": 1}}, '"min" is at most "max"'),
        ({"name": "k", "references": {"topic": "air.fleet"}}, '"references" is'),
        ({"name": "x"}, "one of unique, rows, references"),
        ({"name": "n", "unique": ["id"]}, "a rule of each row has the name n too"),
    ],
)
def test_a_mistake_in_a_rule_over_many_rows_is_told(
    project: Project, rule: Any, reason: str
) -> None:
    """When the contract is read."""
    with pytest.raises(DeclarationError, match=f"BAD_RULE: .*{re.escape(reason)}"):
        project.contract("air.flights", FLIGHTS, dataset=[rule])


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ({"topic": "air.fleet", "fields": ["tail"], "to": ["seats"]}, "they never equal"),
        ({"topic": "air.fleet", "fields": ["tail"], "to": ["tailno"]}, "no field tailno"),
        ({"topic": "air.ships", "fields": ["tail"], "to": ["tailnum"]}, "no contract of air.ships"),
    ],
)
def test_check_looks_at_what_is_referred_to(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reference: Any,
    reason: str,
) -> None:
    """`headwater check` knows the contracts of the whole project."""
    rules = [{"name": "known", "references": reference}]
    project.contract("air.flights", FLIGHTS, dataset=rules)
    assert run(project, monkeypatch, "check", "schemas/air/flights/v1.avsc") == 78
    assert reason in capsys.readouterr().err


def test_the_command_tells_rules_places_and_exit_code(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 while all hold, 1 when one is broken; as JSON every rule with its numbers."""
    contract = project.contract("air.flights", FLIGHTS, key="id", dataset=[UNIQUE])
    project.store(contract, id=["a", "b"], n=[1, 2], tail=[None] * 2)
    assert run(project, monkeypatch, "check-data", "air.flights") == 0
    assert "air.flights: 2 rows" in capsys.readouterr().out
    project.store(contract, 2, id=["b"], n=[0], tail=[None])
    assert run(project, monkeypatch, "check-data", "air.flights", "--format", "json") == 1
    told = capsys.readouterr()
    rules = {each["rule"]: each for each in json.loads(told.out)["rules"]}
    assert (rules["n"]["broken"], rules["n"]["rows"], rules["n"]["severity"]) == (1, 3, "reject")
    assert (rules["once"]["examples"], rules["once"]["failed"]) == ([[0, 1], [0, 2]], True)
    assert told.err.startswith("RULES_BROKEN: 2 of the rules of air.flights do not hold: n of")


def test_a_warning_alone_is_no_failure(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the exit code is 0."""
    rule = {**UNIQUE, "severity": "warn"}
    contract = project.contract("air.flights", FLIGHTS, key="id", dataset=[rule])
    project.store(contract, id=["a", "a"], n=[1, 2], tail=[None] * 2)
    assert run(project, monkeypatch, "check-data", "air.flights") == 0
    assert project.check(contract)["once"] == (2, [0, 1])


def test_without_a_snapshot_nothing_is_decided(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither without its own nor without one that is referred to: exit 2."""
    contract = project.contract("air.flights", FLIGHTS, key="id", dataset=[KNOWN])
    for topic in ("air.flights", "air.fleet"):
        assert run(project, monkeypatch, "check-data", "air.flights") == 2
        assert capsys.readouterr().err.startswith(f"NO_SNAPSHOT: There is no snapshot of {topic}")
        project.store(contract, id=["a"], n=[1], tail=[None]) if topic == "air.flights" else None
