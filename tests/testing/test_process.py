"""`process` and `dedupe` in `ProductDriver`: event time, dead letters, the end of the data."""

from pathlib import Path
from typing import Any

import pytest

from headwater.assembly.description import describe
from headwater.assembly.project import load_product
from headwater.errors import DeclarationError, ResultRefusedError
from headwater.model import Code
from headwater.testing import ProductDriver

TIME = {"type": "long", "logicalType": "timestamp-millis"}
PRODUCT = """\
from dataclasses import dataclass
from datetime import datetime, timedelta
from headwater import ProcessContext

@dataclass
class Sum:
    n: int = 0

def add(event: dict, state: Sum, context: ProcessContext) -> dict:
    state.n += event["n"]
    context.set_timer(event["at"] + timedelta(minutes=5))
    return {"id": event["id"], "n": 100 // event["n"]}

def end(state: Sum, at: datetime, context: ProcessContext) -> dict:
    context.forget()
    return {"id": context.key["id"], "n": 1000 + state.n // (state.n != 99)}

visits = product.stream("shop.visits", contract=1)
"""


def write(project: Any, body: str, event_time: Any = TIME) -> Path:
    """A product over visits with event time."""
    fields = {"id": "string", "n": "int", "at": event_time}
    project.contract("shop.visits", fields, eventTime="at")
    project.contract("shop.sums", {"id": "string", "n": "int"})
    file: Path = project.product("shop.sums", PRODUCT + body)
    return file


def processing(project: Any) -> ProductDriver:
    """Sums of each id, ended five minutes behind an event."""
    write(
        project,
        "product.publish(visits.process(add, state=Sum, on_timer=end), contract=1)\n",
    )
    return ProductDriver("shop.sums")


def visit(name: str, n: int, minute: int) -> dict[str, Any]:
    """An event of the hour."""
    return {"id": name, "n": n, "at": f"2013-01-01T00:{minute:02}:00Z"}


def test_timers_come_between_records_and_at_the_end(project: Any) -> None:
    """As event time says; behind the last record all are due, in the order of time and key."""
    given = [visit("b", 1, 0), visit("a", 4, 0), visit("a", 5, 6), visit("b", 2, 6)]
    found = processing(project).run(given).frame().rows()
    of_records = [("b", 100), ("a", 25), ("a", 20), ("b", 50)]
    assert found == [*of_records[:3], ("a", 1009), ("b", 1001), of_records[3], ("b", 1002)]


def test_a_record_that_raises_is_set_aside_alone(project: Any) -> None:
    """Its change of the state and its timer never were."""
    outcome = processing(project).run([visit("a", 4, 0), visit("a", 0, 1), visit("a", 1, 2)])
    assert [(each.row, each.code) for each in outcome.dead_letters] == [(1, Code.STEP_FAILED)]
    assert outcome.frame().rows() == [("a", 25), ("a", 100), ("a", 1005)]


def test_a_timer_that_raises_stops_the_product(project: Any) -> None:
    """There is no record to set aside: exit 65, by the code and the step, without a value."""
    with pytest.raises(
        ResultRefusedError, match=r"process-1 .*ZeroDivisionError.*\(end\)"
    ) as caught:
        processing(project).run([visit("a", 99, 0)])
    assert (caught.value.exit_code, caught.value.code) == (65, Code.STEP_FAILED)


def test_duplicates_are_dropped(project: Any) -> None:
    """Within the span of event time; without event time nobody can tell."""
    write(
        project,
        'product.publish(visits.dedupe("id", within="10m").select("id", "n"), contract=1)\n',
        ["null", TIME],
    )
    given = [visit("a", 1, 0), visit("a", 2, 9), visit("b", 3, 9), visit("a", 4, 10)]
    outcome = ProductDriver("shop.sums").run([*given, {"id": "a", "n": 5, "at": None}])
    assert outcome.frame().rows() == [("a", 1), ("b", 3), ("a", 4)]
    assert [(each.row, each.code) for each in outcome.dead_letters] == [(4, Code.NO_EVENT_TIME)]


def test_an_input_without_event_time_is_told_before(project: Any) -> None:
    """By `check`, at the line of the step."""
    write(
        project, 'product.publish(visits.dedupe("id", within="1h").select("id", "n"), contract=1)\n'
    )
    project.contract("shop.visits", {"id": "string", "n": "int", "at": TIME})
    with pytest.raises(DeclarationError, match=r"NO_EVENT_TIME: dedupe-1: works on event time"):
        load_product("shop.sums")


def test_describe_says_what_the_steps_keep(project: Any) -> None:
    """In words of their functions, keys and spans."""
    write(
        project,
        'once = visits.dedupe(["id", "n"], within="10m")\n'
        "product.publish(once.process(add, state=Sum, on_timer=end), contract=1)\n",
    )
    (output,) = describe(load_product("shop.sums"))["outputs"]
    assert [each["does"] for each in output["steps"]] == [
        "one row of each id, n within 10m",
        "add(...) with a Sum per key, end(...) on timers",
    ]


def test_the_bound_of_a_step_covers_its_functions(project: Any) -> None:
    """The alarm is set while they run, and only then."""
    entered: list[str] = []
    processing(project)

    class Around:
        def __init__(self, step: Any) -> None:
            entered.append(step.name)

        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: object) -> None:
            entered.append("out")

    loaded = load_product("shop.sums").surrounded(Around)
    ProductDriver(loaded).run([visit("a", 4, 0)])
    assert entered[:3] == ["process-1", "in", "out"]
