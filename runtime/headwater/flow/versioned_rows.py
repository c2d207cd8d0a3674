"""Every row of each key of a table by event time, held in columns, looked up as of a time.

Runs as in `table_rows`, sorted by the hash of the key, then by key and time. A look-up finds its
key by a binary search, and its time in the rows of that by another.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from headwater.contract.dataset import comparable
from headwater.flow.stage import Columns
from headwater.flow.table_rows import (
    AT,
    DELETED,
    FOUND,
    GROWTH,
    HASH,
    SEED,
    TASK,
    TASK_TYPE,
    asked_of,
    identity_of,
    slots_of,
)

TIME: Final = "table.time"
"""Since when a row is valid: Int64, milliseconds since 1970-01-01 UTC."""

_START: Final = "table.start"
_BEGINS: Final = "table.begins"


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows in order, and of each key where its rows begin.

    `places` has a number per row that ascends: that of its key times `span`, plus its time since
    `first`; so that a key and a time are one number to search for.
    """

    rows: pl.DataFrame
    keys: pl.DataFrame
    places: pl.Series
    first: int
    span: int

    @classmethod
    def of(cls, rows: pl.DataFrame, identity: tuple[str, ...]) -> Self:
        """Of rows in the order of the log, at least one: of one key and time the last counts."""
        names = [HASH, *identity]
        rows = rows.sort(*names, TIME, maintain_order=True)
        is_last = pl.any_horizontal(pl.col(*names, TIME) != pl.col(*names, TIME).shift(-1))
        rows = rows.filter(is_last.fill_null(value=True))
        begins = pl.any_horizontal(pl.col(*names) != pl.col(*names).shift(1)).fill_null(value=True)
        marked = rows.select(*names, TIME, begins.alias(_BEGINS)).with_row_index(_START)
        keys = marked.filter(_BEGINS).select(*names, _START)
        first, last = rows.select(first=pl.col(TIME).min(), last=pl.col(TIME).max()).row(0)
        span = last - first + 1
        kind = pl.Int64() if keys.height * span < 2**63 else pl.Int128()
        number = marked[_BEGINS].cast(kind).cum_sum() - 1
        return cls(rows, keys, number * span + (rows[TIME] - first), first, span)

    def valid(self, slots: pl.Series, times: pl.Series) -> pl.Series:
        """The last row of a key, by its slot, whose time is not after; null where there is none."""
        since = (times - self.first).clip(-1, self.span - 1)
        asked = slots.cast(self.places.dtype) * self.span + since
        place = self.places.search_sorted(asked, side="right").cast(pl.Int64) - 1
        is_there = place >= self.keys[_START].gather(slots)
        return pl.select(pl.when(is_there).then(place)).to_series()


