"""ProductDriver and `headwater test`: a product without a broker, with the real codec."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import DataProduct
from headwater.cli.main import main
from headwater.errors import DeclarationError
from headwater.model import Code
from headwater.testing import DeadLetter, ProductDriver

TYPES: dict[str, Any] = {
    "id": "string",
    "when": {"type": "long", "logicalType": "timestamp-millis"},
    "day": {"type": "int", "logicalType": "date"},
    "price": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
    "raw": "bytes",
    "kind": {"type": "enum", "name": "Kind", "symbols": ["a", "b"]},
    "tags": {"type": "map", "values": "long"},
    "places": {"type": "array", "items": "double"},
    "inner": {
        "type": "record",
        "name": "Inner",
        "fields": [{"name": "x", "type": "int", "doc": "X."}],
    },
    "note": ["null", "string"],
}
EVENT: dict[str, Any] = {
    "id": "a",
    "when": "2013-01-01T10:15:00.250000Z",
    "day": "2013-01-01",
    "price": "12.50",
    "raw": "00ff",
    "kind": "b",
    "tags": {"k": 1},
    "places": [1.5, 2.0],
    "inner": {"x": 1},
    "note": None,
}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def positive(project: Any) -> ProductDriver:
    """Orders with a positive number; zero raises, a negative one does not fit the contract."""
    project.contract("shop.positive", {"id": "string", "n": "int"})
    project.contract("shop.positive.notes", {"id": "string", "note": "string"})
    project.product(
        "shop.positive",
        """\
        def invert(event):
            return {"id": event["id"], "n": 10 // event["n"] if event["n"] >= 0 else 2**40}
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.map_events(invert), contract=1)
        product.publish(orders.select("id", "note"), contract=1, port="notes")
        """,
    )
    return ProductDriver("shop.positive")


def test_events_go_through_the_real_codec(project: Any) -> None:
    """Every type, in as people write it and out the same."""
    for topic in ("shop.all", "shop.copies"):
        project.contract(topic, TYPES)
    project.product(
        "shop.copies",
        'product.publish(product.stream("shop.all", contract=1), contract=1)\n',
    )
    outcome = ProductDriver("shop.copies").run([EVENT, EVENT])
    assert outcome.events() == [EVENT, EVENT]
    assert outcome.dead_letters == []


def test_a_field_left_out_takes_the_contracts_default(project: Any) -> None:
    """Event by event, whatever its neighbours hold."""
    project.passing("shop.copies")
    outcome = ProductDriver("shop.copies").run(
        [{"id": "a", "n": 1}, {"id": "b", "n": 2, "note": "x"}, {"id": "c", "n": 3}]
    )
    assert outcome.frame().rows() == [("a", 1, None), ("b", 2, "x"), ("c", 3, None)]


def test_frames_are_inputs_too(project: Any) -> None:
    """Columns of the contract, types as wide as they come."""
    project.passing("shop.copies")
    frame = pl.DataFrame({"id": ["a", "b"], "n": [1, 2]})
    assert ProductDriver("shop.copies").run(frame).frame().rows() == [
        ("a", 1, None),
        ("b", 2, None),
    ]


def test_a_record_is_on_all_ports_or_in_the_dead_letters(project: Any) -> None:
    """All or nothing per input record, with the code that a real run gives."""
    orders = [{"id": f"{n}", "n": n, "note": "x"} for n in (1, 0, -1, 5)]
    outcome = positive(project).run([*orders, None, b"\1nonsense", {"id": "n", "n": 2}])
    assert outcome.frame()["id"].to_list() == ["1", "5"]
    assert outcome.frame("notes")["id"].to_list() == ["1", "5"]
    assert [(letter.row, letter.code) for letter in outcome.dead_letters] == [
        (1, Code.STEP_FAILED),
        (2, Code.CONTRACT_VIOLATION),
        (4, Code.EMPTY_VALUE),
        (5, Code.BAD_MAGIC),
        (6, Code.CONTRACT_VIOLATION),
    ]
    first = outcome.dead_letters[0]
    assert isinstance(first, DeadLetter)
    assert (
        "ZeroDivisionError in step map-events-1 (invert) at shop/positive/product.py:6"
        in first.message
    )


def test_an_event_its_own_contract_refuses_is_a_mistake_of_the_test(project: Any) -> None:
    """Not a dead letter: no producer could have written it."""
    driver = positive(project)
    for event, words in (
        ({"id": "a", "n": 2**40}, "shop.orders, record 2"),
        ({"id": "a"}, "n is missing"),
        ({"id": "a", "n": "one"}, "'n' is no Int32"),
        ({"id": "a", "n": 1, "colour": "red"}, "no field colour"),
    ):
        with pytest.raises(DeclarationError, match=words):
            driver.run([{"id": "z", "n": 1}, event])


def test_a_step_that_depends_on_batches_fails_in_the_driver(project: Any) -> None:
    """As it does in a run."""
    project.passing("shop.copies")
    file = project.product(
        "shop.copies",
        """\
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders.with_columns(n=pl.col("n").cum_sum()), contract=1)
        """,
    )
    with pytest.raises(DeclarationError, match="BATCH_DEPENDENT"):
        ProductDriver(file).run([{"id": "a", "n": n} for n in range(4)])


def test_several_inputs_are_given_by_topic(project: Any) -> None:
    """With one list nobody could say whose events they are."""
    project.contract("shop.returns")
    for port in ("", ".back"):
        project.contract(f"shop.both{port}")
    project.product(
        "shop.both",
        """\
        product.publish(product.stream("shop.orders", contract=1), contract=1)
        product.publish(product.stream("shop.returns", contract=1), contract=1, port="back")
        """,
    )
    driver = ProductDriver("shop.both")
    outcome = driver.run(
        {"shop.orders": [{"id": "a", "n": 1}], "shop.returns": [{"id": "b", "n": 2}]}
    )
    assert (outcome.frame()["id"].item(), outcome.frame("back")["id"].item()) == ("a", "b")
    with pytest.raises(DeclarationError, match="BAD_INPUT"):
        driver.run([{"id": "a", "n": 1}])
    with pytest.raises(DeclarationError, match="BAD_INPUT"):
        driver.run({"shop.other": []})


def test_a_composite_key_is_encoded_too(project: Any) -> None:
    """Its schema is registered in memory as the real registry would."""
    for topic in ("shop.a", "shop.b"):
        project.contract(topic, {"id": "string", "n": "int"}, key=["id", "n"])
    project.product("shop.b", 'product.publish(product.stream("shop.a", contract=1), contract=1)\n')
    assert ProductDriver("shop.b").run([{"id": "a", "n": 1}]).frame().rows() == [("a", 1)]


def test_a_product_declared_in_a_test_can_be_driven(project: Any) -> None:
    """The declaration itself is enough when its file is in a project."""
    file = project.passing("shop.copies")
    names: dict[str, Any] = {}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), names)  # noqa: S102
    product = names["product"]
    assert isinstance(product, DataProduct)
    assert ProductDriver(product).run([{"id": "a", "n": 1}]).frame().height == 1


def test_samples_that_hold_exit_with_0(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outputs by port and dead letters by event and code; field order and time format are free."""
    positive(project)
    sample = project.sample
    sample("shop.positive", "mix.in.jsonl", [{"id": "a", "n": 2, "note": "x"}, {"id": "b", "n": 0}])
    sample("shop.positive", "mix.out.jsonl", [{"n": 5, "id": "a"}])
    sample("shop.positive", "mix.out.notes.jsonl", [{"id": "a", "note": "x"}])
    sample("shop.positive", "mix.dead-letters.jsonl", [{"event": 2, "code": "STEP_FAILED"}])
    assert run(monkeypatch, "test", "shop.positive") == 0
    assert "mix: ok (2 in, 2 out, 1 dead letter)" in capsys.readouterr().out


