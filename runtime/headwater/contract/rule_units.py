"""Times in rules: they are compared with times, never with bare numbers.

Polars takes 5 for five of whatever unit a column counts: milliseconds here, days there. But it
compares no time with a whole number of 128 bits. So a rule that speaks of times is tried once more,
on no rows, with every number that wide.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import polars as pl

from headwater.contract.sql_tokens import END, Token

_TIMES: Final = frozenset({"INTERVAL", "TIMESTAMP", "DATE", "TIME"})
_FLOATING: Final = frozenset({"SQRT", "LN", "LOG10", "EXP"})  # ABS keeps what they are given
_NUMBERS: Final = frozenset({"INT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE"})


def speaks_of_time(tokens: Sequence[Token], columns: Mapping[str, pl.DataType]) -> bool:
    """Whether a rule names a time, or writes one out; `columns` are those it names."""
    return any(each.word in _TIMES for each in tokens) or any(map(_holds_time, columns.values()))


def with_wide_numbers(tokens: Sequence[Token]) -> str:
    """The expression with 128 bits for each number that it writes out or calculates.

    Only its types are those of the expression; what it gives for a row is not.
    """
    words = {each.word for each in tokens}
    written = []
    for (before, token), (_, after) in pairwise(pairwise([END, *tokens, END])):
        is_digits = "ROUND" in words and (before.text, after.text) == (",", ")")
        if token.kind == "number" and not is_digits:
            written.append("CAST(1 AS INT128)")
        elif token.word in _FLOATING and after.text == "(":
            written.append("ABS")
        elif before.word == "AS" and token.word in _NUMBERS:
            written.append("INT128")
        elif before.word == "INTERVAL":
            written.append("'1 day'")  # those that go backwards, Polars does not read
        else:
            written.append(token.text)
    return " ".join(written)


def wide_type(kind: Any) -> Any:
    """A type with 128 bits for each number inside it."""
    match kind:
        case pl.List(inner=inner):
            return pl.List(wide_type(inner))
        case pl.Struct(fields=fields):
            return pl.Struct({each.name: wide_type(each.dtype) for each in fields})
        case _:
            return pl.Int128() if kind.is_numeric() else kind


def _holds_time(kind: Any) -> bool:
    match kind:
        case pl.List(inner=inner):
            return _holds_time(inner)
        case pl.Struct(fields=fields):
            return any(_holds_time(each.dtype) for each in fields)
        case _:
            return bool(kind.is_temporal())
