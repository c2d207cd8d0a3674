"""Whole numbers in rules: where a rule calculates, they have 128 bits, and cannot outgrow them.

Polars calculates in the type it finds, eight bits for an hour, and wraps around without a word. So
every whole number is widened where it is read, and how large a result can get is worked out from
the types alone: what could be too large for 128 bits is refused.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import polars as pl

from headwater.contract.sql_tokens import END, BadSqlError, Token

MOST: Final = 2**127 - 1  # of a signed whole number of 128 bits
_CALCULATING: Final = frozenset({"ABS", "MOD"})
MEASURING: Final = frozenset({"LENGTH", "CHAR_LENGTH", "OCTET_LENGTH", "ARRAY_LENGTH", "EXTRACT"})
_MEASURED: Final = 2**32  # more than any of those gives
_FLOATING: Final = frozenset({"SQRT", "LN", "LOG10", "EXP"})
_WHOLE: Final = frozenset({"INT", "INTEGER", "BIGINT"})
_SIZES: Final[Mapping[pl.DataType, int]] = {
    pl.Boolean(): 1,
    pl.Int32(): 1 << 31,
    pl.Int64(): 1 << 63,
}

Edit = tuple[int, str]
"""A text, and the place in the expression where it is inserted."""


def widened(tokens: Sequence[Token], columns: Mapping[str, pl.DataType]) -> list[Edit]:
    """What to insert into an expression so that it calculates in 128 bits; nothing if it does not.

    Raises BadSqlError when the result could be larger than that.
    """
    if not _calculates(tokens, columns):
        return []
    reader = _Reader(tokens, columns)
    reader.read()
    return sorted(reader.edits, key=lambda each: each[0])


def _calculates(tokens: Sequence[Token], columns: Mapping[str, pl.DataType]) -> bool:
    """Whether anything is added or multiplied; the sign of a number is neither."""
    for before, token in pairwise([END, *tokens]):
        if token.text in {"+", "*", "%"} or token.word in _CALCULATING:
            return True
        ends = before.text in {")", "]"} or before.kind in {"number", "text", "quoted"}
        if token.text == "-" and (ends or before.name in columns):
            return True
    return any(sign.text == "-" and operand.kind != "number" for sign, operand in pairwise(tokens))


class _Reader:
    """Reads an expression as sums of products; a size of 0 stands for what is no whole number."""

    def __init__(self, tokens: Sequence[Token], columns: Mapping[str, pl.DataType]) -> None:
        self.edits: list[Edit] = []
        self._tokens = tokens
        self._columns = columns
        self._place = 0

    def read(self) -> None:
        while self._next is not END:
            self._sum()

    @property
    def _next(self) -> Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else END

    def _take(self) -> Token:
        token = self._next
        self._place += 1
        return token

    def _sum(self) -> int:
        size = self._product()
        while self._next.text in {"+", "-"}:
            self._take()
            size = _fitting(size + self._product())
        return size

    def _product(self) -> int:
        size = self._operand()
        while self._next.text in {"*", "/", "%"}:
            mark = self._take().text
            other = self._operand()
            if mark != "%":  # a remainder is no larger than what is divided, a quotient not whole
                size = _fitting(size * other) if mark == "*" else 0
        return size

    def _operand(self) -> int:
        while self._next.text in {"+", "-"}:
            self._take()
        token = self._take()
        if token.kind == "number":
            return self._number(token)
        if token.text == "(":
            return self._until(")")
        if token.word == "CASE":
            return self._until("END")
        if token.is_field(self._next.text, self._columns):
            return self._field(token)
        if token.kind == "word" and self._next.text == "(":
            return self._call(token)
        return 0

    def _until(self, close: str) -> int:
        size = 0
        while self._next is not END and close not in {self._next.text, self._next.word}:
            size = max(size, self._sum())
        self._take()
        return size

    def _number(self, token: Token) -> int:
        if not token.text.isdecimal():
            return 0
        self._widen(token.at, token.end)
        return int(token.text)

    def _field(self, token: Token) -> int:
        kind: Any = self._columns[token.name]
        end = token.end
        while self._next.text in {".", "["}:
            if self._take().text == ".":
                last = self._take()
                inner = dict(kind) if isinstance(kind, pl.Struct) else {}
                kind = inner.get(last.name, pl.Null())
            else:
                self._until("]")
                last = self._tokens[min(self._place, len(self._tokens)) - 1]
                kind = kind.inner if isinstance(kind, pl.List) else pl.Null()
            end = last.end
        size = _SIZES.get(kind, 0)
        if size > 1:
            self._widen(token.at, end)
        return size

    def _call(self, token: Token) -> int:
        self._take()
        size = self._until(")")
        inside = self._tokens[: self._place]
        last = inside[-2]
        if token.word == "ROUND" and last.kind == "number" and inside[-3].text == ",":
            self.edits = [each for each in self.edits if each[0] < last.at]  # it takes digits only
        if token.word in _FLOATING:
            return 0
        if token.word == "TRY_CAST":
            size = 1 << 63 if last.word in _WHOLE else 0
        elif token.word in MEASURING:
            size = _MEASURED
        else:
            return size
        if size:
            self._widen(token.at, inside[-1].end)
        return size

    def _widen(self, start: int, end: int) -> None:
        self.edits += [(start, "CAST("), (end, " AS INT128)")]


def _fitting(size: int) -> int:
    if size > MOST:
        raise BadSqlError(
            "its whole numbers can outgrow 128 bits; calculate in doubles: TRY_CAST(a AS DOUBLE) *"
            " b"
        )
    return size
