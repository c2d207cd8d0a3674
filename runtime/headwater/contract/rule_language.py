"""The language of rules: SQL over the fields of one row, compiled once to a Polars expression.

Polars' parser knows far more SQL than a rule may say, and its expressions do not tell whether they
look at other rows or at the clock. Hence the words are looked at first: only those of `sql_words`,
and the fields of the contract, are let through. What is then compiled is tried on rows of extreme
values, because Polars finds some mistakes (a bad pattern, a cast that fails) only on data.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import polars as pl

from headwater.contract.rule_numbers import widened
from headwater.contract.rule_reasons import TIMES, UNTOLD, reason
from headwater.contract.rule_units import speaks_of_time, wide_type, with_wide_numbers
from headwater.contract.sql_tokens import END, BadSqlError, Token, tokens_of
from headwater.contract.sql_words import (
    BARE,
    CLOCK,
    FUNCTIONS,
    MANY_ROWS,
    OPERATORS,
    TYPES,
    WORDS,
    check_form,
    meant,
    no_function,
)

AGE: Final = "_age"
"""The publish time of a record minus its event time: a column of rules, of a contract with both."""
AGE_TYPE: Final = pl.Duration("ms")
MAX_CHARACTERS: Final = 1_000  # of an expression: it stands in messages, which become headers

FAILURES: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What Polars may raise for an expression; a panic is no Exception."""

_BACKWARDS: Final = re.compile(r"'\s*-\s*(\d+\s*[A-Za-z]+)\s*'")


def compiled(expression: str, columns: Mapping[str, pl.DataType]) -> pl.Expr:
    """The expression over columns of these types (see `viewed`): true, false or null for each row.

    Raises BadSqlError for whatever is not a rule.
    """
    if len(expression) > MAX_CHARACTERS:
        raise BadSqlError(f"it has more than {MAX_CHARACTERS} characters; make it several rules")
    tokens = tokens_of(expression)
    _check_words(tokens, columns)
    try:
        compiled = pl.sql_expr(_written(expression, tokens, columns))
        kept = _tried(compiled, columns)
    except FAILURES as error:
        raise BadSqlError(_reason(error, columns)) from error
    if kept != pl.Boolean():
        raise BadSqlError(f"it is a {kept}, not true or false; compare it with something")
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
    names = 0
    previous = ""
    for token, after in pairwise([*tokens, END]):
        if token.text == "*" and AGE in {previous, after.text}:
            raise BadSqlError(f"{AGE} is compared, not multiplied; write the interval out")
        if previous != "." and token.kind in {"quoted", "word"}:
            names += _is_name(token, after.text, columns)
        previous = token.text
    check_form(tokens)
    if not names:
        raise BadSqlError("it names no field: it is the same for every row")


def _is_name(token: Token, following: str, columns: Mapping[str, pl.DataType]) -> bool:
    """Whether a word is a field; raises BadSqlError when it is nothing at all."""
    word = token.word or token.name.upper()
    if token.is_field(following, columns):
        if token.word in BARE:
            raise BadSqlError(f'{token.text} is a word of SQL; write the field as "{token.text}"')
        return True
    if word in (FUNCTIONS | OPERATORS | TYPES if following == "(" else WORDS):
        return False
    if word in CLOCK:
        raise BadSqlError(
            f"{word} is another at every look; a replay must find the same. For how old a record"
            f" is, compare {AGE}"
        )
    if word in MANY_ROWS:
        raise BadSqlError(
            f'{word} looks at more than one row; rules over many rows stand in "dataset"'
        )
    if following == "(":
        raise BadSqlError(no_function(word, FUNCTIONS))
    raise BadSqlError(_no_field(token.name, columns))


def _no_field(name: str, columns: Mapping[str, pl.DataType]) -> str:
    if name == AGE:
        return f'{AGE} needs the "eventTime" of the contract'
    return f"there is no field {name}{meant(name, columns)}"


def _check_units(expression: str, columns: Mapping[str, pl.DataType]) -> None:
    """Raises BadSqlError when wide numbers, which no time is compared with, make it no rule."""
    schema = {name: wide_type(view_type(kind)) for name, kind in columns.items()}
    try:
        pl.DataFrame(schema=schema).select(pl.sql_expr(expression).alias("rule"))
    except FAILURES as error:
        raise BadSqlError(TIMES) from error


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
    """The type of the result. Raises what Polars raises, BadSqlError for a result per batch."""
    used = set(expression.meta.root_names())
    wanted = {name: view_type(kind) for name, kind in columns.items() if name in used}
    rows = pl.DataFrame({name: extremes(kind) for name, kind in wanted.items()}, schema=wanted)
    for frame in (rows.clear(), rows.head(1), rows):
        result = frame.select(expression.alias("rule"))["rule"]
        if len(result) != frame.height:
            raise BadSqlError("it has not one result for each row")
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
    if isinstance(error, BadSqlError):
        return str(error)
    said = str(error).strip().partition("\n\n")[0]
    if isinstance(error, pl.exceptions.ColumnNotFoundError):
        name = said.partition('"')[2].partition('"')[0]
        return _no_field(name, columns)
    if isinstance(error, pl.exceptions.StructFieldNotFoundError):
        return f"there is no field {said} in what it is asked of"
    return UNTOLD if isinstance(error, pl.exceptions.PanicException) else reason(str(error))
