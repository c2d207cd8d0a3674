"""What Polars says against a rule, in words that an author can use.

Its own sentences speak of its inside: types of literals, expressions we wrote, Python calls. Those
that a slip of an author leads to are told in ours; of the others, only what speaks of no inside.
"""

import re
from collections.abc import Sequence
from typing import Final

MOST: Final = 300  # characters of a reason
TIMES: Final = (
    "a time is compared with its like, not with a bare number or text: write INTERVAL '5 days',"
    " TIMESTAMP '2013-01-01 00:00:00', DATE '2013-01-01' or TIME '12:00:00'"
)
UNTOLD: Final = "it cannot be computed over these types"

_TOLD: Final[Sequence[tuple[re.Pattern[str], str]]] = tuple(
    (re.compile(pattern), told)
    for pattern, told in (
        (r"comparison between .*dtype: (Duration|Datetime|Date|Time)\b", TIMES),
        (r"comparison between .*and series .*dtype: (Duration|Datetime|Date|Time)\b", TIMES),
        (r"cannot compare 'date/datetime/time'", TIMES),
        (r"cannot compare string with numeric", "a text is not compared with a number"),
        (r"comparison between", "values of these types are not compared with each other"),
        (r"'is_in' cannot check", "what stands in the list of IN is of another type"),
        (r"field access chain", "fields of records in a list cannot be named"),
        (r"invalid pattern for '(!?~\*?)'", r"what \1 matches is a text, written out"),
        (r"LIKE/ILIKE pattern must", "what LIKE matches is a text, written out"),
        (r"REGEXP_LIKE \(", "what REGEXP_LIKE matches is a text, written out"),
        (r"arithmetic on dtypes (\S+) and (\S+)", r"\1 and \2 are not calculated with"),
        (r"^[&|] ", "AND and OR stand between what is true or false"),
        (r"^(\S+ not allowed on .*) and dyn (\w+)$", r"\1 and \2"),
    )
)
_INSIDE: Final = re.compile(r"col\(|\bpl\.|[Pp]ython|Polars|dyn |expression|cast\(|[{}]|series")
_REST: Final = re.compile(r" Hint: .*| \(lhs: .*|; use `?pl\..*|; try an explicit.*")
_CASTS: Final = re.compile(r"(?<!_)CAST\(| AS INT128\)")  # what widened a number


def reason(said: str) -> str:
    """One line of what Polars said, without what is none of the author's text."""
    text = " ".join(line.strip() for line in said.strip().partition("\n\n")[0].splitlines())
    text = _CASTS.sub("", text)
    for pattern, told in _TOLD:
        if (match := pattern.search(text)) is not None:
            return match.expand(told)
    if text.startswith(("regex", "unable to parse")):  # these quote what the author wrote
        return text.removesuffix(" as Expr")[:MOST]
    text = _REST.sub("", text)
    return UNTOLD if _INSIDE.search(text) else text[:MOST]
