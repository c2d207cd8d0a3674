"""The evolution gate and the log that is kept: what older events, names and rules still hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.testing.conftest import Project

from headwater.assembly.checking import check
from headwater.assembly.gate import require_sound_changes
from headwater.assembly.project import load_product
from headwater.errors import DeclarationError, Problem

BACKWARD, FORWARD = "BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE"
IDS: dict[str, Any] = {"id": "string", "n": "int"}
READS = 'product.publish(product.stream("shop.visits", contract={contract}{more}), contract=1)\n'


def refusals() -> list[Problem]:
    """The problems of a check of everything."""
    with pytest.raises(DeclarationError) as refused:
        check([], Path.cwd())
    return list(refused.value.problems)


def notes() -> list[str]:
    """The notes of a check that finds nothing wrong."""
    return check([], Path.cwd()).notes


def reading(project: Project, contract: int, more: str = "") -> None:
    """A product that copies `shop.visits` read with this version."""
    project.product("shop.copies", READS.format(contract=contract, more=more))


# -- what is in the log --------------------------------------------------------------------------


def test_a_consumer_that_cannot_read_the_log_is_named(project: Project) -> None:
    """The declared mode lets a required field be added; v1's events are in the log for ever."""
    project.contract("shop.visits", IDS)
    project.contract("shop.visits", IDS | {"z": "int"}, version=2, compatibility=FORWARD)
    project.contract("shop.copies", IDS | {"z": "int"})
    reading(project, 2)
    (problem,) = refusals()
    assert (problem.code, problem.file, problem.line) == (
        "CONSUMER_BREAKS",
        "products/shop/copies/product.py",
        5,
    )
    assert problem.message == (
        "shop.copies reads shop.visits with v2, from earliest, and cannot read the events of v1 in"
        " its log: z is new in v2 and has no default, so that it cannot read v1; give it a"
        ' "default", such as null for ["null", T], read v1 there, or begin behind those events'
        " with start="
    )
    project.contract("shop.copies", IDS)
    reading(project, 1)
    check([], Path.cwd())


def test_each_gap_in_the_log_is_told_once_with_the_newest_version_that_has_it(
    project: Project,
) -> None:
    """Every earlier version counts, not only the last."""
    for version in (1, 2):
        project.contract("shop.visits", IDS, version=version)
    for version in (3, 4):
        fields = IDS | {"z": "int"}
        project.contract("shop.visits", fields, version=version, compatibility=FORWARD)
    project.contract("shop.copies", IDS | {"z": "int"})
    reading(project, 4)
    (problem,) = refusals()
    assert "cannot read the events of v2 in its log" in problem.message


def test_a_consumer_that_begins_behind_old_events_is_only_noted(project: Project) -> None:
    """It may never meet them: nobody but its author knows."""
    project.contract("shop.visits", IDS)
    project.contract("shop.visits", IDS | {"z": "int"}, version=2, compatibility=FORWARD)
    project.contract("shop.copies", IDS | {"z": "int"})
    reading(project, 2, ', start="latest"')
    (note,) = notes()
    assert "reads shop.visits with v2, from latest, and cannot read the events of v1" in note


# -- keys ----------------------------------------------------------------------------------------


def test_a_composite_key_is_frozen_to_its_symbols(project: Project) -> None:
    """Its schema stands in each key: another one is other bytes, and another partition."""

    def enum(*symbols: str) -> dict[str, Any]:
        return {"type": "enum", "name": "Hall", "symbols": list(symbols)}

    fields = {"id": "string", "hall": enum("A")}
    project.contract("shop.visits", fields, key=["id", "hall"])
    wider = {"id": "string", "hall": enum("A", "B")}
    project.contract("shop.visits", wider, version=2, key=["id", "hall"], compatibility=BACKWARD)
    (problem,) = refusals()
    assert problem.code == "KEY_CHANGED"
    assert 'symbols": ["A"]} in v1 and is' in problem.message
    assert 'symbols": ["A", "B"]} now' in problem.message
    project.contract("shop.visits", wider, version=2, key="id", compatibility=BACKWARD)
    project.contract("shop.visits", fields, key="id")
    assert notes() == []


