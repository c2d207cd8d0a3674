"""Rules of a contract: what they find on frames, and what is no rule."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.ruling import INSTANT, broken, contract, field, frame

from headwater.contract import Rules, Severity
from headwater.errors import DeclarationError
from headwater.model import Code


@pytest.mark.parametrize(
    ("rule", "type_", "values", "rows"),
    [
        ("v > 0", "int", [1, 0, -1], [1, 2]),
        ("v BETWEEN 1 AND 3", "int", [0, 1, 3, 4], [0, 3]),
        ("v IN ('a', 'b')", "string", ["a", "c", "b"], [1]),
        ("v ~ '^[0-9]+$'", "string", ["1", "a1", ""], [1, 2]),
        ("REGEXP_LIKE(v, '^N[0-9]')", "string", ["N1", "M1"], [1]),
        ("v LIKE 'N%' AND LENGTH(v) <= 3", "string", ["N12", "N123", "M"], [1, 2]),
        ("NOT v = 'it''s'", "string", ["it's", "its"], [0]),
        ("CASE WHEN v > 10 THEN v % 2 = 0 ELSE TRUE END", "int", [3, 11, 12], [1]),
        ("v IN ('new')", {"type": "enum", "name": "E", "symbols": ["old", "new"]}, ["old"], [0]),
        ("v ~ '^n'", {"type": "enum", "name": "E", "symbols": ["old", "new"]}, ["old", "new"], [0]),
        ("ARRAY_LENGTH(v) BETWEEN 1 AND 2", {"type": "array", "items": "int"}, [[], [1]], [0]),
        ("v > TIMESTAMP '1970-01-01 00:00:01'", INSTANT, [1_000, 1_001], [0]),
        ("v >= DATE '1970-01-02'", {"type": "int", "logicalType": "date"}, [0, 1], [0]),
    ],
)
def test_a_rule_names_the_rows_for_which_it_is_false(
    rule: str, type_: Any, values: list[Any], rows: list[int]
) -> None:
    """SQL over the fields of the contract; enums are text, instants UTC."""
    assert broken(contract(field("v", type_, rule=rule)), v=values) == {"v": rows}


def test_null_breaks_no_rule_but_one_that_asks_for_it() -> None:
    """As in SQL's CHECK: broken is what is false, not what is unknown."""
    either = ["null", "int"]
    assert broken(contract(field("v", either, rule="v > 0")), v=[None, 1]) == {}
    assert broken(contract(field("v", either, rule="v IS NOT NULL")), v=[None, 1]) == {"v": [0]}
    rule = "COALESCE(v, 0) > 0"
    assert broken(contract(field("v", either, rule=rule)), v=[None, 1]) == {"v": [0]}


def test_fields_of_nested_records_are_named_with_dots() -> None:
    """A rule sees the whole record wherever it stands; null inside null is null."""
    inner = {"type": "record", "name": "N", "fields": [field("b", "int", rule="n.b < lim")]}
    made = contract(field("n", ["null", inner]), field("lim", "int"))
    assert [(each.name, each.field) for each in made.rules] == [("n.b", "n.b")]
    assert broken(made, n=[{"b": 1}, {"b": 5}, None], lim=[2, 2, 2]) == {"n.b": [1]}


def test_names_severities_and_the_order_of_rules() -> None:
    """Rules of the record first; a text gets the name of its field, the next ones a number."""
    made = contract(
        field("v", "int", rule=["v > 0", "v < 9", {"name": "even", "check": "v % 2 = 0"}]),
        rules=[{"name": "small", "check": "v < 5", "severity": "warn"}],
    )
    assert [(each.name, each.severity) for each in made.rules] == [
        ("small", Severity.WARN),
        ("v", Severity.REJECT),
        ("v-2", Severity.REJECT),
        ("even", Severity.REJECT),
    ]


def test_only_rejecting_rules_quarantine_and_none_tells_a_value() -> None:
    """A row has one quarantine, whatever it breaks; the message names the rule."""
    made = contract(
        field("v", "int", rule=["v < 100", {"name": "tens", "check": "v % 10 = 0"}]),
        rules=[{"name": "small", "check": "v < 5", "severity": "warn"}],
    )
    found = Rules(made).broken(frame(made, v=[10, 4321, 30]))
    assert {each.rule.name: list(each.rows) for each in found.violations} == {
        "small": [0, 1, 2],
        "v": [1],
        "tens": [1],
    }
    (only,) = found.quarantined
    assert (only.row, only.code, only.step) == (1, Code.CONTRACT_VIOLATION, "rules")
    assert only.message == "the rule v (v < 100) is broken"


