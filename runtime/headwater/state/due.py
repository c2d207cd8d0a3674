"""When the rows of one task are due. In memory only: a restart makes it anew from the rows.

An index may know more than the store: of a batch that was dropped, what it added stays. Whoever
takes what is due looks at the rows, and finds none there, or rows that are not due yet.
"""

from typing import Final

import polars as pl

TIME: Final = "time"
KEY: Final = "key"
_SCHEMA: Final = pl.Schema({TIME: pl.Int64(), KEY: pl.Binary()})
_SHRINK: Final = 4  # each run is so many times larger than the next: few runs, few merges


class DueIndex:
    """Keys by the time they are due, in milliseconds of event time.

    What is taken comes back when its piece of a batch is rolled back, when the batch is dropped or
    its transaction aborted.
    """

    def __init__(self) -> None:
        self._runs: list[pl.DataFrame] = []  # each ascending by time, smaller from run to run
        self._taken: list[pl.DataFrame] = []  # by the piece
        self._batch: list[pl.DataFrame] = []
        self._staged: list[pl.DataFrame] = []  # by the transaction

    def add(self, times: pl.Series, keys: pl.Series) -> None:
        """Let keys be due at times; a null time is never."""
        added = pl.DataFrame({TIME: times, KEY: keys}, schema=_SCHEMA).drop_nulls(TIME)
        self._push(added.sort(TIME))

    def take(self, until: int) -> pl.DataFrame:
        """What is due up to and at a time, which is then no longer here: TIME and KEY, in order."""
        heads, tails = [], []
        for run in self._runs:
            end = run[TIME].search_sorted(until, side="right")
            heads.append(run.head(end))
            tails.append(run.slice(end))
        self._runs = [run for run in tails if run.height]
        found = pl.concat([_SCHEMA.to_frame(), *heads])
        if found.height:
            self._taken.append(found)
        return found.unique().sort(TIME, KEY)

    def savepoint(self) -> None:
        """The piece is part of the batch."""
        self._batch += self._taken
        self._taken = []

    def rollback(self) -> None:
        """The piece never was."""
        taken, self._taken = self._taken, []
        for each in taken:
            self._push(each.sort(TIME))

    def keep(self) -> None:
        """The batch is part of the transaction."""
        self.savepoint()
        self._staged += self._batch
        self._batch = []

    def drop(self) -> None:
        """The batch never was."""
        self._taken, self._batch = self._batch + self._taken, []
        self.rollback()

    def commit(self) -> None:
        """The transaction is committed."""
        self._staged = []

    def abort(self) -> None:
        """The transaction never was, nor the batch."""
        self._batch, self._staged = self._staged + self._batch, []
        self.drop()

    def _push(self, run: pl.DataFrame) -> None:
        if not run.height:
            return
        while self._runs and self._runs[-1].height < _SHRINK * run.height:
            run = pl.concat([self._runs.pop(), run]).sort(TIME)
        self._runs.append(run)
