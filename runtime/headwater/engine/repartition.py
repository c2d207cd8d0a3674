"""Rows that leave for the task of another key, through a topic of the product's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.contract import ROW, Encoded, RepartitionRows
from headwater.engine.watermarks import Standing
from headwater.flow import Batch
from headwater.state import Changes

PLACE: Final = ("_partition", "_offset")
"""Columns: where the record stands in the input that a row was made of."""


@dataclass(frozen=True, slots=True)
class Repartition:
    """How rows are written to a repartition topic of so many `partitions`."""

    topic: str
    rows: RepartitionRows
    partitions: int

    def encode(self, frame: pl.DataFrame, batch: Batch, places: pl.DataFrame) -> Encoded:
        """Keys and values of rows; `places` are the `PLACE` of each record of the batch."""
        rows = frame[ROW]
        lineage = pl.DataFrame(
            {
                "_source": batch.tasks,
                "_watermark": batch.watermarks,
                "_time": batch.times,
                **{name: places[name] for name in PLACE},
            }
        )[rows]
        keys, values = self.rows.encode(frame, lineage)
        return Encoded([*keys], values, rows, [])

    def heartbeats(self, standings: Mapping[int, Standing]) -> Changes:
        """How far tasks have come, for every partition: not each has a row of theirs."""
        told = {
            task: None if each.is_idle else each.watermark
            for task, each in sorted(standings.items())
            if each.is_idle or each.watermark is not None
        }
        marks = self.rows.marks(told)
        partitions = [index for index in range(self.partitions) for _ in marks]
        return Changes(partitions, [b""] * len(partitions), [*marks] * self.partitions)
