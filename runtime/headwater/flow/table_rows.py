"""The newest row of each key of a table, held in columns and looked up a batch at a time.

Sorted runs by the hash of the key, each a few times as large as the next: a log-structured merge
tree (O'Neil et al., 1996) of frames. Neither a look-up nor a change makes a Python object per row.
"""

from typing import Final

import polars as pl

from headwater.contract.dataset import comparable
from headwater.flow.stage import Columns

DELETED: Final = "_deleted"
"""Marks the rows of `apply` that end their key."""

FOUND: Final = "_found"
"""Tells the rows of `find` whose key is in the table."""

GROWTH: Final = 4  # a run is more than so many times as large as the next: a row is merged about
# four times per level, and a look-up asks some five runs where there are a million keys
SEED: Final = 0  # of the hash; nothing of it leaves the process
_HASH: Final = "_hash"
_AT: Final = "_at"


class TableRows:
    """Rows by their key: `key` is its column, `columns` are all that are kept, the key included.

    The key is held in the type in which keys are compared: integers as Int64.
    """

    def __init__(self, key: str, columns: Columns) -> None:
        self.key: Final = key
        self.columns: Final = {**columns, key: comparable(columns[key])}
        self.changes = 0
        """Rises with every `apply` and `clear`."""
        self.keys = 0
        """How many keys there are."""
        self._runs: list[pl.DataFrame] = []  # the oldest first, which is the largest

    def clear(self) -> None:
        """Forget every row."""
        self._runs.clear()
        self.keys = 0
        self.changes += 1

    def apply(self, frame: pl.DataFrame) -> None:
        """Take in rows in the order of the log: the last of a key counts, DELETED ends it."""
        if frame.is_empty():
            return
        wanted = [pl.col(name).cast(dtype) for name, dtype in self.columns.items()]
        rows = frame.select(*wanted, DELETED).unique(self.key, keep="last", maintain_order=False)
        known = self.find(rows[self.key])[FOUND]
        self.keys += int((~rows[DELETED] & ~known).sum()) - int((rows[DELETED] & known).sum())
        self.changes += 1
        self._runs.append(rows.with_columns(_hashed(rows[self.key])).sort(_HASH))
        while len(self._runs) > 1 and self._runs[-2].height <= GROWTH * self._runs[-1].height:
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(self._merged(older, newer))
        if len(self._runs) == 1:
            kept = self._runs[0].filter(~pl.col(DELETED))  # there is nothing older to hide
            self._runs = [] if kept.is_empty() else [kept]

    def _merged(self, older: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
        kept = older.join(newer, on=self.key, how="anti")
        return pl.concat([kept, newer], rechunk=True).sort(_HASH)

    def find(self, keys: pl.Series) -> pl.DataFrame:
        """The row of each key, in order, and FOUND; nulls where there is none.

        `keys` are of the type of the key's column; null finds nothing.
        """
        left = pl.DataFrame([keys.alias(self.key), _hashed(keys)]).with_row_index(_AT)
        left = left.filter(pl.col(self.key).is_not_null())
        parts: list[pl.DataFrame] = []
        for run in reversed(self._runs):
            if left.is_empty():
                break
            slots = self._slots(run, left)
            hit = slots.is_not_null()
            parts.append(run[slots.drop_nulls()].with_columns(left[_AT].filter(hit)))
            left = left.filter(~hit)
        return self._placed(parts, len(keys))

    def _slots(self, run: pl.DataFrame, left: pl.DataFrame) -> pl.Series:
        """Where the run holds each of the keys; null where it does not."""
        slots = run[_HASH].search_sorted(left[_HASH]).clip(upper_bound=run.height - 1)
        like = run[_HASH].gather(slots) == left[_HASH]
        same = like & (run[self.key].gather(slots) == left[self.key])
        found = pl.select(pl.when(same).then(slots)).to_series()
        if same.sum() == like.sum():
            return found
        # Different keys of one hash, as rare as they are possible: these are compared as they are.
        twins = left.with_columns(found.alias("slot")).filter(like & ~same)
        exact = twins.join(run.with_row_index("there"), on=self.key).select(_AT, "there")
        joined = left.select(_AT).join(exact, on=_AT, how="left", maintain_order="left")
        return found.fill_null(joined["there"])

    def _placed(self, parts: list[pl.DataFrame], count: int) -> pl.DataFrame:
        """Found rows at the places they were asked for."""
        nothing = pl.DataFrame(schema={**self.columns, DELETED: pl.Boolean(), _AT: pl.UInt32()})
        found = pl.concat([nothing, *(part.select(nothing.columns) for part in parts)])
        found = found.filter(~pl.col(DELETED))
        order = pl.repeat(None, count, dtype=pl.UInt32, eager=True)
        order = order.scatter(found[_AT], pl.int_range(found.height, dtype=pl.UInt32, eager=True))
        rows = found.select(pl.col(*self.columns).gather(order))
        return rows.with_columns(order.is_not_null().alias(FOUND))

    def frame(self) -> pl.DataFrame:
        """Every row, with the key, in no order."""
        whole = pl.DataFrame(schema={**self.columns, DELETED: pl.Boolean(), _HASH: pl.UInt64()})
        for run in self._runs:
            whole = self._merged(whole, run.select(whole.columns))
        return whole.filter(~pl.col(DELETED)).select(*self.columns)


def _hashed(keys: pl.Series) -> pl.Series:
    return keys.hash(SEED).alias(_HASH)
