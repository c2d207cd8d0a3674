"""Two versions of a contract: what breaks whom, and what to do about it."""

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.contract import (
    Contract,
    incompatibilities,
    next_major,
    parse_contract,
    predecessors,
    renamed,
)

ID: dict[str, Any] = {"name": "id", "type": "string"}
FULL = "FULL_TRANSITIVE"


def record(*fields: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """A record of these fields, each with its doc."""
    documented = [{"doc": "d", **each} for each in fields]
    return {"type": "record", "name": "R", "namespace": "n", **attributes, "fields": documented}


def contract(schema: dict[str, Any], version: int = 1) -> Contract:
    """A version of the contract of `a.b`."""
    path = Path(f"v{version}.avsc")
    return parse_contract(json.dumps(schema), topic="a.b", version=version, path=path)


def of(type_: Any, **attributes: Any) -> dict[str, Any]:
    """A record with one field `x` of this type."""
    return record(ID, {"name": "x", "type": type_, **attributes})


def enum(*symbols: str, **attributes: Any) -> dict[str, Any]:
    """An enum of these symbols."""
    return {"type": "enum", "name": "E", "symbols": list(symbols), **attributes}


def decimal(precision: int, scale: int) -> dict[str, Any]:
    """A decimal over bytes."""
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def logical(kind: str, name: str) -> dict[str, Any]:
    """A logical type."""
    return {"type": kind, "logicalType": name}


def nested(**field: Any) -> Any:
    """A list of records of one field."""
    inner = {"type": "record", "name": "X", "fields": [{"doc": "d", **field}]}
    return {"type": "array", "items": inner}


def found(old: Any, new: Any, mode: str = FULL) -> list[tuple[str, str, bool]]:
    """Path, rule and whether it is a mistake, of each incompatibility."""
    given = incompatibilities(contract(new, 2), contract(old, 1), mode)
    return [(each.path, each.rule, each.is_mistake) for each in given]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (record(ID), of("int", default=7)),
        (of("int", default=7), record(ID)),
        (of(["null", "int"], default=None), record(ID)),
        (of(enum("A", default="A")), of(enum("A", "B", default="A"))),
        (record(ID), record(ID, namespace="m")),
        (of("int"), of("int", doc="other words", unit="s")),
        (of(logical("long", "timestamp-nanos")), of(logical("long", "timestamp-nanos"))),
        (of(["null", "int"]), of(["int", "null"])),
    ],
)
def test_a_change_both_sides_can_read_is_no_news(old: Any, new: Any) -> None:
    """A field with a default comes and goes; words and the order of null do not matter."""
    assert found(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (of("int"), of("long"), "TYPE"),
        (of("int"), of("double"), "TYPE"),
        (of("float"), of("double"), "TYPE"),
        (of("int"), record(ID), "FIELD"),
        (of("int"), of(["null", "int"]), "NULL"),
        (of(enum("A")), of(enum("A", "B")), "SYMBOLS"),
        (of(decimal(9, 2)), of(decimal(12, 2)), "DECIMAL"),
        (of("string"), of("bytes"), "TYPE"),
        (of(logical("long", "timestamp-millis")), of("long"), "TYPE"),
    ],
)
def test_a_change_that_only_pinned_readers_mind_can_be_meant(old: Any, new: Any, rule: str) -> None:
    """Promotions, dropped fields and wider types: two ways on, and a mode that allows them."""
    assert found(old, new) == [("x", rule, False)]
    assert found(old, new, "FORWARD") == [("x", rule, False)]
    assert found(old, new, "BACKWARD_TRANSITIVE") == []
    assert found(old, new, "NONE") == []
    (only,) = incompatibilities(contract(new, 2), contract(old, 1), FULL)
    assert '"compatibility": "BACKWARD_TRANSITIVE"' in only.remedy
    assert "new major a.b.v2" in only.remedy


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (record(ID), of("int"), "FIELD"),
        (of("long"), of("int"), "TYPE"),
        (of("int"), of("string"), "TYPE"),
        (of("int"), of({"type": "array", "items": "int"}), "TYPE"),
        (of("bytes"), of("string"), "TYPE"),
        (of("long"), of(logical("long", "timestamp-millis")), "TYPE"),
        (of("string"), of(logical("string", "uuid")), "TYPE"),
        (of(["null", "int"]), of("int"), "NULL"),
        (of(enum("A", "B")), of(enum("A")), "SYMBOLS"),
        (of(decimal(9, 2)), of(decimal(8, 2)), "DECIMAL"),
        (
            of(logical("long", "timestamp-millis")),
            of(logical("long", "timestamp-micros")),
            "TYPE",
        ),
        (
            of({"type": "fixed", "name": "F", "size": 4}),
            of({"type": "fixed", "name": "F", "size": 5}),
            "TYPE",
        ),
    ],
)
def test_what_the_newer_version_cannot_read_of_the_log_is_a_mistake(
    old: Any, new: Any, rule: str
) -> None:
    """The log is read again for ever: each is told once, under every mode that looks back."""
    assert found(old, new) == [("x", rule, True)]
    assert found(old, new, "BACKWARD") == [("x", rule, True)]


