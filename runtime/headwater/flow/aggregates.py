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

from headwater.errors import DeclarationError, Problem, ResultRefusedError
from headwater.flow.aggregators import Rows, order
from headwater.flow.kinds import aggregator
from headwater.flow.parts import Aggregator, Fold, MergesApart, Part
from headwater.flow.stage import Columns
from headwater.flow.tallies import GROUP_TYPE
from headwater.product.aggregates import Aggregate

HELD: Final = "_rows"
"""The column of a state that every state has: how many rows it is of."""
_ROWS: Final[Aggregator] = Rows()

_PLACE: Final = "_place"
_GROUP: Final = "_group"
"""Columns while running: where a row stood, and where the first row of its group did."""
_RUNNING: Final[frozenset[Fold]] = frozenset({"sum", "min", "max", "first", "last"})
"""What there are running results of."""


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
        self._lifted: Final = [_ROWS, *self._aggregators.values()]
        self._parts: Final = {
            _column(each.of, part.name): (each.of, part)
            for each in self._lifted
            for part in each.parts
        }
        self.state: Final[Columns] = {name: part.type for name, (_, part) in self._parts.items()}
        """The columns of a state; a store can hold their types. HELD is never null."""
        self.results: Final[Columns] = {name: each.type for name, each in self._aggregators.items()}
        """The columns of a result."""
        self._apart: Final = {
            tuple(_columns(each)): each
            for each in self._aggregators.values()
            if isinstance(each, MergesApart)
        }
        has_own = any(each.own is not None for each in aggregates.values())
        read = columns if has_own else [each.column for each in aggregates.values()]
        self.reads: Final = {name for name in read if name is not None}
        """The columns of rows that it looks at; an author's own may look at any."""
        folds = {part.fold for _, part in self._parts.values()}
        self.is_ordered: Final = not folds.isdisjoint({"first", "last", "collect"})
        """Whether it needs EVENT_TIME and OFFSET."""
        self.runs: Final = folds <= _RUNNING
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
        lifted: dict[str, pl.Series] = {}
        for each in self._lifted:
            names = _columns(each)
            if not lifted.keys() >= set(names):
                lifted |= zip(names, each.lift(rows), strict=True)
        return rows.with_columns(
            series.cast(self.state[name]).alias(name) for name, series in lifted.items()
        )

    def merge(self, states: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
        """The merged state of each group, in the order of the groups' first rows."""
        together = [_merged(*each) for each in self._parts.values() if each[1].fold != "apart"]
        merged = states.group_by(by, maintain_order=True).agg(together)
        if not self._apart:
            return merged
        groups = _groups(states, by)
        return merged.with_columns(
            series.alias(name)
            for names, each in self._apart.items()
            for name, series in zip(
                names, each.merge(groups, [states[name] for name in names]), strict=True
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
        running = grouped.with_columns(_running(*each) for each in self._parts.values())
        return running.sort(_PLACE).drop(_PLACE, _GROUP)

    def result(self, states: pl.DataFrame) -> pl.DataFrame:
        """The results in place of the states; other columns stay.

        Raises ResultRefusedError (AGGREGATE_OVERFLOW) when a sum of integers has more than 64 bits,
        or one of decimals more than 38 digits.
        """
        try:
            return states.drop(self.state).with_columns(
                each.result([states[part] for part in _columns(each)]).cast(each.type).alias(name)
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


def _overflow() -> ResultRefusedError:
    return ResultRefusedError(
        "The sum of a group has more digits than its type; sum the column as a double, or group "
        "by more columns.",
        code="AGGREGATE_OVERFLOW",
    )


def _column(of: str | None, part: str) -> str:
    """The column of a part in a state; no part begins with an underscore or has two in a row."""
    return f"_{part}" if of is None else f"_{of}__{part}"


def _columns(aggregator: Aggregator) -> list[str]:
    return [_column(aggregator.of, part.name) for part in aggregator.parts]


def _order(of: str | None, fold: Fold) -> list[str]:
    return [_column(of, part) for part in order(fold)]


def _merged(of: str | None, part: Part) -> pl.Expr:
    """One part of the states of a group, merged."""
    column = pl.col(_column(of, part.name))
    match part.fold:
        case "sum":
            return column.sum()
        case "min":
            return column.min()
        case "max":
            return column.max()
        case "first":
            return column.sort_by(_order(of, part.fold), maintain_order=True).first()
        case "last":
            return column.sort_by(_order(of, part.fold), maintain_order=True).last()
        case "collect" | "distinct":
            items = column.list.explode()
            kept = items.drop_nulls().unique() if part.fold == "distinct" else items
            return kept.sort().head(part.limit)
        case "apart":
            message = f"{part.name} is merged by its aggregator"
            raise TypeError(message)


def _running(of: str | None, part: Part) -> pl.Expr:
    """One part of the states of a group, merged up to each of them; rows stand by group."""
    column = pl.col(_column(of, part.name))
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
            # rows of one record have the same time and offset: they stand in the order it has them
            by = [*map(pl.col, _order(of, part.fold)), pl.int_range(pl.len())]
            places = pl.arg_sort_by(by, descending=part.fold == "first")
            return _greatest(column.gather(places), places.arg_sort() + 1)
        case _:
            message = f"{part.name} has no running result"
            raise TypeError(message)


def _greatest(ordered: pl.Expr, rank: pl.Expr) -> pl.Expr:
    """Of `ordered`, the value of the greatest rank of the group so far; ranks from 1, or null."""
    floor = pl.col(_GROUP) * pl.len().cast(pl.Int64)  # ranks of a group are above those before it
    reached = (floor + rank.cast(pl.Int64).fill_null(0)).cum_max() - floor
    return ordered.gather(pl.when(reached > 0).then(reached - 1))
