"""The language of rules: what is one, and what is refused with which words."""

from contextlib import suppress
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.contract.rule_language import compiled
from headwater.contract.sql_tokens import BadSqlError

COLUMNS: dict[str, pl.DataType] = {
    "a": pl.Int32(),
    "x": pl.Float64(),
    "s": pl.String(),
    "f": pl.Boolean(),
    "at": pl.Datetime("ms", "UTC"),
    "day": pl.Date(),
    "price": pl.Decimal(8, 2),
    "kind": pl.Enum(["old", "new"]),
    "list": pl.List(pl.Int32()),
    "n": pl.Struct({"b": pl.Int64(), "kind": pl.Enum(["old"])}),
    "places": pl.List(pl.Struct({"b": pl.Int64()})),
    "clock": pl.Time(),
    "then": pl.Struct({"at": pl.Datetime("us", "UTC")}),
    "_age": pl.Duration("ms"),
}


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("a >", "unable to parse"),
        ("", "it is empty"),
        ("aa > 0", "there is no field aa; did you mean a?"),
        ("n.c > 0", "there is no field c"),
        ("a", "it is a Int32, not true or false"),
        ("s > 1", "a text is not compared with a number"),
        (
            "at > '2020-01-01'",
            "a time is compared with its like, not with a bare number or text: write",
        ),
        ("list > 3", "values of these types are not compared with each other"),
        ("a IN ('x')", "what stands in the list of IN is of another type"),
        ("s LIKE kind", "what LIKE matches is a text, written out"),
        ("s ~ kind", "what ~ matches is a text, written out"),
        ("s + 1 > 2", "str and i128 are not calculated with"),
        ("a AND f", "AND and OR stand between what is true or false"),
        ("places[1].b > 0", "fields of records in a list cannot be named"),
        ("s ~ 'a{2'", "regex"),
        ("TRY_CAST(s AS DATE) > day", "it cannot be computed over these types"),
        ("GREATEST(n, 'x') = 'x'", "it cannot be computed over these types"),
        ("1 = 1", "it names no field"),
        ("SUM(a) > 0", "more than one row"),
        ("a > (SELECT 1)", "more than one row"),
        ("MAX(a) OVER () > 0", "more than one row"),
        ("UNNEST(list) > 0", "more than one row"),
        ("at < NOW()", "NOW is another at every look"),
        ("at < CURRENT_TIMESTAMP", "another at every look"),
        ("RANDOM() > a", "another at every look"),
        ("s ~ '('", "unclosed group"),
        ("REGEXP_LIKE(s, s)", "regex"),
        ("CAST(s AS INT) > 0", "there is no function CAST: TRY_CAST gives null"),
        ("lengths(s) > 0", "there is no function LENGTHS; did you mean LENGTH?"),
        ("a > 0 -- always", "no comments"),
        ("a >= sum.x(a)", "more than one row"),
        ("a >= x.a(a)", "a is called behind a dot"),
        ("a >= n . b (a)", "b is called behind a dot"),
        ('a >= n."b"(a)', '"b" is called behind a dot'),
        ("STRPOS(s, '@') > 0", "there is no function STRPOS: write a LIKE"),
        ("POSITION('@' IN s) > 0", "there is no function POSITION: write a LIKE"),
        ("CONCAT(s, s) = 'x'", "write a || b"),
        ("POWER(a, 9) > 0", "write a * a"),
        ("DATE_PART('epoch', at) > 0", "write EXTRACT"),
        ("DATE(s) > day", "there is no function DATE"),
        ("LEFT(s, a) = 'x'", "LEFT takes texts and numbers after its first argument"),
        ("LTRIM(s, s) = 'x'", "LTRIM takes texts and numbers"),
        ("ARRAY_CONTAINS(list, NULL)", "ARRAY_CONTAINS takes texts and numbers"),
        ("ARRAY_CONTAINS(list, a + 1)", "ARRAY_CONTAINS takes texts and numbers"),
        ("REPLACE(s, 'a', 'bb') = 'x'", "REPLACE makes a text longer"),
        ("REPLACE(s, '', '') = 'x'", "REPLACE makes a text longer"),
        ("REPLACE(s, 'aa', '\u00e9\u00e9') = 'x'", "REPLACE makes a text longer"),
        (
            "REPLACE(" * 20 + "s" + ",'','aaaaaaaaaaaa')" * 20 + "='a'",
            "REPLACE makes a text longer",
        ),
        ("_age < INTERVAL '365000 days'", "an INTERVAL is at most 100,000 days"),
        ("_age > INTERVAL '-1 day 2 h'", "minus signs"),
        ("_age < INTERVAL '99999 days 24 hours 1 second'", "at most 100,000 days"),
        ("_age < INTERVAL '1 day' * a", "an INTERVAL is not multiplied"),
        ("_age * 2 < INTERVAL '1 day'", "_age is compared, not multiplied"),
        ("a * _age < INTERVAL '1 day'", "_age is compared, not multiplied"),
        ("n.b * n.b * n.b > 0", "outgrow 128 bits"),
        ("f * n.b * n.b * n.b > 0", "outgrow 128 bits"),
        ("CASE WHEN f THEN n.b ELSE 1 END * n.b * n.b > 0", "outgrow 128 bits"),
        ("a * a * a * a * a > 0", "outgrow 128 bits"),
        ("(f + 1) * n.b * n.b * 9 > 0", "outgrow 128 bits"),
        ("a * > 0", "unable to parse 'a * > 0'"),
        ("CASE WHEN " * 33 + "f" + " THEN f END" * 33, "nests deeper"),
        ("a::int > 0", "':' has no meaning"),
        ("s = 'open", "has no meaning here, or no end"),
        ("_age < INTERVAL '1 month'", "month"),
        ("(" * 40 + "a" + ")" * 40 + " > 0", "nests deeper"),
        ("a > 0 AND " * 200 + "f", "more than 1000 characters"),
    ],
)
def test_what_is_no_rule_is_refused_with_a_reason(expression: str, reason: str) -> None:
    """Found when the contract is read, before any data."""
    with pytest.raises(BadSqlError) as refused:
        compiled(expression, COLUMNS)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "rule",
    [
        *("_age > 5", "_age < 5", "5 < _age", "_age BETWEEN 1 AND 5", "_age = 5", "_age > -5"),
        *("_age > 5.5", "_age > 5e3", "_age > a", "_age > x", "_age > price", "_age > ABS(x)"),
        *("_age > SQRT(x)", "_age > TRY_CAST(s AS DOUBLE)", "_age > list[1]", "_age > n.b"),
        *("_age > EXTRACT(HOUR FROM at)", "_age IS DISTINCT FROM 5", "ABS(_age) > 5"),
        *("CASE WHEN f THEN _age ELSE INTERVAL '1 day' END > 5", "NULLIF(_age, 5) IS NULL"),
        *("at > 5", "at > a", "day > 5", "day = n.b", "clock > 5", "then.at > 5", "at - at > 5"),
        *("INTERVAL '-1 day' > a", "a > 0 AND _age > 5", "_age / 2 > 5"),
    ],
)
def test_a_time_is_never_compared_with_a_bare_number(rule: str) -> None:
    """Five of what? Of milliseconds here, of days there."""
    with pytest.raises(
        BadSqlError, match=r"not with a bare number or text: write INTERVAL '5 days'"
    ):
        compiled(rule, COLUMNS)


