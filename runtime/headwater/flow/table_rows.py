"""The newest row of each key of a table, held in columns and looked up a batch at a time.

Of a co-partitioned table the rows are told apart by task too: a record finds what came to its own.

Sorted runs by the hash of the key, each a few times as large as the next: a log-structured merge
tree (O'Neil et al., 1996) of frames. Neither a look-up nor a change makes a Python object per row.
"""

from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

from headwater.contract.dataset import comparable
from headwater.flow.stage import Columns

# Marks stand beside the fields of a contract, which may have any name but one with a dot.
DELETED: Final = "table.deleted"
"""Marks the rows of `apply` that end their key."""

TASK: Final = "table.task"
"""The task that rows of a co-partitioned table belong to: the index of their partition."""

TASK_TYPE: Final = pl.Int32()

FOUND: Final = "table.found"
"""Tells the rows of `find` whose key is in the table."""

GROWTH: Final = 4  # a run is more than so many times as large as the next: a row is merged about
# four times per level, and a look-up asks some five runs where there are a million keys
SEED: Final = 0  # of the hash; nothing of it leaves the process
HASH: Final = "table.hash"
AT: Final = "table.at"
_THERE: Final = "table.there"


class TableRows:
    """Rows by their key: `key` is its column, `columns` are all that are kept, the key included.

    The key is held in the type in which keys are compared: integers as Int64. `by_task` for a
    co-partitioned table: its frames have the column TASK.
    """

    def __init__(self, key: str, columns: Columns, *, by_task: bool = False) -> None:
        self.key: Final = key
        self.columns: Final = {**columns, key: comparable(columns[key])}
        self.identity: Final = identity_of(key, by_task=by_task)
        self._kept: Final = {**self.columns, **dict.fromkeys(self.identity[1:], TASK_TYPE)}
        self.changes = 0
        """Rises with every `apply`, `drop` and `clear`."""
        self.keys = 0
        """How many keys there are."""
        self._runs: list[pl.DataFrame] = []  # the oldest first, which is the largest

    @property
    def rows(self) -> int:
        """How many rows are held: one per key, and those that a newer run hides for a while."""
        return sum(run.height for run in self._runs)

    def clear(self) -> None:
        """Forget every row."""
        self._runs.clear()
        self.keys = 0
        self.changes += 1

    def drop(self, tasks: Collection[int]) -> None:
        """Forget the rows of these tasks."""
        runs = [run.filter(~pl.col(TASK).is_in(list(tasks))) for run in self._runs]
        self._runs = [run for run in runs if not run.is_empty()]
        self.keys = self.frame().height
        self.changes += 1

    def apply(self, frame: pl.DataFrame) -> None:
        """Take in rows in the order of the log: the last of a key counts, DELETED ends it."""
        if frame.is_empty():
            return
        wanted = [pl.col(name).cast(dtype) for name, dtype in self._kept.items()]
        rows = frame.select(*wanted, DELETED).unique(
            self.identity, keep="last", maintain_order=False
        )
        known = self._found(rows.select(self.identity))[FOUND]
        self.keys += int((~rows[DELETED] & ~known).sum()) - int((rows[DELETED] & known).sum())
        self.changes += 1
        self._runs.append(rows.with_columns(_hashed(rows.select(self.identity))).sort(HASH))
        while len(self._runs) > 1 and self._runs[-2].height <= GROWTH * self._runs[-1].height:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(self._merged(older, newer))
        if len(self._runs) == 1:
            kept = self._runs[0].filter(~pl.col(DELETED))  # there is nothing older to hide
            self._runs = [] if kept.is_empty() else [kept]

    def _merged(self, older: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
        kept = older.join(newer, on=self.identity, how="anti")
        return pl.concat([kept, newer], rechunk=True).sort(HASH)

    def find(self, keys: pl.Series, tasks: pl.Series | None = None) -> pl.DataFrame:
        """The row of each key, in order, and FOUND; nulls where there is none.

        `keys` are of the type of the key's column; null finds nothing. `tasks` are asked for where
        rows are held by task.
        """
        return self._found(asked_of(self.identity, keys, tasks))

    def _found(self, asked: pl.DataFrame) -> pl.DataFrame:
        left = asked.with_columns(_hashed(asked)).with_row_index(AT)
        left = left.filter(pl.col(self.key).is_not_null())
        parts: list[pl.DataFrame] = []
        for run in reversed(self._runs):
            if left.is_empty():
                break
            slots = slots_of(run, left, self.identity)
            hit = slots.is_not_null()
            parts.append(run[slots.drop_nulls()].with_columns(left[AT].filter(hit)))
            left = left.filter(~hit)
        return self._placed(parts, asked.height)

    def _placed(self, parts: list[pl.DataFrame], count: int) -> pl.DataFrame:
        """Found rows at the places they were asked for."""
        nothing = pl.DataFrame(schema={**self.columns, DELETED: pl.Boolean(), AT: pl.UInt32()})
        found = pl.concat([nothing, *(part.select(nothing.columns) for part in parts)])
        found = found.filter(~pl.col(DELETED))
        order = pl.repeat(None, count, dtype=pl.UInt32, eager=True)
        order = order.scatter(found[AT], pl.int_range(found.height, dtype=pl.UInt32, eager=True))
        rows = found.select(pl.col(*self.columns).gather(order))
        return rows.with_columns(order.is_not_null().alias(FOUND))

    def frame(self) -> pl.DataFrame:
        """Every row, as `apply` takes them, in no order."""
        whole = pl.DataFrame(schema={**self._kept, DELETED: pl.Boolean(), HASH: pl.UInt64()})
        for run in self._runs:
            whole = self._merged(whole, run.select(whole.columns))
        return whole.filter(~pl.col(DELETED)).drop(HASH)


def identity_of(key: str, *, by_task: bool) -> tuple[str, ...]:
    """The columns that tell rows apart."""
    return (key, TASK) if by_task else (key,)


def asked_of(identity: Sequence[str], keys: pl.Series, tasks: pl.Series | None) -> pl.DataFrame:
    """What is looked up, as the columns of an identity."""
    named = [keys.alias(identity[0])]
    return pl.DataFrame(named if tasks is None else [*named, tasks.cast(TASK_TYPE).alias(TASK)])


def slots_of(run: pl.DataFrame, left: pl.DataFrame, identity: Sequence[str]) -> pl.Series:
    """Where a run, sorted by HASH, holds what is `left` to find; null where it does not."""
    slots = run[HASH].search_sorted(left[HASH]).clip(upper_bound=run.height - 1)
    like = run[HASH].gather(slots) == left[HASH]
    same = like
    for name in identity:
        same &= run[name].gather(slots) == left[name]
    found = pl.select(pl.when(same).then(slots)).to_series()
    if same.sum() == like.sum():
        return found
    # Different keys of one hash, as rare as they are possible: these are compared as they are.
    twins = left.filter(like & ~same)
    exact = twins.join(run.with_row_index(_THERE), on=list(identity)).select(AT, _THERE)
    joined = left.select(AT).join(exact, on=AT, how="left", maintain_order="left")
    return found.fill_null(joined[_THERE])


def _hashed(rows: pl.DataFrame) -> pl.Series:
    return rows.hash_rows(SEED).alias(HASH)