def test_samples_that_differ_show_a_diff_and_exit_with_1(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was expected with a minus, what was made with a plus."""
    positive(project)
    project.sample("shop.positive", "mix.in.jsonl", [{"id": "a", "n": 2, "note": "x"}])
    project.sample("shop.positive", "mix.out.jsonl", [{"id": "a", "n": 4}])
    assert run(monkeypatch, "test", "shop.positive") == 1
    said = capsys.readouterr()
    assert '-{"id": "a", "n": 4}' in said.out
    assert '+{"id": "a", "n": 5}' in said.out
    assert '+{"id": "a", "note": "x"}' in said.out
    assert said.err == "DIFFERENT: shop.positive: 1 of 1 cases differ: mix.\n"
    assert run(monkeypatch, "test", "shop.positive", "--format", "json") == 1
    assert json.loads(capsys.readouterr().out)[0]["case"] == "mix"


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (("a.out.jsonl", ""), "case a has no input"),
        (("a.input.jsonl", ""), "no part of a case is called 'input'"),
        (("a.in.jsonl", "{"), "a.in.jsonl:1: BAD_SAMPLE: is no JSON"),
        (("a.in.jsonl", "\n[1]\n"), "a.in.jsonl:2: BAD_SAMPLE: is no JSON object"),
        (("a.in.shop.nowhere.jsonl", "{}"), "name the input"),
        (("a.in.jsonl", '{"id": 1, "n": 1}'), "'id' is no String"),
        (("", ""), "NO_SAMPLES"),
    ],
)
def test_a_mistake_in_samples_is_told_with_its_file(
    project: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sample: tuple[str, str],
    words: str,
) -> None:
    """Exit 78, like any other mistake of the author's."""
    product: Path = project.passing("shop.copies")
    file, text = sample
    if file:
        (product.parent / "samples").mkdir()
        (product.parent / "samples" / file).write_text(text, encoding="utf-8")
    assert run(monkeypatch, "test", "shop.copies") == 78
    assert words in capsys.readouterr().err


def test_a_statement_of_sql_is_checked_described_and_run(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a broker: what comes out, and the dead letter of a value that cannot be cast."""
    project.contract("shop.large", {"id": "string", "number": "long", "kind": "string"})
    project.product(
        "shop.large",
        """\
        large = product.stream("shop.orders", contract=1).sql('''
            SELECT id, CAST(note AS BIGINT) AS number, 'large' AS kind
            FROM events
            WHERE n >= 10
        ''')
        product.publish(large, contract=1)
        """,
    )
    project.sample("shop.large", "some.in.jsonl", [{"id": "a", "n": 10, "note": "7"}])
    project.sample("shop.large", "some.out.jsonl", [{"id": "a", "number": 7, "kind": "large"}])
    for command in (["check"], ["test", "shop.large"], ["describe", "shop.large"]):
        assert run(monkeypatch, *command) == 0
    text = "SELECT id, CAST(note AS BIGINT) AS number, 'large' AS kind FROM events WHERE n >= 10"
    assert text in " ".join(capsys.readouterr().out.split())
    events = [{"id": "a", "n": 10, "note": "7"}, {"id": "b", "n": 1, "note": "x"}]
    outcome = ProductDriver("shop.large").run([*events, {"id": "c", "n": 11, "note": "secret"}])
    assert outcome.events() == [{"id": "a", "number": 7, "kind": "large"}]
    assert [(each.row, each.code, each.step) for each in outcome.dead_letters] == [
        (2, Code.STEP_FAILED, "sql-1")
    ]
    assert "secret" not in outcome.dead_letters[0].message


def test_check_refuses_a_statement_with_its_line_and_what_does_not_fit_the_contract(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A statement that groups, and one whose types are not those of the output contract."""
    project.contract("shop.grouped")
    project.contract("shop.typed", {"id": "string", "n": "int"})
    stream = 'product.stream("shop.orders", contract=1)'
    group, typed = "SELECT id, n FROM events GROUP BY id", "SELECT id, UPPER(note) AS n FROM events"
    for name, text in (("shop.grouped", group), ("shop.typed", typed)):
        project.product(name, f'product.publish({stream}.sql("{text}"), contract=1)')
    assert run(monkeypatch, "check") == 78
    told = " ".join(capsys.readouterr().err.split())
    assert "product.py:5" in told
    assert "INVALID_SQL: sql-1: GROUP BY looks at more than one event" in told
    assert "OUTPUT_MISFIT: shop.typed: n is String, the contract wants Int32" in told