@pytest.mark.parametrize(
    "rule",
    [
        *("_age > INTERVAL '5 days'", "_age BETWEEN INTERVAL '-1 day' AND INTERVAL '1 day'"),
        *("_age / INTERVAL '1 day' > 5", "_age / 2 > INTERVAL '1 day'", "at - at < _age"),
        *("at > TIMESTAMP '2013-01-01 00:00:00' OR a > 5", "clock < TIME '12:00:00'"),
        *("day > DATE '2013-01-01' AND ROUND(x, 2) = x", "EXTRACT(YEAR FROM at) > 2012"),
        *("then.at < at AND list[1] > 1", "LEFT(s, 1) = 'a' AND day IS NULL", "at > day"),
        *("_age IS NULL OR n.b * 2 > x", "SQRT(x) < 3 AND LENGTH(s) > 1 AND price < 1.5"),
        *("day IS NULL OR ARRAY_CONTAINS(list, 1)", "day IS NULL OR x IN (1.5, 2)"),
    ],
)
def test_times_beside_numbers_are_a_rule(rule: str) -> None:
    """As long as each is compared with its like."""
    assert compiled(rule, COLUMNS).meta.root_names()


@pytest.mark.parametrize(
    ("long", "is_longer"),
    [
        ("100000 days", True),
        ("-100000 days", False),
        ("1 week 2 d", True),
        ("4000000000000 ms", True),
        ("5 minutes", False),
        ("23 hours 59 minutes", False),
    ],
)
def test_an_interval_is_as_long_as_it_says(long: str, is_longer: bool) -> None:
    """Up to some hundred years."""
    day = pl.DataFrame({"_age": [timedelta(days=1)]}, schema={"_age": pl.Duration("ms")})
    rule = compiled(f"_age < INTERVAL '{long}'", COLUMNS)
    assert day.select(rule).item() is is_longer


@pytest.mark.parametrize("name", ["current_timestamp", "end", "case", "localtime"])
def test_a_field_named_as_a_word_of_sql_is_quoted(name: str) -> None:
    """SQL reads the bare word otherwise: as the clock, of all things."""
    with pytest.raises(BadSqlError, match=f'write the field as "{name}"'):
        compiled(f"{name} > 0", {name: pl.Int32()})
    assert compiled(f'"{name}" > 0', {name: pl.Int32()}).meta.root_names() == [name]


@pytest.mark.parametrize("name", ["now", "uuid", "first", "sum", "count", "day", "date"])
def test_a_field_may_have_the_name_of_a_function(name: str) -> None:
    """What is not called is no function."""
    assert compiled(f"{name} > 0", {name: pl.Int32()}).meta.root_names() == [name]


WORDS = ["a", "x", "s", "f", "at", "day", "price", "kind", "list", "n.b", "_age", "0", "1.5"]
WORDS += ["'x'", "'('", "NULL", "AND", "OR", "NOT", "IN", "(", ")", "BETWEEN", "=", "<>", "<"]
WORDS += [">=", "~", "LIKE", "IS", "+", "-", "*", "/", "%", "||", ",", "LENGTH(", "ABS(", "ROUND("]
WORDS += ["TRY_CAST(", "AS", "INT", "INTERVAL '1 day'", "DATE '2020-01-01'", "CASE", "WHEN"]
WORDS += ["THEN", "ELSE", "END", "COALESCE(", "SUBSTR(", "MOD(", "POWER(", "[1]", "ARRAY_LENGTH("]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_any_words_are_a_rule_or_are_refused(expression: str) -> None:
    """Never another error, and never a panic."""
    with suppress(BadSqlError):
        compiled(expression, COLUMNS)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_rule_or_is_refused(expression: str) -> None:
    """The same for text that is nowhere near SQL."""
    with suppress(BadSqlError):
        compiled(expression, COLUMNS)