class VersionedRows:
    """Rows by key and time: `key` is the column of the key, `columns` are all that are kept.

    A row is valid from its time until the next one of its key; one with DELETED ends the key.
    `by_task` as for `TableRows`. Frames have the column TIME too.
    """

    def __init__(self, key: str, columns: Columns, *, by_task: bool = False) -> None:
        self.key: Final = key
        self.columns: Final = {**columns, key: comparable(columns[key])}
        self.identity: Final = identity_of(key, by_task=by_task)
        self._kept: Final = {
            **self.columns,
            **dict.fromkeys(self.identity[1:], TASK_TYPE),
            TIME: pl.Int64(),
            DELETED: pl.Boolean(),
        }
        self.changes = 0
        """Rises with every `apply`, `drop` and `clear`."""
        self.keys = 0
        """How many keys there are, those that ended too."""
        self._runs: list[_Run] = []  # the oldest first, which is the largest

    @property
    def rows(self) -> int:
        """How many rows are held, of all times."""
        return sum(run.rows.height for run in self._runs)

    def clear(self) -> None:
        """Forget every row."""
        self._runs.clear()
        self.keys = 0
        self.changes += 1

    def drop(self, tasks: Collection[int]) -> None:
        """Forget the rows of these tasks."""
        left = [run.rows.filter(~pl.col(TASK).is_in(list(tasks))) for run in self._runs]
        self._runs = [_Run.of(rows, self.identity) for rows in left if not rows.is_empty()]
        self.keys = self.frame().select(self.identity).n_unique()
        self.changes += 1

    def apply(self, frame: pl.DataFrame) -> None:
        """Take in rows in the order of the log: of a key's rows of one time the last counts."""
        if frame.is_empty():
            return
        rows = frame.select(pl.col(name).cast(dtype) for name, dtype in self._kept.items())
        run = _Run.of(rows.with_columns(_hashed(rows.select(self.identity))), self.identity)
        self.keys += self._unknown(run.keys)
        self.changes += 1
        self._runs.append(run)
        runs = self._runs
        while len(runs) > 1 and runs[-2].rows.height <= GROWTH * runs[-1].rows.height:
            newer, older = runs.pop(), runs.pop()
            both = pl.concat([older.rows, newer.rows], rechunk=True)
            runs.append(_Run.of(both, self.identity))

    def _unknown(self, keys: pl.DataFrame) -> int:
        """How many of these keys have no row yet."""
        left = keys.select(HASH, *self.identity).with_row_index(AT)
        for run in reversed(self._runs):
            left = left.filter(slots_of(run.keys, left, self.identity).is_null())
            if left.is_empty():
                break
        return left.height

    def find(
        self, keys: pl.Series, times: pl.Series, within_ms: int, tasks: pl.Series | None = None
    ) -> pl.DataFrame:
        """The row of each key that is valid at its time, in order, and FOUND; else nulls.

        `times` are Int64 milliseconds. A row that is older than `within_ms` then is not found, and
        a null key or time finds nothing.
        """
        asked = asked_of(self.identity, keys, tasks)
        left = asked.with_columns(_hashed(asked), times.alias(TIME)).with_row_index(AT)
        left = left.filter(pl.col(self.key).is_not_null() & pl.col(TIME).is_not_null())
        best = left.select(AT, since=pl.lit(None, pl.Int64), run=pl.lit(0), place=pl.lit(0))
        for number, run in reversed(list(enumerate(self._runs))):
            best = _better(best, self._candidates(number, run, left))
        is_young = left[TIME] - best["since"] <= within_ms
        return self._placed(best.filter(is_young), asked.height)

    def _candidates(self, number: int, run: _Run, left: pl.DataFrame) -> pl.DataFrame:
        slots = slots_of(run.keys, left, self.identity)
        place = run.valid(slots, left[TIME])
        return pl.DataFrame({"since": run.rows[TIME].gather(place), "place": place, "run": number})

    def _placed(self, best: pl.DataFrame, count: int) -> pl.DataFrame:
        """The rows at the places they were asked for."""
        kept = {**self.columns, DELETED: pl.Boolean()}
        parts = [pl.DataFrame(schema={**kept, AT: pl.UInt32()})]
        for number, run in enumerate(self._runs):
            chosen = best.filter(run=number)
            parts.append(run.rows.select(*kept)[chosen["place"]].with_columns(chosen[AT]))
        found = pl.concat(parts).filter(~pl.col(DELETED))
        order = pl.repeat(None, count, dtype=pl.UInt32, eager=True)
        order = order.scatter(found[AT], pl.int_range(found.height, dtype=pl.UInt32, eager=True))
        rows = found.select(pl.col(*self.columns).gather(order))
        return rows.with_columns(order.is_not_null().alias(FOUND))

    def frame(self) -> pl.DataFrame:
        """Every row, as `apply` takes them; of one key and time the last is behind the others."""
        return pl.concat(
            [pl.DataFrame(schema=self._kept), *(run.rows.select(*self._kept) for run in self._runs)]
        )


def _better(best: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Row by row the later one; of equal ones the first given, which is the newer in the log."""
    is_later = (other["since"] > best["since"]).fill_null(other["since"].is_not_null())
    both = [other[name].zip_with(is_later, best[name]) for name in ("since", "run", "place")]
    return best.with_columns(both)


def _hashed(rows: pl.DataFrame) -> pl.Series:
    return rows.hash_rows(SEED).alias(HASH)
