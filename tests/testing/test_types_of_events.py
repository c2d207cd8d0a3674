"""A product that reads several types of events from one topic, from declaration to samples."""

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import polars as pl
import pytest

from headwater.assembly.description import describe
from headwater.cli.main import main
from headwater.errors import DeclarationError
from headwater.model import Code
from headwater.testing import ProductDriver

OPENED, CLOSED = "shop.gate-opened", "shop.gate-closed"
BODY = """
opened, closed = product.stream(
    "shop.gates", contracts=[("shop.gate-opened", 1), ("shop.gate-closed", 1)]{more}
)
product.publish(opened, contract=1)
product.publish(closed.filter(pl.col("n") > 0), contract=1, port="closings")
"""


def gates(project: Any, more: str = "") -> Path:
    """Both types, each to an output of its own."""
    project.contract(OPENED, name="shop.GateOpened")
    project.contract(CLOSED, name="shop.GateClosed")
    project.contract("shop.doors")
    project.contract("shop.doors.closings")
    file: Path = project.product("shop.doors", BODY.format(more=more))
    return file


def opened(n: int) -> dict[str, Any]:
    """An event of the first type."""
    return {"_type": OPENED, "id": f"o{n}", "n": n}


def closed(n: int) -> dict[str, Any]:
    """An event of the second."""
    return {"_type": CLOSED, "id": f"c{n}", "n": n}


def test_each_type_has_a_flow_of_its_own(project: Any) -> None:
    """What is between two events of one type does not disturb their order; bad bytes are told."""
    driver = ProductDriver(gates(project))
    outcome = driver.run([opened(1), closed(0), closed(2), b"\1", opened(3), closed(4)])
    assert [each["id"] for each in outcome.events()] == ["o1", "o3"]
    assert [each["id"] for each in outcome.events("closings")] == ["c2", "c4"]
    assert [(each.row, each.code) for each in outcome.dead_letters] == [(3, Code.BAD_MAGIC)]


def test_an_event_says_its_type(project: Any) -> None:
    """A missing or unknown one is a mistake of the test's, and a frame has no place for it."""
    driver = ProductDriver(gates(project))
    for given in ({"id": "a", "n": 1}, {**opened(1), "_type": "shop.gates"}):
        with pytest.raises(DeclarationError, match=f'"_type".*{OPENED}, {CLOSED}'):
            driver.run([given])
    with pytest.raises(DeclarationError, match="one by one"):
        driver.run(pl.DataFrame({"id": ["a"], "n": [1]}))


def test_the_only_type_that_is_read_need_not_be_said(project: Any) -> None:
    """But may be, and then it is no other; a frame can be nothing else."""
    gates(project)
    project.contract("shop.firsts")
    body = """
    (opened,) = product.stream("shop.gates", contracts=[("shop.gate-opened", 1)], others="skip")
    product.publish(opened, contract=1)
    """
    driver = ProductDriver(project.product("shop.firsts", dedent(body)))
    untyped = {"id": "o2", "n": 2}
    assert [each["id"] for each in driver.run([opened(1), untyped]).events()] == ["o1", "o2"]
    assert driver.run(pl.DataFrame([untyped | {"note": None}])).frame().height == 1
    with pytest.raises(DeclarationError, match=f'"_type".*{OPENED}'):
        driver.run([closed(1)])


def test_samples_say_the_type_too(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`headwater test` and `headwater check` run them."""
    file = gates(project)
    project.sample("shop.doors", "day.in.jsonl", [opened(1), closed(2)])
    rows = [{"id": "o1", "n": 1, "note": None}], [{"id": "c2", "n": 2, "note": None}]
    project.sample("shop.doors", "day.out.jsonl", rows[0])
    project.sample("shop.doors", "day.out.closings.jsonl", rows[1])
    for command in ("test", "check"):
        monkeypatch.setattr(sys, "argv", ["headwater", command, str(file)])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code


def test_a_description_tells_types_and_subjects(project: Any) -> None:
    """Each type is an input of its own, with what becomes of the others."""
    loaded = ProductDriver(gates(project, ', others="skip"')).loaded
    described = describe(loaded)
    assert described["inputs"][1] == {
        "topic": "shop.gates",
        "type": CLOSED,
        "others": "skip",
        "contract": 1,
        "start": "earliest",
        "subjects": "topic-record",
        "rules": [],
        "dataset": [],
    }
    assert [each["from"] for each in described["outputs"]] == [OPENED, CLOSED]
    json.dumps(described)


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        ('contracts=[("shop.gate-opened", 1)] * 2', "INPUT_TWICE", "shop.gate-opened"),
        ('contracts=[("shop.gate-opened", 0)]', "INVALID_VALUE", "contract=0"),
        ('contracts=[("Gate", 1)]', "INVALID_NAME", "'Gate'"),
        ("contracts=[]", "INVALID_VALUE", "contracts="),
        ("contracts=5", "INVALID_VALUE", "contracts=5"),
        ('contract=1, others="skip"', "INVALID_VALUE", "others='skip' goes with contracts=[...]"),
        ('contracts=["shop.gate-opened"]', "INVALID_VALUE", "contracts="),
        ('contract=1, contracts=[("shop.gate-opened", 1)]', "INVALID_VALUE", "not both"),
        ('contract=1, subjects="id"', "INVALID_VALUE", "subjects='id'"),
        ('contracts=[("shop.gate-opened", 1)], others="drop"', "INVALID_VALUE", "others='drop'"),
    ],
)
def test_mistakes_of_a_stream_are_told(project: Any, call: str, code: str, text: str) -> None:
    """All at once, at the line of the call."""
    project.contract(OPENED)
    file = project.product("shop.doors", f'product.stream("shop.gates", {call})\n')
    with pytest.raises(DeclarationError) as caught:
        ProductDriver(file)
    found = [each for each in caught.value.problems if each.code == code]
    assert "NO_INPUT" not in {each.code for each in caught.value.problems}
    assert any(text in each.message and each.line == 5 for each in found), caught.value


@pytest.mark.parametrize("closing", [{"name": "GateOpened"}, {"aliases": ["GateOpened"]}])
def test_two_contracts_of_one_type_are_refused(project: Any, closing: dict[str, Any]) -> None:
    """One of them would take every record of the other, and nobody would see it."""
    file = gates(project)
    project.contract(OPENED, name="GateOpened", namespace="shop")
    project.contract(CLOSED, **{"name": "GateClosed", "namespace": "shop", **closing})
    with pytest.raises(DeclarationError) as caught:
        ProductDriver(file)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("TYPE_CLAIMED_TWICE", 6)
    assert problem.message == (
        "shop.gates: shop.gate-opened v1 and shop.gate-closed v1 both take the records named"
        " shop.GateOpened, by name or alias; read one of them, or take that alias out of the other"
    )


def test_where_a_schema_is_named_is_one_of_two(project: Any) -> None:
    """A mistake in `publish` is told like any other."""
    file = project.product(
        "shop.copy",
        'product.publish(product.stream("shop.orders", contract=1), contract=1, schema_id="v1")\n',
    )
    with pytest.raises(DeclarationError, match="schema_id='v1'"):
        ProductDriver(file)
