"""What every aggregate has when it is compiled: the columns of its state, and what makes them."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import polars as pl

Fold: TypeAlias = Literal["sum", "min", "max", "first", "last", "collect", "distinct", "apart"]


@dataclass(frozen=True, slots=True)
class Part:
    """A column of a state: its name, type, and how those of many states become one.

    Aggregators that are of the same share the parts of one name, which say the same of each row.
    `first` and `last` are by the parts `<fold>_time` and `<fold>_offset` beside it; `collect` keeps
    the `limit` first items, `distinct` the `limit` least without repeats; parts that are folded
    `apart` are merged by their aggregator.
    """

    name: str
    type: pl.DataType
    fold: Fold
    limit: int = 0


class Aggregator(Protocol):
    """An aggregate compiled for the type of its column."""

    @property
    def of(self) -> str | None:
        """Whose parts they are: a column's; None for the rows; an author's own has its name."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]:
        """The columns of its state."""
        ...

    @property
    def type(self) -> pl.DataType:
        """The type of its result."""
        ...

    def beyond(self) -> pl.Expr:
        """Whether a row's number is too large for the state."""
        ...

    def lift(self, rows: pl.DataFrame) -> list[pl.Series]:
        """The parts of the state of each row alone; they still take the parts' types."""
        ...

    def result(self, parts: list[pl.Series]) -> pl.Series:
        """The results of states."""
        ...


@runtime_checkable
class MergesApart(Aggregator, Protocol):
    """An aggregator whose parts are merged all together, by itself."""

    def merge(self, groups: pl.Series, parts: list[pl.Series]) -> list[pl.Series]:
        """The parts of the merged states of groups, by group.

        `groups` says of each state which group it is of: they are numbered from 0 on, in the order
        of their first states. Raises ResultRefusedError (AGGREGATE_OVERFLOW) when a state gets too
        large.
        """
        ...
