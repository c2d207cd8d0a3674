"""The language of rules: SQL over the fields of one row, compiled once to a Polars expression.

Polars' parser knows far more SQL than a rule may say, and its expressions do not tell whether they
look at other rows or at the clock. Hence the words are looked at first: only those listed here, and
the fields of the contract, are let through. What is then compiled is tried on rows of extreme
values, because Polars finds some mistakes (a bad pattern, a cast that fails) only on data.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import polars as pl

from headwater.contract.rule_numbers import widened
from headwater.contract.rule_reasons import TIMES, UNTOLD, reason
from headwater.contract.rule_tokens import BadRuleError, Token, arguments, tokens_of
from headwater.contract.rule_units import speaks_of_time, wide_type, with_wide_numbers

AGE: Final = "_age"
"""The publish time of a record minus its event time: a column of rules, of a contract with both."""
AGE_TYPE: Final = pl.Duration("ms")
MAX_DEPTH: Final = 32  # parentheses inside each other; the parser recurses

FAILURES: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What Polars may raise for an expression; a panic is no Exception."""

FUNCTIONS: Final = frozenset(
    {
        *("LENGTH", "CHAR_LENGTH", "OCTET_LENGTH", "LOWER", "UPPER", "TRIM", "LTRIM", "RTRIM"),
        *("LEFT", "RIGHT", "SUBSTR", "SUBSTRING", "REPLACE"),
        *("STARTS_WITH", "ENDS_WITH", "REGEXP_LIKE"),
        *("COALESCE", "IFNULL", "NULLIF", "GREATEST", "LEAST", "IF", "TRY_CAST"),
        *("ABS", "SIGN", "ROUND", "FLOOR", "CEIL", "MOD", "SQRT", "LN", "LOG10", "EXP"),
        *("EXTRACT", "ARRAY_LENGTH", "ARRAY_CONTAINS"),
    }
)
LITERAL_ARGUMENTS: Final = frozenset(
    {"LEFT", "RIGHT", "LTRIM", "RTRIM", "REPLACE", "ARRAY_CONTAINS"}
)
"""Their arguments after the first are written out: Polars takes a null there for a value."""
INSTEAD: Final[Mapping[str, str]] = {
    "CAST": "TRY_CAST gives null for what has no such value",
    "CONCAT": "write a || b, which is null when one of them is",
    "DATE_PART": "write EXTRACT(HOUR FROM a)",
    "POSITION": "write a LIKE '%x%'",
    "POWER": "write a * a",
    "STRPOS": "write a LIKE '%x%'",
}
"""What to write for functions that Polars knows, and that wrap around or do not know null."""
OPERATORS: Final = frozenset(
    {
        *("AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ILIKE", "RLIKE", "REGEXP", "IS", "NULL"),
        *("TRUE", "FALSE", "CASE", "WHEN", "THEN", "ELSE", "END", "DISTINCT", "FROM"),
    }
)
LITERALS: Final = frozenset({"INTERVAL", "DATE", "TIMESTAMP", "TIME", "AS"})
TYPES: Final = frozenset({"INT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "TEXT"})
PARTS: Final = frozenset({"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "DOW", "WEEK"})
WORDS: Final = OPERATORS | LITERALS | TYPES | PARTS
BARE: Final = frozenset(
    {
        *("CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME", "LOCALTIMESTAMP"),
        *("CASE", "END"),
    }
)
"""Words that mean something in SQL even where a field has that name, unless it is quoted."""
CLOCK: Final = frozenset(
    {
        *("NOW", "TODAY", "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"),
        *("LOCALTIME", "LOCALTIMESTAMP", "RANDOM", "RAND", "UUID"),
    }
)
MANY_ROWS: Final = frozenset(
    {
        *("SELECT", "OVER", "EXISTS", "ANY", "ALL", "PARTITION", "UNNEST", "EXPLODE", "ROW_NUMBER"),
        *("COUNT", "SUM", "AVG", "MEAN", "MIN", "MAX", "MEDIAN", "FIRST", "LAST", "LAG", "LEAD"),
        *("STDDEV", "VARIANCE", "QUANTILE", "RANK", "DENSE_RANK", "ARRAY_AGG", "STRING_AGG"),
    }
)

_PART: Final = re.compile(r"(\d+)\s*([A-Za-z]+)")  # of an interval: a count and its unit
_SECONDS: Final = {  # by the first letters of a unit, the longer ones first
    start: seconds
    for starts, seconds in (
        (("ms", "mil"), 1e-3),
        (("us", "mic"), 1e-6),
        (("ns", "nan"), 1e-9),
        (("w",), 604_800.0),
        (("d",), 86_400.0),
        (("h",), 3_600.0),
        (("m",), 60.0),
        (("s",), 1.0),
    )
    for start in starts
}
_LONGEST_DAYS: Final = 100_000  # of an interval: Polars counts its nanoseconds in 63 bits
_BACKWARDS: Final = re.compile(r"'\s*-\s*(\d+\s*[A-Za-z]+)\s*'")


def compiled(expression: str, columns: Mapping[str, pl.DataType]) -> pl.Expr:
    """The expression over columns of these types (see `viewed`): true, false or null for each row.

    Raises BadRuleError for whatever is not a rule.
    """
    tokens = tokens_of(expression)
    _check_words(tokens, columns)
    try:
        compiled = pl.sql_expr(_written(expression, tokens, columns))
        kept = _tried(compiled, columns)
    except FAILURES as error:
        raise BadRuleError(_reason(error, columns)) from error
    if kept != pl.Boolean():
        raise BadRuleError(f"it is a {kept}, not true or false; compare it with something")
    used = {name: columns[name] for name in compiled.meta.root_names()}
    if speaks_of_time(tokens, used):
        _check_units(with_wide_numbers(tokens), used)
    return compiled


def rule_columns(columns: Mapping[str, pl.DataType], *, has_age: bool) -> Mapping[str, pl.DataType]:
    """The columns a rule may name: those of the contract, and the age where there is one."""
    return {**columns, AGE: AGE_TYPE} if has_age else columns


def view_type(column: pl.DataType) -> pl.DataType:
    """The type rules see: an enum is text, an instant a UTC time to compare with a TIMESTAMP."""
    match column:
        case pl.Enum():
            return pl.String()
        case pl.Datetime(time_unit=unit, time_zone=str()):
            return pl.Datetime(unit)
        case pl.List(inner=inner):
            return pl.List(view_type(inner))  # type: ignore[arg-type]  # of a contract: instances
        case pl.Struct(fields=fields):
            return pl.Struct({each.name: view_type(each.dtype) for each in fields})  # type: ignore[arg-type]  # as above
        case _:
            return column


def _check_words(tokens: Sequence[Token], columns: Mapping[str, pl.DataType]) -> None:
    depth = 0
    names = 0
    previous = ""
    for place, token in enumerate(tokens):
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        depth += {"(": 1, ")": -1, "CASE": 1, "END": -1}.get(token.word or token.text, 0)
        if depth > MAX_DEPTH:
            raise BadRuleError(f"it nests deeper than {MAX_DEPTH} parentheses")
        _check_neighbours(previous, token.text, following)
        if previous != "." and token.kind in {"quoted", "word"}:
            names += _is_name(token, following, columns)
        if token.word in FUNCTIONS and following == "(":
            _check_arguments(token.word, list(arguments(tokens[place + 2 :])))
        previous = token.text
    if not names:
        raise BadRuleError("it names no field: it is the same for every row")


def _check_neighbours(previous: str, text: str, following: str) -> None:
    """Raises BadRuleError for what tokens mean only next to each other."""
    if (previous, text) in {("-", "-"), ("/", "*")}:
        raise BadRuleError("a rule has no comments; the field's doc is the place")
    if previous == "." and following == "(":
        raise BadRuleError(f"{text} is called behind a dot; a function has no dot")
    if text == "*" and AGE in {previous, following}:
        raise BadRuleError(f"{AGE} is compared, not multiplied; write the interval out")
    if previous.upper() == "INTERVAL":
        _check_interval(text, following)


def _is_name(token: Token, following: str, columns: Mapping[str, pl.DataType]) -> bool:
    """Whether a word is a field; raises BadRuleError when it is nothing at all."""
    word = token.word or token.name.upper()
    if token.is_field(following, columns):
        if token.word in BARE:
            raise BadRuleError(f'{token.text} is a word of SQL; write the field as "{token.text}"')
        return True
    if word in (FUNCTIONS | OPERATORS | TYPES if following == "(" else WORDS):
        return False
    if word in CLOCK:
        raise BadRuleError(
            f"{word} is another at every look; a replay must find the same. For how old a record"
            f" is, compare {AGE}"
        )
    if word in MANY_ROWS:
        raise BadRuleError(
            f'{word} looks at more than one row; rules over many rows stand in "dataset"'
        )
    if following == "(":
        instead = f": {INSTEAD[word]}" if word in INSTEAD else _meant(word, FUNCTIONS)
        raise BadRuleError(f"there is no function {word}{instead}")
    raise BadRuleError(_no_field(token.name, columns))


def _check_arguments(function: str, given: Sequence[Sequence[Token]]) -> None:
    """Raises BadRuleError for what makes null a value, or a text longer and longer."""
    if function not in LITERAL_ARGUMENTS:
        return
    for argument in given[1:]:
        sign, *rest = argument or [Token("nothing", "", 0)]
        (literal, *more) = rest if sign.text == "-" and rest else [sign, *rest]
        is_literal = literal.kind in {"text", "number"} or literal.word in {"TRUE", "FALSE"}
        if more or not is_literal:
            raise BadRuleError(
                f"{function} takes texts and numbers after its first argument, no fields and no"
                " NULL"
            )
    if function == "REPLACE" and len(given) == 3:  # noqa: PLR2004 - text, what for what
        sought, put = (_bytes(each[0]) for each in given[1:])
        if put > sought or not sought:
            raise BadRuleError(
                "REPLACE makes a text longer here; such calls inside each other fill the memory"
            )


def _check_interval(text: str, following: str) -> None:
    """Raises BadRuleError for an interval that is, or can become, longer than Polars can count."""
    if following == "*":
        raise BadRuleError("an INTERVAL is not multiplied; write it out")
    seconds = 0.0
    for count, unit in _PART.findall(text):
        seconds += int(count) * next(
            (each for start, each in _SECONDS.items() if unit.lower().startswith(start)), 0.0
        )
    if seconds > _LONGEST_DAYS * _SECONDS["d"]:
        raise BadRuleError(f"an INTERVAL is at most {_LONGEST_DAYS:,} days long")


def _bytes(literal: Token) -> int:
    """The length of a text without its quotes."""
    return len(literal.text[1:-1].replace("''", "'").encode())


def _no_field(name: str, columns: Mapping[str, pl.DataType]) -> str:
    if name == AGE:
        return f'{AGE} needs the "eventTime" of the contract'
    return f"there is no field {name}{_meant(name, columns)}"


def _meant(word: str, known: Iterable[str]) -> str:
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def _check_units(expression: str, columns: Mapping[str, pl.DataType]) -> None:
    """Raises BadRuleError when wide numbers, which no time is compared with, make it no rule."""
    schema = {name: wide_type(view_type(kind)) for name, kind in columns.items()}
    try:
        pl.DataFrame(schema=schema).select(pl.sql_expr(expression).alias("rule"))
    except FAILURES as error:
        raise BadRuleError(TIMES) from error


def _written(expression: str, tokens: Sequence[Token], columns: Mapping[str, pl.DataType]) -> str:
    """The expression with what Polars does not do by itself: wide numbers, intervals backwards."""
    edits = [(at, at, inserted) for at, inserted in widened(tokens, columns)]
    for before, token in pairwise(tokens):
        back = _BACKWARDS.fullmatch(token.text) if before.word == "INTERVAL" else None
        if back is not None:
            edits.append((token.at, token.end, f"'{back[1]}' * -1"))
    written, upto = "", 0
    for start, end, text in sorted(edits, key=lambda each: each[0]):
        written += expression[upto:start] + text
        upto = end
    return written + expression[upto:]


def _tried(expression: pl.Expr, columns: Mapping[str, pl.DataType]) -> pl.DataType:
    """The type of the result. Raises what Polars raises, BadRuleError for a result per batch."""
    used = set(expression.meta.root_names())
    wanted = {name: view_type(kind) for name, kind in columns.items() if name in used}
    rows = pl.DataFrame({name: extremes(kind) for name, kind in wanted.items()}, schema=wanted)
    for frame in (rows.clear(), rows.head(1), rows):
        result = frame.select(expression.alias("rule"))["rule"]
        if len(result) != frame.height:
            raise BadRuleError("it has not one result for each row")
    return result.dtype


def extremes(kind: Any) -> list[Any]:
    """Five values of a type as Python objects: null, nothing, and what is hard to take."""
    match kind:
        case pl.List(inner=inner):
            return [None, [], *([each] for each in extremes(inner)[:3])]
        case pl.Struct(fields=fields):
            rows = zip(*(extremes(each.dtype) for each in fields), strict=True)
            names = [each.name for each in fields]
            return [None, *(dict(zip(names, row, strict=True)) for row in rows)][:-1]
        case pl.Decimal(precision=precision, scale=scale):
            most = Decimal((0, (9,) * (precision or 1), -scale))
            return [None, Decimal(0), most, -most, most]
        case _:
            return _EXTREMES[kind.base_type()]


_EXTREMES: Final[Mapping[Any, list[Any]]] = {
    pl.Boolean: [None, True, False, True, False],
    pl.Int32: [None, 0, -1, -(1 << 31), (1 << 31) - 1],
    pl.Int64: [None, 0, -1, -(1 << 63), (1 << 63) - 1],
    pl.Float32: [None, 0.0, -1.0, float("inf"), float("nan")],
    pl.Float64: [None, 0.0, -1.0, float("inf"), float("nan")],
    pl.String: [None, "", "(", "\u00e9\U0001f6eb", "0"],
    pl.Binary: [None, b"", b"(", b"\xff", b"0"],
    pl.Date: [None, date(1970, 1, 1), date.min, date.max, date(2013, 1, 1)],
    pl.Time: [None, time.min, time.max, time(12), time(1)],
    pl.Datetime: [
        *(None, datetime(1970, 1, 1), datetime(1700, 1, 1)),  # noqa: DTZ001 - rules see UTC without zone
        *(datetime(2200, 1, 1), datetime(2013, 1, 1)),  # noqa: DTZ001 - as above
    ],
    pl.Duration: [None, timedelta(), timedelta(-1), timedelta(36_500), timedelta(-36_500)],
}  # five of each; nanoseconds hold the years 1678 to 2262


def _reason(error: BaseException, columns: Mapping[str, pl.DataType]) -> str:
    """One line of what Polars says, in our words where it is about names."""
    if isinstance(error, BadRuleError):
        return str(error)
    said = str(error).strip().partition("\n\n")[0]
    if isinstance(error, pl.exceptions.ColumnNotFoundError):
        name = said.partition('"')[2].partition('"')[0]
        return _no_field(name, columns)
    if isinstance(error, pl.exceptions.StructFieldNotFoundError):
        return f"there is no field {said} in what it is asked of"
    return UNTOLD if isinstance(error, pl.exceptions.PanicException) else reason(str(error))
