"""`.rekey()` in `ProductDriver`, in `describe`, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.assembly.registration import lookup_ids, register
from headwater.assembly.state import remembered
from headwater.assembly.tasks import TaskMaker
from headwater.engine import LetterWriter
from headwater.errors import DeclarationError, StartRefusedError
from headwater.model import Code
from headwater.ports import TopicSettings
from headwater.testing import ProductDriver


def by_note(project: Any, steps: str = '.latest("note", by="n")') -> Path:
    """The latest order of each note, which is no key of the orders."""
    project.contract("shop.notes", {"note": ["null", "string"], "n": "int"}, key="note")
    file: Path = project.product(
        "shop.notes",
        f"""\
        def act(event):
            return {{"note": event["note"], "n": 10 // (5 - event["n"])}}
        orders = product.stream("shop.orders", contract=1)
        moved = orders.filter(pl.col("n") > 0).rekey("note"){steps}
        product.publish(moved.select("note", "n"), contract=1)
        """,
    )
    return file


def orders(*given: tuple[str | None, int]) -> list[dict[str, Any]]:
    """An order for each note and number."""
    return [{"id": f"o{at}", "n": n, "note": note} for at, (note, n) in enumerate(given)]


@pytest.fixture
def keyless(project: Any) -> Any:
    """A project whose notes have no key in their contract: they may be null."""
    contract = project.contract

    def without_key(topic: str, fields: Any = None, **more: Any) -> Path:
        file: Path = contract(topic, fields, **more)
        if topic == "shop.notes":
            file.write_text(file.read_text().replace('"key": "note",', ""))
        return file

    project.contract = without_key
    return project


def test_state_behind_a_rekey_is_by_the_new_key(keyless: Any) -> None:
    """Rows of one note meet, whatever order they belong to; nulls are kept and stay together."""
    by_note(keyless)
    given = orders(("x", 2), ("y", 1), ("x", 1), (None, 3), ("x", 4), ("y", -1), (None, 2))
    found = ProductDriver("shop.notes").run(given).frame().rows()
    assert found == [("x", 2), ("y", 1), (None, 3), ("x", 4)]


def test_a_row_refused_behind_a_rekey_names_its_record(keyless: Any) -> None:
    """By its place in the input; and it leaves no trace in the state."""
    file = by_note(keyless, '.latest("note", by="n").map_events(act)')
    file.write_text(file.read_text().replace('moved.select("note", "n")', "moved"))
    outcome = ProductDriver("shop.notes").run(orders(("y", -1), ("x", 3), ("x", 5), ("x", 4)))
    assert outcome.frame().rows() == [("x", 5), ("x", 10)]
    (letter,) = outcome.dead_letters
    assert (letter.topic, letter.row, letter.code) == ("shop.orders", 2, Code.STEP_FAILED)
    assert letter.step == "map-events-1"


def test_a_flow_may_change_its_key_twice(keyless: Any) -> None:
    """Each change has a topic of its own, and the record is named all the same."""
    file = by_note(keyless, '.rekey("id").latest("id", by="n").rekey(["note", "id"])')
    assert list(load_product(file).repartitions) == [
        f"shop.notes.rekey-{place}.repartition" for place in (1, 2, 3)
    ]
    found = ProductDriver("shop.notes").run(orders(("x", 2), (None, 1))).frame().rows()
    assert found == [("x", 2), (None, 1)]


@pytest.mark.parametrize(
    ("before", "beside", "is_remembered"),
    [
        ("", "", False),
        ('.latest("id", by="n")', '.dedupe("id", within="1h")', False),
        ("", '.group_by("id").agg(n=aggregates.count())', True),
    ],
)
def test_what_the_state_of_another_output_counts_is_known(
    keyless: Any, before: str, beside: str, *, is_remembered: bool
) -> None:
    """A letter of a row behind it must not bring its record there twice."""
    at = {"type": "long", "logicalType": "timestamp-millis"}
    fields = {"id": "string", "n": "long", "note": ["null", "string"], "at": at}
    keyless.contract("shop.orders", fields, eventTime="at")
    keyless.contract("shop.notes.beside", {"id": "string", "n": "long"})
    keyless.contract("shop.notes", {"id": "string", "n": "long"})
    keyless.product(
        "shop.notes",
        f"""\
        from headwater import aggregates
        orders = product.stream("shop.orders", contract=1)
        product.publish(orders{before}.rekey("note").select("id", "n"), contract=1)
        product.publish(orders{beside}.select("id", "n"), contract=1, port="beside")
        """,
    )
    found = remembered(load_product("shop.notes"))
    assert found == (frozenset({"shop.orders"}) if is_remembered else frozenset())


def test_describe_shows_the_repartition_topic(keyless: Any) -> None:
    """It is one of the topics of the product."""
    found = describe(load_product(by_note(keyless)))
    assert "shop.notes.rekey-1.repartition" in found["topics"]
    step = found["outputs"][0]["steps"][1]
    assert step["does"] == "to the task of note"
    assert step["through"] == "shop.notes.rekey-1.repartition"


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ('.latest("id", by="n")', "NOT_THE_KEY"),
        ('.rekey("nothing")', "UNKNOWN_COLUMN"),
        ('.map(lambda frame: 1 / 0).rekey("id")', "UNKNOWN_COLUMNS"),
        ('.with_columns(_time=pl.lit(1)).rekey("id")', "RESERVED_NAME"),
        (".rekey([])", "INVALID_STEP"),
    ],
)
def test_mistakes_around_a_rekey_are_told(keyless: Any, steps: str, code: str) -> None:
    """With the line of the step, before anything runs."""
    file = by_note(keyless, steps)
    with pytest.raises(DeclarationError) as told:
        load_product(file)
    assert {problem.code for problem in told.value.problems} == {code}
    assert told.value.problems[0].line is not None


def maker(project: Any, repartitions: dict[str, int], partitions: int = 1) -> TaskMaker:
    """What makes the tasks of the product, with topics of so many partitions."""
    loaded = load_product(by_note(project, ""))
    registry, topics = MemoryRegistry(), MemoryTopics(MemoryBroker())
    topics.create([TopicSettings("shop.orders", partitions, "source")])
    for contract in loaded.outputs.values():
        register(contract, registry)
    ids = lookup_ids(loaded.outputs.values(), registry)
    letters = LetterWriter("dead")
    return TaskMaker(loaded, ids, registry, topics, letters, repartitions=repartitions)


def test_an_input_of_too_many_partitions_is_refused(keyless: Any) -> None:
    """Where each of them stands would not fit beside a position."""
    found = maker(keyless, {"shop.notes.rekey-1.repartition": 3}, 201)
    with pytest.raises(StartRefusedError, match="201 partitions") as told:
        found.tasks()
    assert told.value.code == "TOO_MANY_PARTITIONS"
