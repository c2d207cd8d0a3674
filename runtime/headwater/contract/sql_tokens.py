"""The tokens of SQL: where each word, number, text and mark of it stands."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

_COMMENTS: Final = {("-", "-"), ("/", "*")}
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark><=|>=|<>|!=|!~\*?|~\*?|\|\||[-+*/%=<>(),.\[\]])""",
    re.VERBOSE,
)


class BadSqlError(ValueError):
    """A text is not the SQL that we read; the text says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression: `kind` is text, quoted, number, word or mark."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        """The place after its last character."""
        return self.at + len(self.text)

    @property
    def name(self) -> str:
        """The field it may stand for."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text

    @property
    def word(self) -> str:
        """The keyword or function it is: nothing for what is quoted, a text or a number."""
        return self.text.upper() if self.kind == "word" else ""

    def is_field(self, following: str, columns: Mapping[str, Any]) -> bool:
        """Whether it stands for a column, given the text of the token behind it."""
        is_name = self.kind in {"word", "quoted"} and following != "("
        return is_name and self.name in columns


END: Final = Token("end", "", 0)
"""What stands behind the last token."""


def tokens_of(expression: str) -> list[Token]:
    """The tokens of an expression, in their order. Raises BadSqlError for what is none."""
    found: list[Token] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise BadSqlError(f"{expression[at]!r} has no meaning here, or no end")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0], at))
        at = match.end()
    if not found:
        raise BadSqlError("it is empty")
    neighbours = ((one, after) for one, after in pairwise(found) if one.end == after.at)
    if any((one.text, after.text) in _COMMENTS for one, after in neighbours):
        raise BadSqlError("there are no comments in it; write them beside it")
    return found


def arguments(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The arguments of a call; `tokens` are those behind its opening parenthesis."""
    depth, start = 0, 0
    for place, token in enumerate(tokens):
        if depth == 0 and token.text in {",", ")"}:
            yield tokens[start:place]
            start = place + 1
            if token.text == ")":
                return
        depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(token.text, 0)
