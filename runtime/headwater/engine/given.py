"""What the routes of a task get of a batch: decoded once, run in as many pieces as it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from headwater.contract import ROW, ROW_TYPE
from headwater.engine.selection import Selection
from headwater.model import Halt, Quarantine, RuleViolation
from headwater.ports import Records

TIME: Final = "_time"


@dataclass(frozen=True, slots=True)
class Given:
    """Consecutive records, and what is left of them for the routes.

    `frames` are the rows of each type, by ascending `_row`; `refused` are the records of which none
    is there, `skipped` is how many more are not. `lineage` has a row for each record where a step
    asks for more than its frame, with its event time in TIME; else it is empty. `violations` are
    what records broke by themselves. With `halts` nothing of it is to be run.
    """

    records: Records
    frames: Sequence[pl.DataFrame] = ()
    refused: Sequence[Quarantine] = ()
    lineage: pl.DataFrame = field(default_factory=pl.DataFrame)
    skipped: int = 0
    violations: Sequence[RuleViolation] = ()
    halts: Sequence[Halt] = ()

    def part(self, piece: range, found: Mapping[int, Quarantine]) -> "Given":
        """A piece as a batch of its own, numbered from 0, of which those `found` are refused too.

        They have no event time any more.
        """
        mine = [found[row] for row in sorted(found) if row in piece]
        if len(piece) == len(self.records) and not mine:
            return self
        rows = pl.Series([each.row for each in mine], dtype=ROW_TYPE)
        refused = [*mine, *(each for each in self.refused if each.row in piece)]
        lineage = self.lineage
        if lineage.height:
            is_found = pl.int_range(pl.len()).is_in(rows.implode())
            time = pl.when(~is_found).then(TIME)
            lineage = lineage.with_columns(time).slice(piece.start, len(piece))
        return Given(
            Selection(self.records, piece),
            [_without(_slice(frame, piece), rows, piece.start) for frame in self.frames],
            [replace(each, row=each.row - piece.start) for each in refused],
            lineage,
        )


def _slice(frame: pl.DataFrame, piece: range) -> pl.DataFrame:
    first, last = (frame[ROW].search_sorted(row) for row in (piece.start, piece.stop))
    return frame.slice(first, last - first)


def _without(frame: pl.DataFrame, rows: pl.Series, start: int) -> pl.DataFrame:
    left = frame.filter(~pl.col(ROW).is_in(rows.implode())) if len(rows) else frame
    return left.with_columns(pl.col(ROW) - start) if start else left
