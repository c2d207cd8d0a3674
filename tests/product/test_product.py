"""What an author may declare, and what is told when it is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import headwater
from headwater import DataProduct, Flow, Snapshot
from headwater.product.names import folder_of, name_of
from headwater.product.snapshot import KEEP_MS, TARGET_BYTES

HERE = str(Path(__file__))
VAGUE: Any = "Often"  # of no use to any argument


def declared(**attributes: object) -> DataProduct:
    """A product without mistakes but for the attributes given."""
    given = {"name": "operations.departure-delays", "owner": "ops@example.com", **attributes}
    return DataProduct(**given)  # type: ignore[arg-type]  # wrong values are what is tried


def codes(product: DataProduct) -> list[str]:
    """The codes of its problems."""
    return [problem.code for problem in product.problems]


def test_the_public_door_is_exactly_what_authors_and_consumers_need() -> None:
    """`__all__` is pinned: a new public name is a conscious act. `open` is for consumers."""
    types = ["DataProduct", "DeadLetters", "Flow", "ProcessContext", "Snapshot"]
    assert headwater.__all__ == [*types, "aggregates", "hopping", "open", "session", "tumbling"]
    assert all(hasattr(headwater, name) for name in headwater.__all__)


def test_a_declaration_shows_its_inputs_and_outputs() -> None:
    """Inputs and outputs are frozen views with everything the engine needs."""
    product = declared(snapshot=Snapshot(every="15m"))
    departures = product.stream("operations.departures", contract=1, start="2013-01-01T00:00:00Z")
    late = departures.filter(pl.col("dep_delay") > 15)
    product.publish(late, contract=2)
    product.publish(departures.select("flight_id"), contract=1, port="flights")
    assert product.problems == ()
    assert [(s.topic, s.contract, s.start_ms) for s in product.inputs] == [
        ("operations.departures", 1, 1_356_998_400_000)
    ]
    assert [(o.topic, o.port, o.contract) for o in product.outputs] == [
        ("operations.departure-delays", None, 2),
        ("operations.departure-delays.flights", "flights", 1),
    ]
    assert product.outputs[0].flow is late
    with pytest.raises(dataclasses.FrozenInstanceError):
        product.inputs[0].topic = "x"  # type: ignore[misc]


def test_every_step_returns_a_new_flow_and_remembers_its_line() -> None:
    """A flow is immutable; its steps have names, and the author's file and line."""
    departures = declared().stream("operations.departures", contract=1)
    filtered = departures.filter(pl.col("a") > 1)
    both = filtered.with_columns(b=1).map(lambda frame: frame).map_events(lambda event: event)
    assert departures.steps == ()
    assert [step.name for step in both.steps] == [
        "filter-1",
        "with-columns-1",
        "map-1",
        "map-events-1",
    ]
    assert filtered.steps[0] is both.steps[0]
    origin = both.steps[0].origin
    assert origin.file == HERE
    assert (
        "departures.filter" in Path(HERE).read_text(encoding="utf-8").splitlines()[origin.line - 1]
    )


def test_steps_put_in_before_leave_the_others_their_names() -> None:
    """State and topics are found by the name of a step: a new filter must not begin them anew."""
    departures = declared().stream("operations.departures", contract=1)
    before = departures.latest("id", by="at").rekey("note").latest("note", by="at")
    after = (
        departures.filter(pl.col("a") > 1)
        .with_columns(b=1)
        .latest("id", by="at")
        .map(lambda frame: frame)
        .rekey("note")
        .latest("note", by="at")
    )
    names = [step.name for step in before.steps]
    assert names == ["latest-1", "rekey-1", "latest-2"]
    assert [step.name for step in after.steps if step.name in names] == names


@pytest.mark.parametrize(
    "name",
    ["operations", "Operations.delays", "operations.departure_delays", "a.b.c", "a..b", ".a.b",
     "a.b-", "a.-b", "1a.b", "../etc.passwd", "a.b\n", "a." + "b" * 250, 7],
)  # fmt: skip
def test_a_product_name_is_a_domain_and_a_product_in_lower_case(name: object) -> None:
    """Anything else would be no topic, or no folder, or both."""
    assert "INVALID_NAME" in codes(declared(name=name))


@pytest.mark.parametrize(
    "port", ["v1", "v20", "dead-letters", "changelog", "repartition", "A", "a.b", ""]
)
def test_a_port_cannot_take_the_name_of_our_own_topics(port: str) -> None:
    """Reserved port names are refused, and so are names that are none."""
    product = declared()
    product.publish(product.stream("a.b", contract=1), contract=1, port=port)
    assert codes(product) == ["INVALID_NAME"]


