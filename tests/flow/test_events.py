"""Functions on one event at a time: what they get, what they may return, who is to blame."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel, Field

from headwater import DataProduct, Flow
from headwater.errors import DeclarationError
from headwater.flow import ROW, Columns, Plan, from_values
from headwater.flow.events import EventStage
from headwater.model import Code

INSTANT = pl.Datetime("ms", "UTC")
COLUMNS: Columns = {"id": pl.String(), "n": pl.Int32(), "at": INSTANT}
OUTPUT: Columns = {"id": pl.String(), "n": pl.Int32(), "at": INSTANT}
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def rows(*numbers: int | None) -> pl.DataFrame:
    """A frame with one event per number."""
    count = len(numbers)
    data = {"id": [f"r{i}" for i in range(count)], "n": list(numbers), "at": [NOON] * count}
    index = pl.Series(ROW, range(count), dtype=pl.UInt32)
    return pl.DataFrame(data, schema=dict(COLUMNS)).insert_column(0, index)


class Given(BaseModel):
    """What a function asks for."""

    id: str
    n: int | None


class Made(BaseModel):
    """What a function returns."""

    id: str
    n: int


def test_a_function_gets_a_mapping_with_instants_in_utc() -> None:
    """Columns become plain Python values; `_row` is none of them."""
    seen: list[Any] = []
    Plan(stream().map_events(seen.append), COLUMNS, OUTPUT).process(rows(1, None))
    assert seen == [{"id": "r0", "n": 1, "at": NOON}, {"id": "r1", "n": None, "at": NOON}]
    assert seen[0]["at"].tzinfo is UTC


def test_a_function_gets_the_model_its_parameter_is_annotated_with() -> None:
    """Validated: a rule of the model is a rule for the event."""

    class Positive(Given):
        n: int | None = Field(gt=0)

    def function(event: Positive) -> Made | None:
        return Made(id=event.id, n=event.n) if event.n else None

    done = Plan(stream().map_events(function), COLUMNS, OUTPUT).process(rows(1, -7, None))
    assert done.frame.to_dict(as_series=False) == {"_row": [0], "id": ["r0"], "n": [1]}
    assert [(q.row, q.code) for q in done.quarantined] == [(1, Code.STEP_FAILED)]
    assert (
        "ValidationError (n: greater_than) in step map-events-1 (function)"
        in done.quarantined[0].message
    )
    assert "7" not in done.quarantined[0].message.split(" at ")[0]


def one(event: dict[str, Any]) -> dict[str, Any]:
    """One mapping."""
    return event


def many(event: dict[str, Any]) -> list[dict[str, Any]]:
    """A list."""
    return [event | {"n": i} for i in range(event["n"])]


def yielded(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One dict, yielded again and again."""
    for i in range(event["n"]):
        event["n"] = i
        yield event


def none(event: dict[str, Any]) -> None:
    """Nothing."""


@pytest.mark.parametrize(
    ("function", "expected"),
    [(one, [(0, 2), (1, 1)]), (many, [(0, 0), (0, 1), (1, 0)]),
     (yielded, [(0, 0), (0, 1), (1, 0)]), (none, [])],
)  # fmt: skip
def test_a_function_returns_one_many_or_none(
    function: Any, expected: list[tuple[int, int]]
) -> None:
    """Every result leads back to its input row."""
    frame = Plan(stream().map_events(function), COLUMNS, OUTPUT).process(rows(2, 1)).frame
    assert frame.select(ROW, "n").rows() == expected


