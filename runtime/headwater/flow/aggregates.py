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
from headwater.flow.aggregators import AT, TIME
from headwater.flow.kinds import aggregator
from headwater.flow.parts import Aggregator, Fold, MergesApart, Part
from headwater.flow.stage import Columns
from headwater.flow.tallies import GROUP_TYPE
from headwater.product.aggregates import Aggregate

_PLACE: Final = "_place"
_GROUP: Final = "_group"
_RUNNING: Final[frozenset[Fold]] = frozenset({"sum", "min", "max", "first", "last"})
"""Columns while running: where a row stood, and where the first row of its group did."""


class Aggregation:
    """Named aggregates of rows that have these columns.

    Raises DeclarationError (AGGREGATE) with every column that is missing or of a type that its
    aggregate does not take.
    """

    def __init__(self, aggregates: Mapping[str, Aggregate], columns: Columns) -> None:
        self._aggregators: Final[dict[str, Aggregator]] = {}
        problems: list[Problem] = []
        for name, declared in aggregates.items():
            try:
                self._aggregators[name] = aggregator(name, declared, columns)
            except DeclarationError as error:
                problems.extend(error.problems)
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
        self._apart: Final = {
            name: each for name, each in self._aggregators.items() if isinstance(each, MergesApart)
        }
        self.runs: Final = all(part.fold in _RUNNING for _, part in self._parts)
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
        together = [_merged(name, part) for name, part in self._parts if part.fold != "apart"]
        merged = states.group_by(by, maintain_order=True).agg(together)
        if not self._apart:
            return merged
        groups = _groups(states, by)
        return merged.with_columns(
            series.alias(_column(name, part.name))
            for name, each in self._apart.items()
            for part, series in zip(
                each.parts,
                each.merge(groups, [states[_column(name, part.name)] for part in each.parts]),
                strict=True,
            )
        ).select(*by, *self.state)

    def running(self, states: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
        """Each row with the merged state of its group's rows up to this one, in their order.

        Only when it `runs`.
        """
        # Side by side, groups take one cumulation together: one for each costs ten times as much.
        placed = states.with_columns(pl.int_range(pl.len()).alias(_PLACE))
        grouped = placed.with_columns(pl.col(_PLACE).first().over(by).alias(_GROUP)).sort(
            _GROUP, maintain_order=True
        )
        running = grouped.with_columns(_running(name, part) for name, part in self._parts)
        return running.sort(_PLACE).drop(_PLACE, _GROUP)

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


def _groups(states: pl.DataFrame, by: Sequence[str]) -> pl.Series:
    """The group of each state, numbered from 0 in the order of their first states."""
    firsts = states.with_columns(pl.int_range(pl.len()).alias(_PLACE)).select(
        _PLACE, pl.col(_PLACE).first().over(by).alias(_GROUP)
    )
    numbers = (pl.col(_PLACE) == pl.col(_GROUP)).cum_sum() - 1
    return firsts.select(numbers.gather(_GROUP).cast(GROUP_TYPE)).to_series()


def _overflow() -> FatalError:
    return FatalError(
        "The sum of a group has more digits than its type; sum the column as a double, or group "
        "by more columns.",
        code="AGGREGATE_OVERFLOW",
    )


def _column(name: str, part: str) -> str:
    """The column of a part of an aggregate's state; no part has two underscores in its name."""
    return f"_{name}__{part}"


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
        case "first" | "last":
            ordered = column.sort_by(_order(name))
            return ordered.first() if part.fold == "first" else ordered.last()
        case "collect" | "distinct":
            items = column.list.explode()
            kept = items.drop_nulls().unique() if part.fold == "distinct" else items
            return kept.sort().head(part.limit)
        case "apart":
            message = f"{name} is merged by its aggregator"
            raise TypeError(message)


def _running(name: str, part: Part) -> pl.Expr:
    """One part of the states of a group, merged up to each of them; rows stand by group."""
    column = pl.col(_column(name, part.name))
    match part.fold:
        case "sum":
            begins = pl.col(_GROUP) != pl.col(_GROUP).shift().fill_null(-1)
            total = column.cum_sum()
            return total - pl.when(begins).then(total - column).forward_fill()
        case "min" | "max":
            is_min = part.fold == "min"
            ordered = column.sort(descending=is_min, nulls_last=True)
            return _greatest(ordered, column.rank("ordinal", descending=is_min))
        case "first" | "last":
            places = pl.arg_sort_by(_order(name), descending=part.fold == "first")
            return _greatest(column.gather(places), places.arg_sort() + 1)
        case _:
            message = f"{name} has no running result"
            raise TypeError(message)


def _greatest(ordered: pl.Expr, rank: pl.Expr) -> pl.Expr:
    """Of `ordered`, the value of the greatest rank of the group so far; ranks from 1, or null."""
    floor = pl.col(_GROUP) * pl.len().cast(pl.Int64)  # ranks of a group are above those before it
    reached = (floor + rank.cast(pl.Int64).fill_null(0)).cum_max() - floor
    return ordered.gather(pl.when(reached > 0).then(reached - 1))
