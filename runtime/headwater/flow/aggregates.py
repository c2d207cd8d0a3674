"""Aggregates of groups, on columns: rows to states, states merged, states to results.

A state is a row of columns. Merging is associative to the last bit: sums are exact (`flow.exact`),
so a result is a function of the rows, whatever batches they came in. Rows and states go through
one merge: a row is lifted to the state of itself alone, and what a store held of a group is a state
before its rows.

Nulls and NaN are as in PostgreSQL: nulls are left out of `count(column)`, `sum`, `min`, `max`,
`mean` and `variance`, which are null (count: 0) without values; `first`, `last` and `collect` keep
them. NaN is greater than every number, and a sum with NaN is NaN. -0.0 is 0.0. Apart from
PostgreSQL, the sum of longs is a long, and the mean or variance of decimals is a double.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from headwater.errors import DeclarationError, FatalError, Problem
from headwater.flow.aggregators import AT, TIME, Aggregator, Part, aggregator
from headwater.flow.stage import Columns
from headwater.product.aggregates import Aggregate


class Aggregation:
    """Named aggregates of rows that have these columns.

    Raises DeclarationError (AGGREGATE) with every column that is missing or of a type that its
    aggregate does not take.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate], columns: Columns) -> None:
        self._aggregators: Final[dict[str, Aggregator]] = {}
        problems = []
        for name, declared in aggregates.items():
            compiled = aggregator(declared, columns)
            if isinstance(compiled, str):
                problems.append(Problem("AGGREGATE", f"{name}: {compiled}"))
            else:
                self._aggregators[name] = compiled
        if problems:
            raise DeclarationError(problems)
        self._parts: Final = [
            (name, part) for name, each in self._aggregators.items() for part in each.parts
        ]
        self.state: Final[Columns] = {
            _column(name, part.name): part.type for name, part in self._parts
        }
        """The columns of a state; a store can hold their types."""
        self.results: Final[Columns] = {name: each.type for name, each in self._aggregators.items()}
        """The columns of a result."""
        self.runs: Final = all(part.fold != "collect" for _, part in self._parts)
        """Whether there are running results: a list would be written anew for each of its rows."""

    def beyond(self) -> pl.Expr:
        """Whether a row has a number too large to be summed exactly.

        Of doubles, and of decimals in units of the last digit, 2^90 (1.2e27) and more; of all for a
        variance 2^45 (3.5e13) and more. Infinity is not.
        """
        return pl.any_horizontal(each.beyond() for each in self._aggregators.values())

    def lift(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Each row with the columns of its state: that of a group of this row alone.

        Rows have the columns of the aggregates, and EVENT_TIME and OFFSET where these order by it.
        Raises OverflowError when a row is `beyond`.
        """
        if rows.select(self.beyond().any()).item():
            message = "A number is too large to be summed exactly."
            raise OverflowError(message)
        return rows.with_columns(
            series.cast(part.type).alias(_column(name, part.name))
            for name, each in self._aggregators.items()
            for part, series in zip(each.parts, each.lift(rows), strict=True)
        )

    def merge(self, states: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
        """The merged state of each group, in the order of the groups' first rows."""
        merged = [_merged(name, part) for name, part in self._parts]
        return states.group_by(by, maintain_order=True).agg(merged)

    def running(self, states: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
        """Each row with the merged state of its group's rows up to this one, in their order.

        Only when it `runs`.
        """
        return states.with_columns(_running(name, part).over(by) for name, part in self._parts)

    def result(self, states: pl.DataFrame) -> pl.DataFrame:
        """The results in place of the states; other columns stay.

        Raises FatalError (AGGREGATE_OVERFLOW) when a sum of integers has more than 64 bits, or one
        of decimals more than 38 digits.
        """
        try:
            return states.drop(self.state).with_columns(
                each.result([states[_column(name, part.name)] for part in each.parts])
                .cast(each.type)
                .alias(name)
                for name, each in self._aggregators.items()
            )
        except pl.exceptions.InvalidOperationError as error:
            raise _overflow() from error


def _overflow() -> FatalError:
    return FatalError(
        "The sum of a group has more digits than its type; sum the column as a double, or group "
        "by more columns.",
        code="AGGREGATE_OVERFLOW",
    )


def _column(name: str, part: str) -> str:
    """The column of a part of an aggregate's state."""
    return f"_{name}_{part}"


def _order(name: str) -> tuple[str, str]:
    return _column(name, TIME), _column(name, AT)


def _merged(name: str, part: Part) -> pl.Expr:
    """One part of the states of a group, merged."""
    column = pl.col(_column(name, part.name))
    match part.fold:
        case "sum":
            return column.sum()
        case "min":
            return column.min()
        case "max":
            return column.max()
        case "first":
            return column.sort_by(_order(name)).first()
        case "last":
            return column.sort_by(_order(name)).last()
        case "collect":
            return column.list.explode().sort().head(part.limit)


def _running(name: str, part: Part) -> pl.Expr:
    """One part of the states of a group, merged up to each of them."""
    column = pl.col(_column(name, part.name))
    by_order = pl.arg_sort_by(_order(name))
    match part.fold:
        case "sum":
            return column.cum_sum()
        case "min":
            return column.cum_min().forward_fill()
        case "max":
            return column.cum_max().forward_fill()
        case "first":
            return column.gather(by_order.gather(by_order.arg_sort().cum_min()))
        case "last":
            return column.gather(by_order.gather(by_order.arg_sort().cum_max()))
        case "collect":
            message = f"{name} has no running result"
            raise TypeError(message)
