"""The words of SQL that may stand over one row, in rules and in the step `.sql()`.

Polars' parser knows far more SQL than looks at one row alone, and its expressions do not tell
whether they look at other rows or at the clock. Hence only the words listed here are let through.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from headwater.contract.sql_tokens import BadSqlError, Token, arguments

MAX_DEPTH: Final = 32  # parentheses inside each other; the parser recurses
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


def check_form(tokens: Sequence[Token]) -> None:
    """Look at everything about an expression but its words: depth, calls, intervals.

    Raises BadSqlError for what Polars does not do, or does otherwise on other rows.
    """
    depth = 0
    previous = ""
    for place, token in enumerate(tokens):
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        depth += {"(": 1, ")": -1, "CASE": 1, "END": -1}.get(token.word or token.text, 0)
        if depth > MAX_DEPTH:
            raise BadSqlError(f"it nests deeper than {MAX_DEPTH} parentheses")
        _check_neighbours(previous, token.text, following)
        if token.word in FUNCTIONS and following == "(":
            _check_arguments(token.word, list(arguments(tokens[place + 2 :])))
        previous = token.text


def no_function(word: str, known: Iterable[str]) -> str:
    """The sentence for a function that is not among the `known`."""
    instead = f": {INSTEAD[word]}" if word in INSTEAD else meant(word, known)
    return f"there is no function {word}{instead}"


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: which of the known words was meant, if one is near."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def _check_neighbours(previous: str, text: str, following: str) -> None:
    """Raises BadSqlError for what tokens mean only next to each other."""
    if previous == "." and following == "(":
        raise BadSqlError(f"{text} is called behind a dot; a function has no dot")
    if previous.upper() == "INTERVAL":
        _check_interval(text, following)


def _check_arguments(function: str, given: Sequence[Sequence[Token]]) -> None:
    """Raises BadSqlError for what makes null a value, or a text longer and longer."""
    if function not in LITERAL_ARGUMENTS:
        return
    for argument in given[1:]:
        sign, *rest = argument or [Token("nothing", "", 0)]
        (literal, *more) = rest if sign.text == "-" and rest else [sign, *rest]
        is_literal = literal.kind in {"text", "number"} or literal.word in {"TRUE", "FALSE"}
        if more or not is_literal:
            raise BadSqlError(
                f"{function} takes texts and numbers after its first argument, no fields and no"
                " NULL"
            )
    if function == "REPLACE" and len(given) == 3:  # noqa: PLR2004 - text, what for what
        sought, put = (_bytes(each[0]) for each in given[1:])
        if put > sought or not sought:
            raise BadSqlError(
                "REPLACE makes a text longer here; such calls inside each other fill the memory"
            )


def _check_interval(text: str, following: str) -> None:
    """Raises BadSqlError for an interval that is, or can become, longer than Polars can count."""
    if following == "*":
        raise BadSqlError("an INTERVAL is not multiplied; write it out")
    seconds = 0.0
    for count, unit in _PART.findall(text):
        seconds += int(count) * next(
            (each for start, each in _SECONDS.items() if unit.lower().startswith(start)), 0.0
        )
    if seconds > _LONGEST_DAYS * _SECONDS["d"]:
        raise BadSqlError(f"an INTERVAL is at most {_LONGEST_DAYS:,} days long")


def _bytes(literal: Token) -> int:
    """The length of a text without its quotes."""
    return len(literal.text[1:-1].replace("''", "'").encode())
