"""Reading a contract: what it holds, and every mistake at once."""

import json
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
        ("BAD_ATTRIBUTE", 7),
        ("BAD_DEFAULT", 7),
    ]


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ("string", "BAD_SCHEMA"),
        ({"type": "record", "name": "R"}, "BAD_SCHEMA"),
        (record({"name": "a", "type": "nothing", "doc": "d"}), "BAD_SCHEMA"),
        (record(ID, ID), "BAD_SCHEMA"),
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
