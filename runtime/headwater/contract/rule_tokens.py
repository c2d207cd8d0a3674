"""The tokens of a rule: where each word, number, text and mark of an expression stands."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_CHARACTERS: Final = 1_000  # of an expression: it stands in messages, which become headers

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark><=|>=|<>|!=|!~\*?|~\*?|\|\||[-+*/%=<>(),.\[\]])""",
    re.VERBOSE,
)


class BadRuleError(ValueError):
    """An expression is no rule; the text says why."""


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
        return self.text.strip('"')

    @property
    def word(self) -> str:
        """The keyword or function it is: nothing for what is quoted, a text or a number."""
        return self.text.upper() if self.kind == "word" else ""

    def is_field(self, following: str, columns: Mapping[str, Any]) -> bool:
        """Whether it stands for a column, given the text of the token behind it."""
        is_name = self.kind in {"word", "quoted"} and following != "("
        return is_name and self.name in columns


def tokens_of(expression: str) -> list[Token]:
    """The tokens of an expression, in their order. Raises BadRuleError for what is none."""
    if len(expression) > MAX_CHARACTERS:
        raise BadRuleError(f"it has more than {MAX_CHARACTERS} characters; make it several rules")
    found: list[Token] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise BadRuleError(f"{expression[at]!r} has no meaning in a rule, or no end")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0], at))
        at = match.end()
    if not found:
        raise BadRuleError("it is empty")
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
