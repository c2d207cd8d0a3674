"""docs/rules.md: what it says is so."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.contract.ruling import broken, contract, field

from headwater.contract import Contract, parse_contract
from headwater.contract.sql_words import FUNCTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
ROW = re.compile(
    r"^\| `([^`]+)` \| ((?:`[^`]+`(?:, )?)*) ?\| ((?:`[^`]+`(?:, )?)*) ?\|$", re.MULTILINE
)
EXAMPLES = ROW.findall(PAGE)


def shown() -> Contract:
    """The contract at the top of the page."""
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    return parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))


def test_the_contract_of_the_page_is_one_and_has_the_rules_it_names() -> None:
    """Names and severities as the text below it tells."""
    made = shown()
    assert {each.name: each.severity.value for each in made.rules} == {
        "not-early": "warn",
        "fresh": "reject",
        "flight_id": "reject",
        "flight_id-2": "reject",
        "origin": "reject",
        "positive-distance": "stop",
    }
    assert {each.name: each.severity.value for each in made.dataset} == {
        "once": "fail",
        "enough": "warn",
        "known-aircraft": "fail",
    }


def values(cell: str) -> list[Any]:
    """The JSON values of a cell."""
    return [json.loads(each) for each in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(("rule", "passing", "breaking"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_every_example_passes_and_breaks_as_told(rule: str, passing: str, breaking: str) -> None:
    """`v` is an int or null, `s` a text or null."""
    made = contract(
        field("v", ["null", "int"]),
        field("s", ["null", "string"]),
        rules=[{"name": "shown", "check": rule}],
    )
    good, bad = values(passing), values(breaking)
    both = [*good, *bad]
    found = broken(
        made,
        v=[None if isinstance(each, str) else each for each in both],
        s=[each if isinstance(each, str) else None for each in both],
    )
    assert found.get("shown", []) == list(range(len(good), len(both)))


def test_the_page_has_examples_and_names_every_function() -> None:
    """And no function there is not."""
    assert len(EXAMPLES) >= 10
    (listed,) = re.findall(r"^Functions: (.*)\.$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", listed) == sorted(FUNCTIONS)


@pytest.mark.parametrize(
    "rule",
    [
        "place.lat BETWEEN -90 AND 90",
        "ARRAY_LENGTH(tags) <= 5",
        "ARRAY_CONTAINS(tags, 'x')",
        "sched_dep >= TIMESTAMP '2013-01-01 00:00:00'",
        "day >= DATE '2013-01-01'",
        "tags[1] = 'x'",
        "SQRT(d) > 0",
        "d >= 0 AND SQRT(d) > 0",
    ],
)
def test_every_rule_in_the_text_is_one(rule: str) -> None:
    """On fields of the types it speaks of."""
    assert f"`{rule}`" in PAGE
    place = {"type": "record", "name": "P", "fields": [field("lat", "double")]}
    made = contract(
        field("place", place),
        field("tags", {"type": "array", "items": "string"}),
        field("sched_dep", {"type": "long", "logicalType": "timestamp-millis"}),
        field("d", "double"),
        field("day", {"type": "int", "logicalType": "date"}, rule=rule),
    )
    assert made.rules[0].expression == rule