def test_a_composite_key_is_frozen_to_the_name_of_its_record(project: Project) -> None:
    """The registry has it under that name; an alias of the record does not rename the key."""
    key = ["id", "n"]
    project.contract("shop.visits", IDS, key=key, name="Visit")
    more = {"name": "Call", "aliases": ["Visit"], "compatibility": BACKWARD}
    project.contract("shop.visits", IDS, version=2, key=key, **more)
    (problem,) = refusals()
    assert "the key id, n was written as VisitKey in v1 and is CallKey now" in problem.message


# -- names ---------------------------------------------------------------------------------------


def nullable(name: str, **more: Any) -> dict[str, Any]:
    """A field that may come and go."""
    return {"name": name, "type": ["null", "int"], "default": None, "doc": "d", **more}


def history(project: Project, *versions: list[dict[str, Any]]) -> None:
    """Versions of `shop.visits` with these fields beside the key."""
    key = {"name": "id", "type": "string", "doc": "d"}
    for number, fields in enumerate(versions, 1):
        path = project.contract("shop.visits", version=number, compatibility=BACKWARD)
        written = json.loads(path.read_text()) | {"fields": [key, *fields]}
        path.write_text(json.dumps(written, indent=1))


RENAMED = nullable("b", aliases=["a"])


@pytest.mark.parametrize("third", [[RENAMED, nullable("a")], [nullable("a"), nullable("b")]])
def test_a_name_that_another_field_had_is_refused(
    project: Project, third: list[dict[str, Any]]
) -> None:
    """Older events and the table hold the renamed field under it; dropping the alias hides that."""
    history(project, [nullable("a")], [RENAMED], third, third)
    (problem,) = refusals()
    assert (problem.code, problem.file) == ("NAME_REUSED", "schemas/shop/visits/v3.avsc")
    assert "of v3 would both hold what a was" in problem.message
    assert "new major shop.visits.v2" in problem.message


def test_an_alias_of_a_field_that_stays_is_refused(project: Project) -> None:
    """Two fields would read one."""
    history(project, [nullable("a")], [nullable("a"), RENAMED])
    (problem,) = refusals()
    assert "b and a of v2 would both hold what a was" in problem.message


def test_a_name_inside_a_record_is_no_other(project: Project) -> None:
    """At any depth, also where the record itself was renamed."""

    def place(name: str, *fields: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        record = {"type": "record", "name": "P", "fields": list(fields)}
        kind = {"type": "array", "items": record}
        return [{"name": name, "type": kind, "default": [], "doc": "d", **more}]

    history(
        project,
        place("p", nullable("a")),
        place("q", RENAMED, aliases=["p"]),
        place("q", RENAMED, nullable("a")),
    )
    (problem,) = refusals()
    assert "q[].a and q[].b of v3 would both hold what p[].a was" in problem.message


@pytest.mark.parametrize(
    "versions",
    [
        [[nullable("a")], [], [nullable("a")]],
        [[nullable("a")], [RENAMED], [], [nullable("a")]],
        [[nullable("a")], [RENAMED], [nullable("a", aliases=["b"])]],
        [[nullable("a"), nullable("b")], [nullable("b", aliases=["a"]), nullable("a")]],
    ],
)
def test_a_name_that_nobody_else_holds_may_come_back(
    project: Project, versions: list[list[dict[str, Any]]]
) -> None:
    """Dropped and added, renamed and renamed back, or never moved at all."""
    history(project, *versions)
    check([], Path.cwd())


# -- rules ---------------------------------------------------------------------------------------


def ruled(project: Project, version: int, rule: Any = None, **more: Any) -> None:
    """A version of `shop.visits` whose field `x` has this rule."""
    at = {"type": "long", "logicalType": "timestamp-millis"}
    fields = IDS | {"x": "double", "at": at}
    path = project.contract("shop.visits", fields, version, eventTime="at", **more)
    written = json.loads(path.read_text())
    if rule is not None:
        written["fields"][2]["rule"] = rule
    path.write_text(json.dumps(written, indent=1))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("x > 0", "x > 5", "rule x was x > 0 and is x > 5; a record that breaks it goes to"),
        (None, "x > 5", "rule x (x > 5) is new; a record that breaks it goes to the dead letters"),
        (
            {"name": "r", "check": "x > 5", "severity": "warn"},
            {"name": "r", "check": "x > 5", "severity": "stop"},
            "rule r (x > 5) was of severity warn and is of severity stop; a record that",
        ),
        ("x IN (1, 2)", "x IN (1)", "rule x was x IN (1, 2) and is x IN (1)"),
    ],
)
def test_a_rule_that_changed_is_noted(project: Project, before: Any, after: Any, told: str) -> None:
    """No mode knows of rules, and records in the log were never asked this one."""
    ruled(project, 1, before)
    ruled(project, 2, after)
    (note,) = notes()
    assert note.startswith(f"shop.visits v2: {told}")
    assert note.endswith("also one that v1 let into the log")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x > 0", "x > 0"),
        ("x > 0", None),
        ("x > 0", {"name": "renamed", "check": "x > 0"}),
        ("x > 0", {"name": "x", "check": "x > 5", "severity": "warn"}),
    ],
)
def test_a_rule_that_refuses_no_more_than_before_is_no_news(
    project: Project, before: Any, after: Any
) -> None:
    """Dropped, renamed, or a warning only."""
    ruled(project, 1, before)
    ruled(project, 2, after)
    assert notes() == []