def test_a_decimal_of_another_scale_is_told_once() -> None:
    """It breaks both directions at one place, and one sentence is enough."""
    assert found(of(decimal(9, 2)), of(decimal(9, 3))) == [("x", "DECIMAL", True)]


def test_symbols_lost_and_gained_are_two_things() -> None:
    """One breaks reading the log, the other pinned readers."""
    assert found(of(enum("A", "B")), of(enum("A", "C"))) == [
        ("x", "SYMBOLS", True),
        ("x", "SYMBOLS", False),
    ]


def test_the_path_leads_through_lists_and_records() -> None:
    """Where in the schema it is, as an author would say it."""
    old, new = of(nested(name="y", type="int")), of(nested(name="y", type="long"))
    assert found(old, new) == [("x[].y", "TYPE", False)]


def test_a_field_that_looks_renamed_is_told_so() -> None:
    """The same type at the same place, or of a like name: an alias is what is missing."""
    old, new = of("int"), record(ID, {"name": "count", "type": "int"})
    mistake, change = incompatibilities(contract(new, 2), contract(old, 1), FULL)
    assert (mistake.path, mistake.is_mistake) == ("count", True)
    assert mistake.remedy == 'it looks renamed from x: add "aliases": ["x"] to it'
    assert (change.path, change.is_mistake) == ("x", False)
    inside = of(nested(name="y", type="int")), of(nested(name="z", type="int"))
    first, _ = incompatibilities(contract(inside[1], 2), contract(inside[0], 1), FULL)
    assert "looks renamed from y" in first.remedy


def test_a_field_renamed_with_an_alias_reads_the_log_but_not_the_other_way() -> None:
    """Readers pinned to the old name do not find it: that is said by its new name."""
    old = of("int")
    new = record(ID, {"name": "count", "type": "int", "aliases": ["x"]})
    assert found(old, new, "BACKWARD_TRANSITIVE") == []
    (change,) = incompatibilities(contract(new, 2), contract(old, 1), FULL)
    assert change.message == "x is named count in v2, which readers of v1 do not know"
    assert not change.is_mistake


def test_a_rename_hidden_by_defaults_can_be_found() -> None:
    """With a default on both sides it is compatible, and still loses every value silently."""
    old = record(ID, {"name": "carrier", "type": ["null", "string"], "default": None})
    new = record(ID, {"name": "carrier_code", "type": ["null", "string"], "default": None})
    assert found(old, new) == []
    assert renamed(contract(new, 2), contract(old, 1)) == {"carrier_code": "carrier"}
    other = record(ID, {"name": "fare", "type": "double", "default": 0})
    assert renamed(contract(other, 2), contract(old, 1)) == {}


def test_a_renamed_record_needs_an_alias() -> None:
    """Its name stands in the registered schema; an alias reads the log written under the old."""
    new = record(ID) | {"name": "S"}
    assert found(record(ID), new) == [("", "NAME", True)]
    assert found(record(ID), new | {"aliases": ["R"]}, "BACKWARD") == []
    assert found(record(ID), new | {"aliases": ["R"]}) == [("", "NAME", False)]


def test_what_only_avros_checker_knows_is_told_in_its_words() -> None:
    """A decimal's fixed has a name, which our tree does not keep: both judges must say yes."""

    def priced(name: str) -> Any:
        return of(
            {
                "type": "fixed",
                "name": name,
                "size": 5,
                "logicalType": "decimal",
                "precision": 9,
                "scale": 2,
            }
        )

    only, *_ = incompatibilities(contract(priced("G"), 2), contract(priced("F"), 1), FULL)
    assert (only.rule, only.is_mistake) == ("RESOLUTION", True)
    assert "n.F" in only.message


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("FULL_TRANSITIVE", [3, 1]),
        ("BACKWARD_TRANSITIVE", [3, 1]),
        ("FULL", [3]),
        ("FORWARD", [3]),
        ("NONE", []),
    ],
)
def test_a_transitive_mode_looks_at_every_earlier_version(mode: str, expected: list[int]) -> None:
    """Gaps are fine, later versions are not asked."""
    versions = [contract(record(ID, compatibility=mode), n) for n in (1, 3, 4, 7)]
    assert [each.version for each in predecessors(versions, versions[2])] == expected


@pytest.mark.parametrize(
    ("topic", "major"),
    [
        ("a.b", "a.b.v2"),
        ("a.b.v2", "a.b.v3"),
        ("a.b.port", "a.b.v2.port"),
        ("a.b.v9.p", "a.b.v10.p"),
    ],
)
def test_the_next_major_is_a_product_beside_this_one(topic: str, major: str) -> None:
    """A port keeps its name behind the major."""
    assert next_major(topic) == major


@pytest.mark.parametrize(
    "type_",
    [
        {"type": {"type": "string"}},
        {"type": ["null", "string"]},
        {"type": {"type": "record", "name": "In", "fields": [{"doc": "d", **ID}]}},
    ],
)
def test_a_type_inside_a_type_is_that_type(type_: Any) -> None:
    """Avro's own reading knows none, and neither its errors nor ours reach anybody."""
    assert found(of(type_), of(type_)) == []
    assert found(of(type_), of(type_["type"])) == []
    (clash,) = found(of({"type": {"type": "string"}}), of({"type": {"type": "int"}}))
    assert clash[0] == "x"
