"""Reading a contract: what it holds, and every mistake at once."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater.contract import contract_path, key_schema, load_contract, parse_contract
from headwater.errors import DeclarationError

ID: dict[str, Any] = {"name": "id", "type": "string", "doc": "d"}
AT: dict[str, Any] = {
    "name": "at",
    "type": {"type": "long", "logicalType": "timestamp-millis"},
    "doc": "d",
}


def problems(schema: Any, *, text: str | None = None) -> list[tuple[str, int | None]]:
    """Code and line of every mistake."""
    with pytest.raises(DeclarationError) as refused:
        parse_contract(
            text or json.dumps(schema, indent=1), topic="a.b", version=1, path=Path("v1.avsc")
        )
    return [(each.code, each.line) for each in refused.value.problems]


def record(*fields: Any, **attributes: Any) -> Any:
    """A record of these fields."""
    return {"type": "record", "name": "R", **attributes, "fields": list(fields)}


def test_a_contract_is_found_by_topic_and_version(tmp_path: Path) -> None:
    """Dots become folders, dashes underscores; the text to register keeps every attribute."""
    path = contract_path(tmp_path, "operations.departure-delays", 2)
    assert path == tmp_path / "operations" / "departure_delays" / "v2.avsc"
    path.parent.mkdir(parents=True)
    field = {**ID, "sensitivity": "personal", "unit": "u", "rule": "id <> ''", "example": "x"}
    schema = record(field, AT, key="id", eventTime="at", owner="o@example", compatibility="NONE")
    path.write_text(json.dumps(schema))
    contract = load_contract(tmp_path, "operations.departure-delays", 2)
    assert json.loads(contract.text) == schema
    assert (contract.key, contract.event_time, contract.owner) == (("id",), "at", "o@example")
    assert contract.compatibility == "NONE"
    assert contract.columns == {"id": pl.String(), "at": pl.Datetime("ms", "UTC")}


def test_compatibility_is_full_transitive_unless_the_contract_says_otherwise() -> None:
    """The log is re-read for ever, so both directions hold over all versions."""
    text = json.dumps(record(ID))
    contract = parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))
    assert contract.compatibility == "FULL_TRANSITIVE"


def test_a_missing_contract_is_one_sentence(tmp_path: Path) -> None:
    """Which file is looked for, and what to do."""
    with pytest.raises(DeclarationError, match=r"v1\.avsc: NO_CONTRACT: .* is not there; write it"):
        load_contract(tmp_path, "a.b", 1)


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    """One run, one list."""
    text = """{"type": "record", "name": "R", "compatibility": "SOMETIMES",
      "key": ["id", "nowhere"],
      "eventTime": "id",
      "fields": [
        {"name": "id", "type": "string"},
        {"name": "u", "type": ["int", "string"], "doc": "d", "sensitivity": "low"},
        {"name": "d", "type": "int", "default": "x", "doc": "d", "rule": 1}
      ]}"""
    assert problems(None, text=text) == [
        ("BAD_ATTRIBUTE", 1),
        ("BAD_KEY", 2),
        ("NO_DOC", 5),
        ("BAD_EVENT_TIME", 5),
        ("BAD_ATTRIBUTE", 6),
        ("UNSUPPORTED_TYPE", 6),
        ("BAD_DEFAULT", 7),
        ("BAD_RULE", 7),
    ]


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ("string", "BAD_SCHEMA"),
        ({"type": "record", "name": "R"}, "BAD_SCHEMA"),
        (record({"name": "a", "type": "nothing", "doc": "d"}), "BAD_SCHEMA"),
        (record(ID, ID), "BAD_SCHEMA"),
        (record({**ID, "order": []}), "BAD_SCHEMA"),
        (record({**ID, "name": "_row"}), "RESERVED_NAME"),
        (record({"name": "f", "type": "double", "doc": "d"}, key="f"), "BAD_KEY"),
        (record({**ID, "type": ["null", "string"]}, key="id"), "BAD_KEY"),
        (record(ID, key=7), "BAD_KEY"),
        (record(ID, eventTime="at"), "BAD_EVENT_TIME"),
        (record(ID, owner=7), "BAD_ATTRIBUTE"),
        (
            record({**ID, "type": ["null", {"type": "map", "values": ["null", "null"]}]}),
            "BAD_SCHEMA",
        ),
    ],
)
def test_a_mistake_has_a_code(schema: Any, code: str) -> None:
    """Stable codes, for scripts and for search."""
    assert code in {each for each, _ in problems(schema)}


def test_text_that_is_no_json_is_told_with_its_line() -> None:
    """The line of the first thing that is not JSON."""
    assert problems(None, text='{"type":\n oops}') == [("BAD_JSON", 2)]


def test_a_schema_deeper_or_wider_than_any_honest_one_is_refused() -> None:
    """At most 32 levels and 1,000 fields; a hostile schema ends in a sentence, not in a crash."""
    deep: Any = "int"
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    assert problems(record({"name": "f", "type": deep, "doc": "d"}))[0][0] == "BAD_SCHEMA"
    wide = [{"name": f"f{each}", "type": "int", "doc": "d"} for each in range(1001)]
    assert problems(record(*wide))[0][0] == "BAD_SCHEMA"


def test_a_key_of_several_fields_has_a_schema_of_its_own() -> None:
    """Registered once under <topic>-key; a plain key needs none."""
    day = {"name": "day", "type": {"type": "int", "logicalType": "date"}, "doc": "d"}

    def keyed(key: Any) -> str | None:
        text = json.dumps(record(ID, day, key=key))
        return key_schema(parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc")))

    assert keyed("id") is None
    assert json.loads(keyed(["day", "id"]) or "") == {
        "type": "record",
        "name": "RKey",
        "fields": [{"name": "day", "type": day["type"]}, {"name": "id", "type": "string"}],
    }


def default(type_: Any, value: Any) -> Any:
    """A record with one field that has a default."""
    return record({"name": "f", "type": type_, "doc": "d", "default": value})


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A logical type."""
    return {"type": kind, "logicalType": name, **more}


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (logical("string", "uuid"), ""),
        (logical("int", "date"), 2**31 - 1),
        (logical("int", "time-millis"), -1),
        (logical("long", "time-micros"), 86_400_000_000),
        (logical("long", "timestamp-millis"), 2**62),
        (logical("bytes", "decimal", precision=2), "\x7f"),
        (logical("bytes", "decimal", precision=2), "\x7f" * 40),
        ("float", 1e300),
        ("float", 10**400),
        ("double", 10**400),
        (["null", logical("string", "uuid")], "nope"),
        ({"type": "array", "items": logical("int", "date")}, [0, 2**31 - 1]),
    ],
    ids=range(12),
)  # fmt: skip
def test_a_default_that_no_column_can_hold_is_refused(type_: Any, value: Any) -> None:
    """It goes through the same conversion as a value from the wire, long before the first."""
    assert problems(default(type_, value)) == [("BAD_DEFAULT", 6)]