def test_a_nearer_limit_of_the_future_is_noted(project: Project) -> None:
    """And one where there was none; a farther one is not."""
    for version, limit in enumerate(("2h", "1h", "3h"), 1):
        ruled(project, version, maxAhead=limit)
    (note,) = notes()
    assert "shop.visits v2: maxAhead was 2h and is 1h; a record further ahead" in note
    ruled(project, 1)
    assert "maxAhead was without a limit and is 1h" in notes()[0]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("double", "v"),
        (["null", {"type": "array", "items": "float"}], "v"),
        (
            {
                "type": "map",
                "values": {
                    "type": "record",
                    "name": "P",
                    "fields": [
                        {"name": "a", "type": "double", "doc": "d", "nonFinite": True},
                        {"name": "b", "type": "double", "doc": "d"},
                    ],
                },
            },
            "v{}.a",
        ),
    ],
)
def test_numbers_that_must_be_finite_from_now_on_are_noted(
    project: Project, kind: Any, path: str
) -> None:
    """At any depth; where it was asked before nothing is said."""

    def version(number: int, text: str) -> None:
        fields = [
            {"name": "id", "type": "string", "doc": "d"},
            {"name": "v", "type": kind, "doc": "d"} | ({"nonFinite": True} if path == "v" else {}),
        ]
        written = project.contract("shop.visits", version=number)
        schema = json.loads(written.read_text()) | {"fields": fields}
        schema["fields"][1] |= {"default": None} if isinstance(kind, list) else {}
        written.write_text(json.dumps(schema).replace('"nonFinite": true', f'"nonFinite": {text}'))

    version(1, "true")
    version(2, "false")
    version(3, "false")
    (note,) = notes()
    assert note.startswith(f"shop.visits v2: {path} may no longer hold NaN or an infinity")


def test_registering_refuses_a_reused_name(project: Project) -> None:
    """Before anything is published."""
    project.passing("shop.copies")
    history(project, [nullable("a")], [RENAMED], [RENAMED, nullable("a")])
    project.product(
        "shop.visits", 'product.publish(product.stream("shop.orders", contract=1), contract=1)\n'
    )
    project.contract("shop.orders", {"id": "string", "a": ["null", "int"]})
    project.contract("shop.copies", {"id": "string", "a": ["null", "int"]})
    with pytest.raises(DeclarationError, match="NAME_REUSED"):
        require_sound_changes([load_product("shop.visits")])
