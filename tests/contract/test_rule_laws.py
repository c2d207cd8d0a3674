"""Laws of the rule language: null, rows alone and together, whole numbers of any size."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.contract.rule_language import compiled, extremes, view_type
from headwater.contract.sql_tokens import BadSqlError
from headwater.contract.sql_words import FUNCTIONS

COLUMNS: Mapping[str, pl.DataType] = {
    "a": pl.Int32(),
    "b": pl.Int32(),
    "l": pl.Int64(),
    "m": pl.Int64(),
    "x": pl.Float64(),
    "y": pl.Float32(),
    "s": pl.String(),
    "t": pl.String(),
    "f": pl.Boolean(),
    "at": pl.Datetime("ms", "UTC"),
    "day": pl.Date(),
    "price": pl.Decimal(8, 2),
    "kind": pl.Enum(["old", "new"]),
    "list": pl.List(pl.Int32()),
    "n": pl.Struct({"b": pl.Int64(), "kind": pl.Enum(["old"])}),
    "blob": pl.Binary(),
}
NEW_YEAR = datetime(2013, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # rules see UTC without zone
SOUND: Mapping[str, Any] = {
    "a": 3,
    "b": 2,
    "l": 5,
    "m": 7,
    "x": 1.5,
    "y": 0.5,
    "s": "abc",
    "t": "b",
    "f": True,
    "at": NEW_YEAR,
    "day": date(2013, 1, 1),
    "price": Decimal("1.25"),
    "kind": "old",
    "list": [1, 2],
    "n": {"b": 1, "kind": "old"},
    "blob": b"x",
}


def frame(columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    """Columns as rules see them."""
    return pl.DataFrame(columns, schema={name: view_type(COLUMNS[name]) for name in columns})


def answers(rule: str, rows: Mapping[str, list[Any]]) -> list[Any]:
    """What a rule says of each row."""
    return frame(rows).select(compiled(rule, COLUMNS).alias("rule"))["rule"].to_list()


CALLS = {
    "ABS": ["ABS(a)", "ABS(x)", "ABS(price)"],
    "ARRAY_CONTAINS": ["ARRAY_CONTAINS(list, 1)"],
    "ARRAY_LENGTH": ["ARRAY_LENGTH(list)"],
    "CEIL": ["CEIL(x)"],
    "CHAR_LENGTH": ["CHAR_LENGTH(s)"],
    "ENDS_WITH": ["ENDS_WITH(s, 'c')", "ENDS_WITH(s, t)"],
    "EXP": ["EXP(x)"],
    "EXTRACT": [f"EXTRACT({part} FROM at)" for part in ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE")]
    + [f"EXTRACT({part} FROM at)" for part in ("SECOND", "DOW", "WEEK")]
    + ["EXTRACT(YEAR FROM day)"],
    "FLOOR": ["FLOOR(x)"],
    "LEFT": ["LEFT(s, 1)", "LEFT(s, -1)"],
    "LENGTH": ["LENGTH(s)", "LENGTH(kind)"],
    "LN": ["LN(x)"],
    "LOG10": ["LOG10(x)"],
    "LOWER": ["LOWER(s)"],
    "LTRIM": ["LTRIM(s)", "LTRIM(s, 'a')"],
    "MOD": ["MOD(a, 2)", "MOD(a, b)", "MOD(x, y)"],
    "OCTET_LENGTH": ["OCTET_LENGTH(s)"],
    "REGEXP_LIKE": ["REGEXP_LIKE(s, 'a')"],
    "REPLACE": ["REPLACE(s, 'a', 'b')"],
    "RIGHT": ["RIGHT(s, 1)"],
    "ROUND": ["ROUND(x)", "ROUND(x, 1)", "ROUND(a * 2, 1)"],
    "RTRIM": ["RTRIM(s)", "RTRIM(s, 'a')"],
    "SIGN": ["SIGN(a)", "SIGN(x)"],
    "SQRT": ["SQRT(x)"],
    "STARTS_WITH": ["STARTS_WITH(s, 'a')", "STARTS_WITH(s, t)"],
    "SUBSTR": ["SUBSTR(s, 1)", "SUBSTR(s, 1, 2)", "SUBSTR(s, a)"],
    "SUBSTRING": ["SUBSTRING(s, 2, 1)"],
    "TRIM": ["TRIM(s)"],
    "TRY_CAST": ["TRY_CAST(s AS INT)", "TRY_CAST(a AS DOUBLE)", "TRY_CAST(x AS VARCHAR)"],
    "UPPER": ["UPPER(s)"],
}
FOR_NULL = {"COALESCE", "IFNULL", "NULLIF", "GREATEST", "LEAST", "IF"}
PLAIN = [
    *("a > 1", "a <> b", "NOT f", "a IN (1, 2)", "a NOT IN (1, 2)", "a IN (b, 9)"),
    *("a BETWEEN 1 AND 2", "b BETWEEN a AND 2", "s LIKE 'a%'", "s NOT LIKE 'a%'", "s ILIKE 'A%'"),
    *("s ~ 'a'", "s !~ 'z'", "s ~* 'A'", "s !~* 'A'", "s RLIKE 'a'", "s || t = 'x'", "-a > 0"),
    *(
        "a + b > 0",
        "a - l > 0",
        "a * x > 0",
        "a / b > 0",
        "a % b = 1",
        "price * a > 1",
        "x * 0 > 1",
    ),
    *("at > TIMESTAMP '2013-01-01 00:00:00'", "day = DATE '2013-01-01'", "kind = 'old'"),
    *("n.b > 0", "n.b * 2 > 0", "n.kind = 'old'", "list[1] > 0", "list[1] * 2 > 0"),
    *("at - INTERVAL '1 day' < at", "a = NULL", "f = TRUE"),
]


def test_every_function_is_asked_about_null_or_made_for_it() -> None:
    """A new one has to say which it is."""
    assert set(CALLS) | FOR_NULL == FUNCTIONS


ASKED = [*PLAIN, *(f"({call}) IN ({call})" for some in CALLS.values() for call in some)]


@pytest.mark.parametrize("rule", ASKED)
def test_what_is_asked_of_null_is_null(rule: str) -> None:
    """Whichever of the fields it is: alone, and between rows that are not null."""
    names = set(compiled(rule, COLUMNS).meta.root_names())
    for asked in names:
        rows = {name: [SOUND[name]] * 3 for name in names}
        rows[asked][1] = None
        assert answers(rule, {name: values[1:2] for name, values in rows.items()}) == [None]
        assert answers(rule, rows)[1] is None


ROOMY: Mapping[str, Any] = {
    "a": st.integers(-(1 << 31), (1 << 31) - 1),
    "b": st.integers(-(1 << 31), (1 << 31) - 1),
    "l": st.integers(-(1 << 63), (1 << 63) - 1),
    "m": st.integers(-(1 << 63), (1 << 63) - 1),
}
SUMS = st.recursive(
    st.sampled_from(["a", "b", "l", "m"]) | st.integers(0, 1 << 40).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda part: f"({part[0]} {part[1]} {part[2]})"
    ),
    max_leaves=5,
)


@given(
    SUMS.filter(lambda each: any(name in each for name in ROOMY)),
    SUMS,
    st.sampled_from(["<", "<=", "=", ">"]),
    st.lists(st.fixed_dictionaries(dict(ROOMY)), min_size=1, max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_whole_numbers_are_calculated_as_on_paper(
    left: str, right: str, mark: str, rows: list[dict[str, int]]
) -> None:
    """Python's integers have no end; what could be too large for ours is refused."""
    rule = f"{left} {mark} {right}"
    with suppress(BadSqlError):
        found = answers(rule, {name: [row[name] for row in rows] for name in ROOMY})
        assert found == [eval(rule.replace(" = ", " == "), {}, row) for row in rows]  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("rule", "row", "expected"),
    [
        ("a * 1000 > 0", {"a": 3_000_000}, True),
        ("a + 1 > a", {"a": (1 << 31) - 1}, True),
        ("l * 2 > 0", {"l": (1 << 63) - 1}, True),
        ("ABS(l) > 0", {"l": -(1 << 63)}, True),
        ("-l > 0", {"l": -(1 << 63)}, True),
        ("MOD(l, -1) = 0", {"l": -(1 << 63)}, True),
        ("n.b + 1 > 0", {"n": {"b": (1 << 63) - 1, "kind": None}}, True),
        ("list[1] * 1000 > 0", {"list": [3_000_000]}, True),
        ("LENGTH(s) - 5 > 0", {"s": "abc"}, False),
        ("LENGTH(s) - LENGTH(t) >= 0", {"s": "a", "t": "abc"}, False),
        ("ARRAY_LENGTH(list) - 5 > 0", {"list": [1]}, False),
        ("OCTET_LENGTH(s) * -1 < 0", {"s": "a"}, True),
        (
            "EXTRACT(HOUR FROM at) * 60 + EXTRACT(MINUTE FROM at) = 1439",
            {"at": NEW_YEAR + timedelta(minutes=1439)},
            True,
        ),
        ("TRY_CAST(s AS INT) * 1000 > 0", {"s": "3000000"}, True),
        ("TRY_CAST(s AS INT) * 1000 > 0", {"s": "3000000000"}, None),
        ("CASE WHEN f THEN 60000 ELSE 1 END * 600000 = 36000000000", {"f": True}, True),
        ("IF(f, 60000, 1) * IF(f, 60000, 1) = 3600000000", {"f": True}, True),
        ("TRY_CAST(l AS DOUBLE) * l * l > 0", {"l": 1 << 62}, True),
        ("price * a = 2.50", {"price": Decimal("1.25"), "a": 2}, True),
        ("ROUND(a * 1000, 1) > 0", {"a": 3_000_000}, True),
    ],
)
def test_numbers_do_not_wrap_around(rule: str, row: dict[str, Any], expected: bool | None) -> None:
    """Neither those of fields nor those that functions give, nor those written out."""
    assert answers(rule, {name: [value] for name, value in row.items()}) == [expected]