def test_the_age_is_the_publish_time_minus_the_event_time() -> None:
    """It may be negative, and a record without a publish time has none."""
    rule = "_age BETWEEN INTERVAL '-1 hour' AND INTERVAL '7 days'"
    made = contract(field("at", INSTANT), eventTime="at", rules=[{"name": "fresh", "check": rule}])
    hour, at = 3_600_000, 1_000_000_000
    ages = [-2 * hour, -hour, 0, 168 * hour, 169 * hour]
    published = [at + age for age in ages]
    assert broken(made, published, at=[at] * 5) == {"fresh": [0, 4]}
    assert broken(made, [-1] * 5, at=[at] * 5) == {}
    assert broken(made, at=[at] * 5) == {}


def test_events_too_far_ahead_are_refused_only_where_a_limit_is_set() -> None:
    """Default: no limit. `maxAhead` is a duration, and needs an event time."""
    assert broken(contract(field("at", INSTANT), eventTime="at"), [0], at=[10**12]) == {}
    made = contract(field("at", INSTANT), eventTime="at", maxAhead="1h")
    at = [3_600_000, 3_600_001]
    assert broken(made, [0, 0], at=at) == {"FUTURE_EVENT": [1]}
    for wrong in ({"maxAhead": "1h"}, {"maxAhead": "soon", "eventTime": "at"}):
        with pytest.raises(DeclarationError, match='BAD_ATTRIBUTE: "maxAhead"'):
            contract(field("at", INSTANT), **wrong)


NUMBERS: dict[str, tuple[Any, list[Any]]] = {
    "plain": ("double", [1.0, float("nan"), float("-inf")]),
    "null": (["null", "float"], [None, float("nan"), float("inf")]),
    "array": ({"type": "array", "items": "double"}, [[], [1.0, float("nan")], [float("inf")]]),
    "map": (
        {"type": "map", "values": "float"},
        [[], *([{"key": "k", "value": each}] for each in (float("nan"), float("inf")))],
    ),
    "record": (
        {"type": "record", "name": "N", "fields": [field("y", ["null", "double"])]},
        [{"y": None}, {"y": float("nan")}, {"y": float("inf")}],
    ),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_are_finite_unless_the_field_says_otherwise(kind: str) -> None:
    """NaN and the infinities are refused at any depth, by default; `nonFinite` lets them in."""
    type_, values = NUMBERS[kind]
    assert broken(contract(field("v", type_)), v=values) == {"NON_FINITE": [1, 2]}
    assert broken(contract(field("v", type_, nonFinite=True)), v=values) == {}


def test_columns_that_still_have_to_be_fitted_are_asked_too() -> None:
    """An output frame has the types its steps made, and may lack a column with a default."""
    made = contract(
        field("kind", {"type": "enum", "name": "K", "symbols": ["old", "new"]}, rule="kind ~ '^n'"),
        field("v", "int", rule="v > 1"),
        field("w", "int", default=0, rule="w > 0"),
    )
    given = pl.DataFrame({"kind": ["new", "old"], "v": [1, 2]}).with_columns(
        _row=pl.Series([7, 9], dtype=pl.UInt32)
    )
    found = {each.rule.name: list(each.rows) for each in Rules(made).broken(given).violations}
    assert found == {"kind": [9], "v": [7], "w": [7, 9]}


def test_a_rule_of_columns_that_are_all_missing_judges_every_row() -> None:
    """One value, the default, stands for all of them."""
    made = contract(field("a", "int"), field("v", "int", default=0, rule="v > 0"))
    given = frame(made, a=[1, 2, 3])
    (found,) = Rules(made).broken(given).violations
    assert list(found.rows) == [0, 1, 2]
    assert [each.row for each in Rules(made).broken(given).quarantined] == [0, 1, 2]


def test_a_bad_rule_is_told_with_file_line_and_field() -> None:
    """`headwater check` prints these."""
    with pytest.raises(DeclarationError) as refused:
        contract(field("v", "int"), field("w", "int", rule="vv > 0"))
    (problem,) = refused.value.problems
    assert (problem.code, problem.file, problem.line) == ("BAD_RULE", "v1.avsc", 11)
    assert problem.message == "the rule w (vv > 0): there is no field vv; did you mean v?"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (1, "a rule is"),
        ({"check": 1}, "a rule is"),
        ({"check": "v > 0", "severity": "fatal"}, '"severity" of v is one of reject, warn, stop'),
        ({"check": "v > 0", "name": "a b"}, 'a rule needs a "name"'),
        ({"check": "v > 0", "severe": "warn"}, "severe of v is not known"),
        ([{"check": "v > 0", "name": "v-2"}, "v < 9"], "2 rules have the name v-2"),
        ({"check": "v > 0", "name": "NON_FINITE"}, "asked of every contract"),
    ],
)
def test_the_attributes_of_a_rule_are_checked(rule: Any, reason: str) -> None:
    """Whoever mistypes a severity must not get another one."""
    with pytest.raises(DeclarationError) as refused:
        contract(field("v", "int", rule=rule))
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("v > 0", '"rules" is a list of {"name"'),
        ({"name": "even", "check": "v > 0"}, '"rules" is a list of {"name"'),
        (["v > 0"], "a text has no name"),
        ([{"check": "v > 0"}], 'a rule needs a "name"'),
    ],
)
def test_rules_of_a_record_are_a_list_of_objects_with_names(rules: Any, reason: str) -> None:
    """There is no field to name them after."""
    with pytest.raises(DeclarationError) as refused:
        contract(field("v", "int"), rules=rules)
    assert reason in str(refused.value)


