"""The rows of a batch by task: each task has a store of its own."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import numpy as np
import polars as pl

Column = TypeVar("Column", pl.Series, pl.DataFrame)


class ByTask:
    """The order in which the rows of each task stand together, as they came in each.

    Columns are reordered as a whole: a list of bytes for each task would cost a step of the
    interpreter per row and direction.
    """

    def __init__(self, partitions: pl.Series) -> None:
        self._tasks = partitions
        self._order: pl.Series | None = None  # one task: as they came
        if partitions.n_unique() > 1:
            self._order = pl.Series(np.argsort(partitions.to_numpy(), kind="stable"))
            self._tasks = partitions.gather(self._order)

    def of(self, rows: Column) -> Column:
        """Rows in this order."""
        return rows if self._order is None else rows[self._order]

    def undone(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of this order as they came."""
        return rows if self._order is None else rows[self._order.arg_sort()]

    def parts(self, keys: pl.Series) -> Iterator[tuple[int, slice, list[bytes]]]:
        """The keys of each task, which come in any order, and where they stand in this one."""
        ordered = self.of(keys).to_list()
        # each task stands there many times, and its rows begin with the first
        starts = self._tasks.search_sorted(self._tasks.unique().sort(), side="left")
        for start, end in pairwise([*starts, len(ordered)]):
            part = slice(start, end)
            yield self._tasks[start], part, ordered[part]