def test_a_default_inside_a_record_is_checked() -> None:
    """At any depth, whether or not the record around it has a default."""
    inner = {**default(logical("string", "uuid"), "no"), "name": "N"}
    field = {"name": "outer", "type": inner, "doc": "d"}
    assert [code for code, _ in problems(record(field))] == ["BAD_DEFAULT"]


def test_defaults_are_columns_of_one_value() -> None:
    """As a reader gets them."""
    fields = [
        {"name": "d", "type": logical("int", "date"), "doc": "d", "default": 1},
        {"name": "n", "type": ["null", "int"], "doc": "d", "default": None},
        ID,
    ]
    text = json.dumps(record(*fields))
    contract = parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))
    held = {name: series.to_list() for name, series in contract.defaults.items()}
    assert held == {"d": [date(1970, 1, 2)], "n": [None]}
    assert contract.defaults["n"].dtype == pl.Int32


HALF = (
    '{"type": "record", "name": "R",\n"doc": "\\ud83d\\ude00",\n"fields": [\n{"doc": "\\ud800"}]}'
)
DIGITS = '{"type": "record",\n"name": ' + "1" * 5_000 + "}"
INFINITE = '{"type": "record",\n"name": 1e999}'


@pytest.mark.parametrize(
    ("text", "line"), [(HALF, 4), (DIGITS, 2), (INFINITE, 2), ('{\n"a": NaN}', 2), ("{\n\n", 3)],
    ids=range(5),

)  # fmt: skip
def test_what_cannot_be_written_as_json_again_is_refused_with_its_line(
    text: str, line: int
) -> None:
    """Python reads more than others do; the registry would refuse it, or a consumer choke on it."""
    assert problems(None, text=text) == [("BAD_JSON", line)]