def test_a_long_rule_is_told_by_its_beginning() -> None:
    """Five thousand values would fill the screen of whoever mistyped one."""
    rule = f"v IN ({', '.join(map(str, range(5_000)))})"
    with pytest.raises(DeclarationError) as refused:
        contract(field("v", "int", rule=rule))
    (problem,) = refused.value.problems
    assert problem.message == (
        f"the rule v ({rule[:120]}...): it has more than 1000 characters; make it several rules"
    )


@pytest.mark.parametrize(
    "type_", ["string", "int", ["null", "bytes"], {"type": "array", "items": "long"}]
)
def test_only_what_holds_floating_point_may_say_that_it_need_not_be_finite(type_: Any) -> None:
    """Elsewhere it promises what there is not."""
    with pytest.raises(DeclarationError) as refused:
        contract(field("v", type_, nonFinite=True))
    (problem,) = refused.value.problems
    assert problem.code == "BAD_ATTRIBUTE"
    assert problem.message == '"nonFinite" of v says nothing: it holds no float or double'


def test_an_element_of_a_list_counts_from_one_or_from_the_end() -> None:
    """What is not there is null, and breaks nothing."""
    tags = {"type": "array", "items": "string"}
    values = [["x", "y"], ["y", "x"], [], ["x"]]
    assert broken(contract(field("v", tags, rule="v[1] = 'x'")), v=values) == {"v": [1]}
    assert broken(contract(field("v", tags, rule="v[-1] = 'x'")), v=values) == {"v": [0]}
    assert broken(contract(field("v", tags, rule="v[2] = 'y'")), v=values) == {"v": [1]}


def test_what_has_no_value_in_doubles_is_larger_than_every_number() -> None:
    """As the page says: who calculates with doubles asks first."""
    made = contract(field("d", "double", rule=["SQRT(d) > 0", "d >= 0 AND SQRT(d) > 0"]))
    assert broken(made, d=[4.0, -1.0, 0.0]) == {"d": [2], "d-2": [1, 2]}


def test_a_rule_that_cannot_be_computed_for_a_row_is_broken_by_it_alone() -> None:
    """The belt beside the braces: the neighbours are judged as ever."""
    made = contract(field("s", "string", rule="s <> ''"))
    rules = Rules(made)
    strict = pl.col("s").cast(pl.Int32, strict=True) > 0
    (check,) = rules._checks  # no expression the language takes fails on data
    object.__setattr__(check, "holds", strict)
    found = rules.broken(frame(made, s=["1", "x", "3", "0"]))
    assert [list(each.rows) for each in found.violations] == [[1, 3]]


COMPARISONS = st.tuples(
    st.sampled_from(["a", "b", "a + b", "a - b", "COALESCE(a, 7)", "ABS(b)"]),
    st.sampled_from(["<", "<=", "=", "<>", ">", ">="]),
    st.integers(-9, 9),
).map(lambda part: f"{part[0]} {part[1]} {part[2]}")
RULES = st.recursive(
    COMPARISONS | st.sampled_from(["a IS NULL", "b IS NOT NULL", "a IN (1, 2)", "s LIKE 'x%'"]),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
        lambda part: f"({part[0]}) {part[1]} NOT ({part[2]})"
    ),
    max_leaves=5,
)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-9, 9),
        st.none() | st.integers(-9, 9),
        st.sampled_from([None, "", "x", "xy", "y"]),
    ),
    min_size=1,
    max_size=20,
)


@given(RULES, ROWS)
@settings(max_examples=100, deadline=None)
def test_a_frame_breaks_what_its_rows_break_one_by_one(rule: str, rows: list[Any]) -> None:
    """Row-local: no row's answer depends on its neighbours."""
    either = ["null", "int"]
    made = contract(
        field("a", either), field("b", either), field("s", ["null", "string"], rule=rule)
    )
    rules = Rules(made)
    whole = frame(made, **dict(zip("abs", zip(*rows, strict=True), strict=True)))
    alone = [row for row in range(whole.height) if rules.broken(whole[row]).violations]
    together = [row for each in rules.broken(whole).violations for row in each.rows]
    assert together == alone
