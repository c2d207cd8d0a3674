"""The statement of `.sql()`, read as expressions. Lets through only what looks at one row.

`SELECT columns FROM events [WHERE predicate]`, in the closed list of words that rules have. Its
parts are compiled by Polars' own parser, so what runs is what `select` and `filter` would run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import polars as pl

from headwater.contract import ROW
from headwater.contract.rule_numbers import MEASURING
from headwater.contract.rule_reasons import TIMES, UNTOLD, reason
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
    no_function,
)

SOURCE: Final = "events"
MAX_TOKENS: Final = (
    1_000  # of a column or predicate: 0.15 s to compile a sum so long, 8000 take minutes
)
SHOWN: Final = 60  # characters of a part of a statement in a message
SQL_FUNCTIONS: Final = FUNCTIONS | {"CAST"}
"""Those of rules, and CAST: it sets a record aside whose value cannot be cast, as in `select`."""
SQL_TYPES: Final = TYPES | {"BOOLEAN", "DECIMAL", "REAL"}

_FORM: Final = "write SELECT ... FROM events [WHERE ...]"
_SNAPSHOT: Final = "looks at more than one event: compute it over a snapshot of the log"
_ONE_SOURCE: Final = f"reads more than {SOURCE}: join the snapshots of both logs"
_NEXT_STEP: Final = (
    "begins a statement in a statement: write two .sql() steps, one behind the other"
)
_UNION: Final = "puts statements together: publish each flow under a port of its own"
_ENDLESS: Final = "counts rows, and a stream has no end: choose rows by their values with WHERE"
_IN_ORDER: Final = "changes the order, which is that of the log: leave it out"
_SEVERAL: Final = "makes several rows of one: return them from .map_events()"
_ANOTHER: Final = "is another at every look, and a replay must find the same: use a column"

_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("GROUP", "HAVING", "DISTINCT", "OVER", "WINDOW", "QUALIFY"), _SNAPSHOT),
    **dict.fromkeys(("JOIN", "CROSS", "INNER", "FULL", "NATURAL", "SEMI", "ANTI"), _ONE_SOURCE),
    **dict.fromkeys(("SELECT", "WITH", "EXISTS"), _NEXT_STEP),
    **dict.fromkeys(("UNION", "INTERSECT", "EXCEPT", "MINUS"), _UNION),
    **dict.fromkeys(("LIMIT", "OFFSET", "FETCH", "TOP"), _ENDLESS),
    **dict.fromkeys(("ORDER", "SORT", "CLUSTER", "DISTRIBUTE"), _IN_ORDER),
    **dict.fromkeys(("LATERAL", "EXPLODE", "UNNEST"), _SEVERAL),
}
"""Clauses, and functions of that kind: what they do that a step cannot, and what to do instead."""
_ZONE: Final = re.compile(r".*([Zz]|[+-]\d\d:?\d\d)\s*'")
_SQL_TIMES: Final = (
    "a time is compared with its like: an instant with TIMESTAMPTZ '2013-01-01 00:00:00Z', a time"
    " without zone with TIMESTAMP '2013-01-01 00:00:00', a day with DATE '2013-01-01'"
)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a statement selects: `columns` of the rows for which `predicate` is true.

    Each column has a name; that of `*`, all columns that come in, is None.
    """

    columns: tuple[tuple[str | None, pl.Expr], ...]
    predicate: pl.Expr | None


def read_statement(text: str) -> Statement:
    """The statement of a text. Raises BadSqlError for whatever does not look at one row alone."""
    tokens = tokens_of(text)
    if tokens[0].word != "SELECT":
        raise BadSqlError(_clause(tokens[0]) or f"it begins with {tokens[0].text}; {_FORM}")
    selected, behind = _parted(tokens[1:])
    columns = tuple(_column(text, item) for item in _items(selected))
    predicate = _predicate(behind)
    return Statement(columns, None if predicate is None else _expression(text, predicate))


def told(error: BaseException) -> str:
    """What Polars says against a statement, in words that an author can use."""
    if isinstance(error, pl.exceptions.PanicException):
        return UNTOLD
    said = reason(str(error))
    return _SQL_TIMES if said == TIMES or "supertype of datetime" in said else said


def _parted(tokens: Sequence[Token]) -> tuple[Sequence[Token], Sequence[Token]]:
    """What stands before and behind the FROM of the statement."""
    for place, token in _outside(tokens):
        before = [each.word for each in tokens[max(0, place - 2) : place]]
        if token.word == "FROM" and before not in (["IS", "DISTINCT"], ["NOT", "DISTINCT"]):
            return tokens[:place], tokens[place + 1 :]
    raise BadSqlError(f"it has no FROM {SOURCE}; {_FORM}")


def _predicate(behind: Sequence[Token]) -> Sequence[Token] | None:
    """The tokens behind WHERE; None without one. `behind` begins at the source."""
    source, after, *rest = [*behind, END, END]
    if source.text == "(":
        raise BadSqlError(f"FROM (...) {_NEXT_STEP}")
    if source.kind not in {"word", "quoted"} or source.name != SOURCE or after.text == "(":
        raise BadSqlError(f"it reads from {source.text}, not {SOURCE}; {_FORM}")
    if after is END:
        return None
    if after.word != "WHERE":
        if after.text == "," or after.word in {"LEFT", "RIGHT"}:
            what = "a comma" if after.text == "," else "JOIN"
            raise BadSqlError(f"{what} behind {SOURCE} {_ONE_SOURCE}")
        another = f"{after.text} behind {SOURCE} has no meaning here; {_FORM}"
        raise BadSqlError(_clause(after) or another)
    predicate = rest[: len(behind) - 2]
    if not predicate:
        raise BadSqlError(f"nothing stands behind WHERE; {_FORM}")
    return predicate