def values(name: str) -> st.SearchStrategy[Any]:
    """Values of a field: extreme ones, null and a sound one."""
    return st.sampled_from([*extremes(view_type(COLUMNS[name])), SOUND[name]])


NUMBERS = ["a", "b", "l", "x", "y", "price", "n.b", "list[1]", "0", "2", "1.5", "-3"]
NUMBERS += [each for some in CALLS.values() for each in some if "LIKE" not in each]
NUMBERS += ["GREATEST(a, l)", "LEAST(x, a)", "COALESCE(a, l, 0)", "NULLIF(a, 0)", "IF(f, a, 1)"]
NUMBERS += ["CASE WHEN f THEN a WHEN a IS NULL THEN 9 ELSE l END", "IFNULL(x, y)"]
TERMS = st.sampled_from(NUMBERS) | st.tuples(
    st.sampled_from(NUMBERS), st.sampled_from(["+", "-", "*", "/", "%"]), st.sampled_from(NUMBERS)
).map(" ".join)
CHECKS = (
    st.tuples(TERMS, st.sampled_from(["<", "=", "<>", ">=", "IS DISTINCT FROM"]), TERMS).map(
        " ".join
    )
    | st.tuples(TERMS, TERMS, TERMS).map("{0[0]} BETWEEN {0[1]} AND {0[2]}".format)
    | st.tuples(TERMS, TERMS, TERMS).map("{0[0]} IN ({0[1]}, {0[2]}, 7)".format)
    | st.tuples(st.sampled_from(["s", "t", "kind", "n.kind"]), st.sampled_from(PLAIN)).map(
        "({0[0]} > 'a') = ({0[1]})".format
    )
    | st.sampled_from(["f", "f IS TRUE", "x IS NULL", "n IS NULL", "blob IS NOT NULL", "s = t"])
)
RULES = CHECKS | st.tuples(CHECKS, st.sampled_from(["AND", "OR", "AND NOT"]), CHECKS).map(
    "({0[0]}) {0[1]} ({0[2]})".format
)


@given(
    RULES,
    st.lists(st.fixed_dictionaries({name: values(name) for name in COLUMNS}), max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_a_row_is_answered_alone_as_among_others(rule: str, rows: list[dict[str, Any]]) -> None:
    """For all types and functions; what cannot be computed among others cannot be alone."""
    with suppress(BadSqlError):
        expression = compiled(rule, COLUMNS).alias("rule")
        whole = frame({name: [row[name] for row in rows] for name in COLUMNS})
        alone = [_answer(whole[place], expression) for place in range(len(rows))]
        try:
            together = whole.select(expression)["rule"].to_list()
        except pl.exceptions.PolarsError:
            assert "failed" in alone
        else:
            assert together == alone


def _answer(row: pl.DataFrame, expression: pl.Expr) -> Any:
    try:
        return row.select(expression)["rule"].item()
    except pl.exceptions.PolarsError:
        return "failed"