def test_an_event_that_raises_is_quarantined_alone_and_whole() -> None:
    """What it yielded before it raised is not published."""

    def function(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield event
        if event["n"] == 0:
            raise RuntimeError(event["id"])

    done = Plan(stream().map_events(function), COLUMNS, OUTPUT).process(rows(1, 0, 2))
    assert done.frame[ROW].to_list() == [0, 2]
    line = function.__code__.co_firstlineno + 3
    assert [q.message for q in done.quarantined] == [
        f"RuntimeError in step map-events-1 (function) at tests/flow/test_events.py:{line}"
    ]


@pytest.mark.parametrize(
    ("value", "kind"),
    [("text", "NotAnEventError"), (7, "TypeError"), ([1], "NotAnEventError"),
     ({"id": "x", "extra": 1}, "UnknownFieldError")],
)  # fmt: skip
def test_a_result_that_is_no_event_is_quarantined(value: Any, kind: str) -> None:
    """Texts and numbers are no events, and neither is one with a field nobody knows."""
    plan = Plan(stream().map_events(lambda _: value), COLUMNS, OUTPUT)
    done = plan.process(rows(1))
    assert done.frame.is_empty()
    assert done.quarantined[0].message.startswith(f"{kind} in step")


def test_a_value_of_another_type_is_to_blame_alone() -> None:
    """Columns are built without guessing: a text is no number, a time without zone no instant."""
    wrong = [{"n": "1"}, {"at": datetime(2013, 1, 1)}, {"n": 1.5}, {"id": 1}, {}]  # noqa: DTZ001

    def function(event: dict[str, Any]) -> dict[str, Any]:
        return {**event, **wrong[event["n"]]}

    done = Plan(stream().map_events(function), COLUMNS, OUTPUT).process(rows(4, 0, 1, 2, 3, 4))
    assert done.frame[ROW].to_list() == [0, 5]
    assert [q.row for q in done.quarantined] == [1, 2, 3, 4]


def test_steps_after_a_function_need_a_model_to_type_it() -> None:
    """What comes out must be known without data; the mistake names the way out."""
    with pytest.raises(DeclarationError, match=r"UNTYPED_EVENTS.*pydantic model"):
        Plan(stream().map_events(one).filter(pl.col("n") > 1), COLUMNS, OUTPUT)

    def typed(event: Given) -> list[Made]:
        return [Made(id=event.id, n=i) for i in range(event.n or 0)]

    plan = Plan(stream().map_events(typed).filter(pl.col("n") > 0), COLUMNS, OUTPUT)
    assert plan.columns == {"id": pl.String(), "n": pl.Int64()}
    assert plan.process(rows(3, 0)).frame["n"].to_list() == [1, 2]


def test_a_model_that_asks_for_an_unknown_column_is_told_without_data() -> None:
    """A required field must be a column; one with a default may be missing."""

    class Wide(Given):
        flight_idd: str
        note: str = ""

    def function(event: Wide) -> Made:
        return Made(id=event.id, n=1)

    with pytest.raises(DeclarationError, match="no column 'flight_idd'") as caught:
        Plan(stream().map_events(function), COLUMNS, OUTPUT)
    assert len(caught.value.problems) == 1


def test_a_model_field_without_a_column_type_is_told() -> None:
    """An open type needs the contract to say what it is."""

    class Odd(BaseModel):
        amount: Decimal

    def function(event: Given) -> Odd:
        return Odd(amount=Decimal("1.5"))

    with pytest.raises(DeclarationError, match=r"UNSUPPORTED_TYPE.*'amount' of Odd"):
        Plan(stream().map_events(function).filter(pl.col("amount") > 1), COLUMNS)
    plan = Plan(stream().map_events(function), COLUMNS, {"amount": pl.Decimal(10, 2)})
    assert plan.process(rows(1)).frame["amount"].to_list() == [Decimal("1.50")]


def test_an_annotation_that_leads_nowhere_is_told_with_its_step() -> None:
    """A name that does not exist is a mistake of the declaration, not of the data."""

    def function(event: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
        return None

    with pytest.raises(DeclarationError, match="INVALID_STEP: map-events-1: NameError"):
        Plan(stream().map_events(function), COLUMNS, OUTPUT)


class Colour(StrEnum):
    """An enum that is a text."""

    RED = "red"


class Inner(BaseModel):
    """A nested model."""

    x: int


class Everything(BaseModel):
    """One field of every type that has a column type."""

    text: str
    maybe: int | None
    kind: Literal["a", "b"]
    colour: Colour
    when: datetime
    day: date
    raw: bytes
    numbers: list[float]
    inner: Inner


def test_model_fields_become_typed_columns() -> None:
    """Nested models, lists, enums and literals included."""

    def function(event: Given) -> Everything:
        return Everything(
            text="t", maybe=None, kind="a", colour=Colour.RED, when=NOON, day=NOON.date(),
            raw=b"\0", numbers=[1, 2.5], inner=Inner(x=1),
        )  # fmt: skip

    frame = (
        Plan(stream().map_events(function), COLUMNS, {"text": pl.String()}).process(rows(1)).frame
    )
    assert frame.schema == {
        ROW: pl.UInt32, "text": pl.String, "maybe": pl.Int64, "kind": pl.String,
        "colour": pl.String, "when": pl.Datetime("us", "UTC"), "day": pl.Date, "raw": pl.Binary,
        "numbers": pl.List(pl.Float64), "inner": pl.Struct({"x": pl.Int64}),
    }  # fmt: skip
    assert frame.row(0, named=True) == {
        ROW: 0, "text": "t", "maybe": None, "kind": "a", "colour": "red", "when": NOON,
        "day": NOON.date(), "raw": b"\0", "numbers": [1.0, 2.5], "inner": {"x": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([Decimal("1.234")], pl.Decimal(10, 2)),
        ([{"x": 1, "y": 2}], pl.Struct({"x": pl.Int64})),
        ([[datetime(2013, 1, 1)]], pl.List(pl.Datetime("us", "UTC"))),  # noqa: DTZ001
        ([datetime(2013, 1, 1, 5)], pl.Date()),  # noqa: DTZ001
        ([2.0**200], pl.Float32()),
        ([True], pl.String()),
        (["2013-01-01"], pl.Datetime("us", "UTC")),
    ],
)
def test_a_column_is_never_built_by_rounding_dropping_or_guessing(
    values: list[Any], dtype: pl.DataType
) -> None:
    """What polars would round, drop, parse or give a zone is refused."""
    with pytest.raises((TypeError, ValueError)):
        from_values("a", values, dtype)


def test_instants_of_any_zone_become_the_same_instant() -> None:
    """To the microsecond, over the whole range of Python's datetimes."""
    there = datetime(2013, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    column = from_values("at", [there, None, *ends], pl.Datetime("us", "UTC"))
    assert column.to_list() == [NOON, None, *ends]


def test_a_model_sees_only_the_columns_it_names() -> None:
    """The others are never made into Python objects."""

    def function(event: Given) -> None:
        return None

    flow = stream().map_events(function)
    stage = EventStage(flow.steps[0], OUTPUT)  # type: ignore[arg-type]
    assert stage._taken.values(rows(1))[0] == ["id", "n"]


def test_a_field_left_out_is_the_contracts_default() -> None:
    """As a column left out of `select` is; by row, since each event may leave out others."""
    left_out = {0: {"n", "at"}, 1: {"at"}, 2: set[str]()}

    def function(event: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in event.items() if k not in left_out[event["n"]]}

    defaults = {
        "n": pl.Series("n", [7], pl.Int32),
        "at": pl.Series("at", [NOON + timedelta(hours=1)], INSTANT),
    }
    plan = Plan(stream().map_events(function), COLUMNS, OUTPUT, defaults)
    done = plan.process(rows(0, 1, 2))
    assert done.quarantined == []
    assert done.frame["n"].to_list() == [7, 1, 2]
    assert [at.hour for at in done.frame["at"]] == [13, 13, 12]


def test_a_field_left_out_without_a_default_quarantines_its_event() -> None:
    """And the field is named: it is the contract's, no payload."""
    plan = Plan(stream().map_events(lambda event: {"id": event["id"]}), COLUMNS, OUTPUT, {})
    done = plan.process(rows(1))
    assert done.frame.is_empty()
    assert done.quarantined[0].message.startswith("MissingFieldError (at) in step map-events-1")


def test_a_function_that_exits_fails_for_that_event_alone() -> None:
    """`exit()` in a library must not end the runtime."""

    def function(event: dict[str, Any]) -> dict[str, Any]:
        if event["n"] == 2:
            raise SystemExit(3)
        return event

    done = Plan(stream().map_events(function), COLUMNS, OUTPUT).process(rows(1, 2))
    assert done.frame[ROW].to_list() == [0]
    assert done.quarantined[0].message.startswith("SystemExit in step map-events-1 (function)")