def _items(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """What stands between the commas."""
    commas = [place for place, token in _outside(tokens) if token.text == ","]
    for start, end in pairwise([-1, *commas, len(tokens)]):
        if end == start + 1:
            raise BadSqlError(f"a column is missing between SELECT, the commas and FROM; {_FORM}")
        yield tokens[start + 1 : end]


def _outside(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """The tokens outside parentheses, with their places."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0)
        if depth < 0:
            raise BadSqlError(f"a {token.text} closes what was not opened")
        if depth == 0:
            yield place, token


def _column(text: str, item: Sequence[Token]) -> tuple[str | None, pl.Expr]:
    """A column that is selected, with its name."""
    if [each.text for each in item] == ["*"]:
        return None, pl.all()
    is_named = len(item) > 2 and item[-2].word == "AS" and item[-1].kind in {"word", "quoted"}  # noqa: PLR2004 - something AS name
    body = item[:-2] if is_named else item
    expression = _expression(text, body)
    if is_named:
        return item[-1].name, expression.alias(item[-1].name)
    if not _is_plain(item):
        shown = _shown(text, item)
        raise BadSqlError(f"{shown} has no name; write {shown} AS a_name")
    return item[-1].name, expression


def _is_plain(item: Sequence[Token]) -> bool:
    """Whether it is a column, or a field inside one, that has a name already."""
    names, dots = item[::2], item[1::2]
    are_names = all(each.kind in {"word", "quoted"} for each in names)
    return are_names and all(each.text == "." for each in dots) and len(names) > len(dots)


def _expression(text: str, tokens: Sequence[Token]) -> pl.Expr:
    """A part of the statement as Polars compiles it."""
    shown = _shown(text, tokens)
    if len(tokens) > MAX_TOKENS:
        raise BadSqlError(f"{shown} has more than {MAX_TOKENS} words and marks; make it two steps")
    names = [token.name for token in _names(tokens)]
    check_form(tokens)
    try:
        expression = pl.sql_expr(_written(text, tokens))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        said = told(error)
        is_told = said != UNTOLD and not said.startswith("unable to parse")
        raise BadSqlError(f"{shown} is not understood{f': {said}' if is_told else ''}") from error
    if expression.meta.undo_aliases().meta != expression.meta:  # `n m`, without AS
        raise BadSqlError(f"{shown} has a name without AS; write AS before it")
    roots = set(expression.meta.root_names())
    for name in names:
        if name not in roots:  # an operator that is on no list, or a name without AS
            raise BadSqlError(f"{name} is no column where it stands: {shown}")
    if ROW in roots:
        raise BadSqlError(f"the column {ROW} is Headwater's own; name one of the contract")
    return expression


def _written(text: str, tokens: Sequence[Token]) -> str:
    """A part of the statement, in which an hour or a length is a number like any other.

    Polars has eight bits for an hour and no sign for a length, and wraps around without a word.
    """
    edits: list[tuple[int, str]] = []
    for place, (token, after) in enumerate(pairwise(tokens)):
        if token.word in MEASURING and after.text == "(":
            outside = (each for _, each in _outside(tokens[place + 1 :]))
            close = next((each for each in outside if each.text == ")"), None)
            edits += [] if close is None else [(token.at, "CAST("), (close.end, " AS BIGINT)")]
    written, upto = "", tokens[0].at
    for at, inserted in sorted(edits):
        written += text[upto:at] + inserted
        upto = at
    return written + text[upto : tokens[-1].end]


def _names(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens that can only be names of columns. Raises BadSqlError for a word not listed."""
    for (before, token), (_, after) in pairwise(pairwise([END, *tokens, END])):
        if before.word == "TIMESTAMP" and _ZONE.fullmatch(token.text):
            raise BadSqlError(f"TIMESTAMP knows no zone; write TIMESTAMPTZ {token.text}")
        if before.text == "." or token.kind not in {"word", "quoted"}:
            continue
        if after.text == "(":
            _check_call(token)
        elif _is_name(token, before):
            yield token


def _check_call(token: Token) -> None:
    word = token.name.upper()
    if word in SQL_FUNCTIONS | (OPERATORS - {"DISTINCT"}) | SQL_TYPES:
        return
    if word in CLOCK:
        raise BadSqlError(f"{word} {_ANOTHER}")
    if word in MANY_ROWS and word not in _REFUSED:
        raise BadSqlError(f"{word} {_SNAPSHOT}")
    raise BadSqlError(_clause(token) or no_function(word, SQL_FUNCTIONS))


def _is_name(token: Token, before: Token) -> bool:
    """Whether a word is no listed one: a name, or it has no meaning."""
    word = token.word
    if word in CLOCK & BARE:
        raise BadSqlError(f'{word} {_ANOTHER}; a column of that name is written "{token.text}"')
    if word == "DISTINCT" and before.word in {"IS", "NOT"}:
        return False
    if word in _REFUSED:
        raise BadSqlError(f'{_clause(token)}; a column of that name is written "{token.text}"')
    return word not in WORDS | SQL_TYPES | {"TIMESTAMPTZ"}


def _clause(token: Token) -> str | None:
    """Why a clause is refused; None for what is none."""
    word = token.name.upper()
    by = " BY" if word in {"GROUP", "ORDER", "SORT", "CLUSTER"} else ""
    return f"{word}{by} {_REFUSED[word]}" if word in _REFUSED else None


def _shown(text: str, tokens: Sequence[Token]) -> str:
    shown = " ".join(text[tokens[0].at : tokens[-1].end].split())
    return f"{shown[:SHOWN]}..." if len(shown) > SHOWN else shown
