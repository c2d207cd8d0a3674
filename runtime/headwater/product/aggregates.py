"""What is computed of the events of a group. Declares; `flow.aggregates` computes."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "count", "sum", "min", "max", "mean", "variance", "first", "last", "collect"
]

MOST_COLLECTED: Final = 10_000
"""Values in one list: each change of a group writes its list anew, to the log of its state too."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate: its kind, the column it is of, and for `collect` how many values at most."""

    kind: Kind
    column: str | None
    limit: int | None = None


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


def aggregate_mistake(aggregate: object) -> str | None:
    """What is wrong with a declared aggregate; None when it is right."""
    if not isinstance(aggregate, Aggregate):
        return f"{aggregate!r} is no aggregate; write such as count() or sum('amount')"
    if not isinstance(aggregate.column, str) and (
        aggregate.kind != "count" or aggregate.column is not None
    ):
        return f"{aggregate.kind}({aggregate.column!r}) names no column; write its name as text"
    if aggregate.kind == "collect" and not _is_limit(aggregate.limit):
        return (
            f"collect limit={aggregate.limit!r} is no number from 1 to {MOST_COLLECTED}; write one"
        )
    return None


def _is_limit(limit: object) -> bool:
    if not isinstance(limit, int) or isinstance(limit, bool):
        return False
    return 1 <= limit <= MOST_COLLECTED
