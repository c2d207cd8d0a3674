"""What is computed of the events of a group. Declares; `flow.aggregates` computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:  # a declaration is stored, not run: the command line starts without polars
    import polars as pl

Kind: TypeAlias = Literal[
    "count",
    "sum",
    "min",
    "max",
    "mean",
    "variance",
    "first",
    "last",
    "collect",
    "approx_distinct",
    "quantile",
    "quantiles",
    "top_k",
    "mergeable",
]

MOST_COLLECTED: Final = 10_000
"""Values in one list: each change of a group writes its list anew, to the log of its state too."""
_LIMITS: Final[Mapping[Kind, str]] = {"collect": "limit", "top_k": "k"}
_PART: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")  # others might meet in a store


@dataclass(
    frozen=True, slots=True, eq=False
)  # compared by identity: == of expressions is an expression
class OwnAggregate:
    """The expressions of an author's own aggregate; see `mergeable`."""

    state: Mapping[str, pl.Expr]
    merge: Mapping[str, pl.Expr]
    result: pl.Expr


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate: its kind, the column it is of, and what belongs to its kind.

    `limit` of `collect` and `top_k` is how many values at most; `fractions` are those of `quantile`
    and `quantiles`; `own` are the expressions of `mergeable`.
    """

    kind: Kind
    column: str | None
    limit: int | None = None
    fractions: tuple[float, ...] = ()
    own: OwnAggregate | None = None


def count(column: str | None = None) -> Aggregate:
    """How many rows; with a column, how many that are not null there."""
    return Aggregate("count", column)


def sum(column: str) -> Aggregate:  # noqa: A001 - the word of SQL, read as `aggregates.sum`
    """The exact sum; of integers an integer, of decimals a decimal. Null without values."""
    return Aggregate("sum", column)


def min(column: str) -> Aggregate:  # noqa: A001 - as above
    """The least value. NaN is greater than every number, as in PostgreSQL."""
    return Aggregate("min", column)


def max(column: str) -> Aggregate:  # noqa: A001 - as above
    """The greatest value; NaN when there is one."""
    return Aggregate("max", column)


def mean(column: str) -> Aggregate:
    """The arithmetic mean, as a double. Null without values."""
    return Aggregate("mean", column)


def variance(column: str) -> Aggregate:
    """The sample variance (SQL's VAR_SAMP), as a double. Null for fewer than two values."""
    return Aggregate("variance", column)


def first(column: str) -> Aggregate:
    """The value of the earliest row by event time, then offset; may be null."""
    return Aggregate("first", column)


def last(column: str) -> Aggregate:
    """The value of the latest row by event time, then offset; may be null."""
    return Aggregate("last", column)


def collect(column: str, *, limit: int) -> Aggregate:
    """A list of the first `limit` values by event time, then offset, nulls included."""
    return Aggregate("collect", column, limit)


def approx_distinct(column: str) -> Aggregate:
    """How many distinct values; nulls are none, NaN is one. Exact up to 4096 values.

    Beyond, the relative standard error is 1.6 %: 19 of 20 estimates are within 3.1 %.
    """
    return Aggregate("approx_distinct", column)


def quantile(column: str, q: float) -> Aggregate:
    """The number at rank floor(q * (n - 1)) of the n ordered ones, as a double.

    `q` is from 0 to 1: 0.5 is the lower median, 0.95 what is called p95. Whole numbers up to 255
    are exact; others are up to 0.8 % nearer to zero, and zero when nearer to it than 1e-24. NaN is
    greater than every number. Null without values.
    """
    return Aggregate("quantile", column, fractions=(q,))


def quantiles(column: str, qs: Sequence[float]) -> Aggregate:
    """The list of the quantiles at `qs`, in their order, out of one state. Null without values."""
    return Aggregate("quantiles", column, fractions=tuple(qs))


def top_k(column: str, k: int) -> Aggregate:
    """The `k` most frequent values as a list of {value, count}, the most frequent first.

    Counts are exact; of values as frequent as each other the lesser comes first. Nulls are not
    counted. A group may have 10,000 distinct values: with more the product stops, by
    AGGREGATE_OVERFLOW.
    """
    return Aggregate("top_k", column, limit=k)


def mergeable(
    *, state: Mapping[str, pl.Expr], merge: Mapping[str, pl.Expr], result: pl.Expr
) -> Aggregate:
    """An aggregate of one's own: expressions on columns.

    `state` makes of each row the columns of its state, of that row alone. `merge` makes of the
    states of a group, in the order of their rows, one value per column of the state, under the same
    names. `result` makes of a merged state what the aggregate is. Merging part by part must give
    the same as merging at once, to the last bit: sums of doubles do not, `sum` and `mean` of
    Headwater do.
    """
    return Aggregate("mergeable", None, own=OwnAggregate(state, merge, result))


def aggregate_mistake(aggregate: object) -> str | None:
    """What is wrong with a declared aggregate; None when it is right."""
    if not isinstance(aggregate, Aggregate):
        return f"{aggregate!r} is no aggregate; write such as count() or sum('amount')"
    if aggregate.kind == "mergeable":
        return _own_mistake(aggregate.own)
    if not isinstance(aggregate.column, str) and (
        aggregate.kind != "count" or aggregate.column is not None
    ):
        return f"{aggregate.kind}({aggregate.column!r}) names no column; write its name as text"
    if aggregate.kind in _LIMITS and not _is_limit(aggregate.limit):
        word = f"{aggregate.kind} {_LIMITS[aggregate.kind]}={aggregate.limit!r}"
        return f"{word} is no number from 1 to {MOST_COLLECTED}; write one"
    if aggregate.kind in {"quantile", "quantiles"} and not _are_fractions(aggregate.fractions):
        text = f"{aggregate.kind} has the fractions {aggregate.fractions!r}"
        return f"{text}; write numbers from 0 to 1, at least one"
    return None


def _is_limit(limit: object) -> bool:
    if not isinstance(limit, int) or isinstance(limit, bool):
        return False
    return 1 <= limit <= MOST_COLLECTED


def _are_fractions(fractions: Sequence[object]) -> bool:
    are_numbers = all(
        isinstance(each, (int, float)) and not isinstance(each, bool) and 0 <= each <= 1
        for each in fractions
    )
    return are_numbers and bool(fractions)


def _own_mistake(own: OwnAggregate | None) -> str | None:
    state: object = own and own.state
    merge: object = own and own.merge
    if not (isinstance(state, Mapping) and isinstance(merge, Mapping)):
        return "mergeable without columns; write state={...} and merge={...} with a name for each"
    if not state or state.keys() != merge.keys():
        return "mergeable has other names in merge than in state; write one merge for each"
    for name in state:
        if not isinstance(name, str) or not _PART.fullmatch(name):
            return f"mergeable has a state {name!r}; write letters, digits and single underscores"
    return None