@pytest.mark.parametrize("logical_type", [["x"], {}, 5, True])
def test_a_logical_type_that_is_no_text_is_a_mistake_of_a_contract(logical_type: Any) -> None:
    """Avro ignores what it does not know; an author should know that."""
    type_ = {"type": "int", "logicalType": logical_type}
    assert problems(record({**ID, "type": type_})) == [("UNSUPPORTED_TYPE", 6)]


@pytest.mark.parametrize("size", [0, 4, 2**31, 10**4_000], ids=range(4))
def test_an_absurd_precision_or_size_costs_nothing(size: int) -> None:
    """Neither a power of ten nor one of two is computed to find that it is too large."""
    type_ = {**logical("fixed", "decimal", precision=10**4_000), "name": "F", "size": size}
    assert problems(record({**ID, "type": type_}))


@pytest.mark.parametrize("space", [5, {}, [], False])
def test_a_namespace_is_a_text(space: Any) -> None:
    """Anything else would become part of a name."""
    assert problems(record(ID, namespace=space)) == [("BAD_SCHEMA", 1)]


def test_a_deep_schema_is_refused_not_walked() -> None:
    """A schema nests as deep as its author likes; the check does not follow."""
    type_: Any = "int"
    for _ in range(300):
        type_ = {"type": "array", "items": type_}
    assert problems(record({**ID, "type": type_})) == [("BAD_SCHEMA", 6)]


def test_attributes_that_are_nearly_known_are_reported() -> None:
    """`sensitivitee` would silently protect nothing; other attributes are free."""
    field = {**ID, "sensitivitee": "secret", "role": "x", "example": 1}
    found = problems(record(field, evenTime="id", event_time="id", contact="me"))
    assert found == [("UNKNOWN_ATTRIBUTE", 4), ("UNKNOWN_ATTRIBUTE", 5), ("UNKNOWN_ATTRIBUTE", 12)]
    with pytest.raises(DeclarationError, match=r'"sensitivitee" of id is .* mean "sensitivity"\?'):
        parse_contract(json.dumps(record(field)), topic="a.b", version=1, path=Path("v1.avsc"))


def test_reserved_names_and_repeated_names_ignore_case_everywhere() -> None:
    """Tables do, inside structures too."""
    inner = {**record({**ID, "name": "p"}, {**ID, "name": "P"}), "name": "N"}
    found = problems(record({**ID, "name": "_Offset"}, {"name": "n", "type": inner, "doc": "d"}))
    assert [code for code, _ in found] == ["RESERVED_NAME"] * 3


def test_what_becomes_of_a_contract_is_no_part_of_what_it_promises() -> None:
    """A published version is deprecated without changing the text that is registered."""
    published = parse_contract(json.dumps(record(ID)), topic="a.b", version=1, path=Path("v1.avsc"))
    text = json.dumps(record(ID, deprecated="use a.b.v2", sunset="2027-06-30"))
    contract = parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))
    assert (contract.deprecated, contract.sunset) == ("use a.b.v2", date(2027, 6, 30))
    assert contract.text == published.text
    assert (published.deprecated, published.sunset) == (None, None)


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"sunset": "2027-06-30"}, 4),
        ({"deprecated": "use a.b.v2", "sunset": "30.6.2027"}, 5),
        ({"deprecated": "use a.b.v2", "sunset": "20270630"}, 5),
        ({"deprecated": "use a.b.v2", "sunset": 2027}, 5),
        ({"deprecated": " "}, 4),
        ({"deprecated": True}, 4),
    ],
)
def test_a_sunset_is_a_day_and_says_what_to_use_instead(
    attributes: dict[str, Any], line: int
) -> None:
    """Whoever must move needs both: until when, and where to."""
    assert problems(record(ID, **attributes)) == [("BAD_ATTRIBUTE", line)]


def test_a_contract_is_a_record_itself() -> None:
    """Avro takes a type inside a type; its attributes and fields would stand in two places."""
    record = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "int", "doc": "d"}]}
    for inside in (record, [record], {"type": record}):
        with pytest.raises(DeclarationError, match="BAD_SCHEMA"):
            parse_contract(
                json.dumps({"type": inside}), topic="a.b", version=1, path=Path("v1.avsc")
            )