BROKEN = Snapshot(every="often", mode="newest", keep="long", target="large")


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    """A mistake does not hide the next one."""
    product = declared(name="Delays", owner=" ", snapshot=BROKEN)
    flow = product.stream("departures", contract=0, start="yesterday")
    product.stream("departures", contract=1, start="2013-01-01T00:00:00")
    product.publish(flow, contract=1)
    product.publish(flow, contract=1)
    other = declared()
    product.publish(other.stream("a.b", contract=1), contract=1, port="b")
    assert codes(product) == [
        "INVALID_NAME",
        "INVALID_VALUE",
        "INVALID_VALUE",
        "INVALID_VALUE",
        "INVALID_VALUE",
        "INVALID_VALUE",
        "INVALID_NAME",
        "INVALID_VALUE",
        "INVALID_VALUE",
        "INVALID_NAME",
        "INVALID_VALUE",
        "INPUT_TWICE",
        "OUTPUT_TWICE",
        "FOREIGN_FLOW",
    ]
    lines = [problem.line for problem in product.problems]
    assert lines == sorted(lines, key=lambda line: line or 0)
    assert {problem.file for problem in product.problems} == {HERE}


@pytest.mark.parametrize(
    "attributes",
    [{"owner": None}, {"owner": 7}, {"snapshot": "hourly"}, {"snapshot": Snapshot(every=15)}],  # type: ignore[arg-type]
    ids=str,
)
def test_an_attribute_of_a_wrong_type_is_one_mistake_of_all(attributes: dict[str, object]) -> None:
    """It is told with its line, and what is declared after it is judged too."""
    product = declared(**attributes)
    product.publish(product.stream("a.b", contract=1), contract=0)
    assert codes(product) == ["INVALID_VALUE", "INVALID_VALUE"]


@pytest.mark.parametrize("wrong", [None, 7, [], {}, b"a.b"], ids=str)
def test_every_argument_may_be_of_a_wrong_type(wrong: Any) -> None:
    """No value makes the declaration raise; each is a mistake of its own."""
    product = DataProduct(wrong, owner=wrong, snapshot=wrong or VAGUE)
    flow = product.stream(wrong, contract=wrong or VAGUE, start=wrong)
    product.publish(flow, contract=wrong or VAGUE, port=wrong or VAGUE)
    valid = wrong == 7  # as a contract's version
    numbers = [problem.line or 0 for problem in product.problems]
    assert [numbers.count(number) for number in sorted(set(numbers))] == [3, 3 - valid, 2 - valid]


def test_a_flow_that_is_none_does_not_hide_a_wrong_version() -> None:
    """Both are told, and not that there is no output."""
    product = declared()
    product.stream("a.b", contract=1)
    product.publish(3, contract="1")  # type: ignore[arg-type]
    assert codes(product) == ["INVALID_VALUE", "INVALID_VALUE"]


def test_a_product_without_inputs_or_outputs_is_a_mistake() -> None:
    """A declaration that does nothing is told so."""
    assert codes(declared()) == ["NO_INPUT", "NO_OUTPUT"]


def test_a_declaration_accepts_only_what_works_today() -> None:
    """An attribute whose behaviour does not exist is refused by Python itself."""
    with pytest.raises(TypeError, match="promises"):
        declared(promises=[])
    assert not hasattr(Flow, "window")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172800), ("500ms", 0.5)]
)
def test_a_snapshot_interval_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    """Intervals are read as seconds."""
    assert Snapshot(every=text).every_s == seconds


def test_upkeep_has_sizes_and_times() -> None:
    """A week and 128 MB unless a product says otherwise."""
    assert (Snapshot("1h").keep_ms, Snapshot("1h").target_bytes) == (KEEP_MS, TARGET_BYTES)
    policy = Snapshot("1h", keep="30d", target="1GB")
    assert (policy.keep_ms, policy.target_bytes) == (30 * 86_400_000, 1 << 30)


def test_folders_and_names_lead_to_each_other() -> None:
    """Dashes become underscores in folders, dots become levels, and back."""
    assert folder_of("operations.departure-delays.late") == "operations/departure_delays/late"
    assert name_of("operations/departure_delays/late") == "operations.departure-delays.late"


@pytest.mark.parametrize("wrong", ["soon", "", 30, "0s", ("30s",)], ids=str)
def test_idle_after_is_a_duration(wrong: Any) -> None:
    """Anything else is a mistake; a right one is known in seconds."""
    product = declared()
    product.publish(product.stream("a.b", contract=1, idle_after=wrong), contract=1)
    assert codes(product) == ["INVALID_VALUE"]
    stream = declared().stream("a.b", contract=1, idle_after="1500ms").stream
    assert stream.idle_after_s == 1.5
