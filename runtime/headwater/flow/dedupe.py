"""`dedupe`: rows whose key came already, near in event time, are dropped."""

from datetime import timedelta
from typing import Final

import polars as pl

from headwater.contract import ROW, StateRows
from headwater.errors import DeclarationError
from headwater.flow.stage import Columns, Processed, refused
from headwater.flow.stateful import (
    Batch,
    KeyedRows,
    StatefulStage,
    TimeToLive,
    check_columns,
    purge,
    without_time,
)
from headwater.product import Dedupe
from headwater.product.durations import duration_ms
from headwater.product.windows import LONGEST_MS

_INSTANT: Final = pl.Datetime("ms", "UTC")


class DedupeStage(StatefulStage):
    """`dedupe`: the store holds the event time of the last row of each key that went on.

    A row is a duplicate when its time is less than `within` from that one, before or behind. What
    is stored counts until the watermark is twice `within` behind it, by each row's own watermark:
    a row that is late by less than `within` could not be its duplicate any more, and when the store
    is cleaned is never seen.
    Raises DeclarationError when the step cannot run on these columns.
    """

    needs_event_time = True

    def __init__(self, step: Dedupe, given: Columns, stream_key: tuple[str, ...]) -> None:
        self.step: Dedupe = step
        self.given = given
        self.stream_key = stream_key
        self._within: Final = _within_ms(step)
        check_columns(step, step.key, given, stream_key)
        self.time_to_live = TimeToLive("time", timedelta(milliseconds=2 * self._within))
        try:
            self.keys = StateRows({name: given[name] for name in sorted(step.key)})
        except DeclarationError as error:
            raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error
        # within: what was forgotten by a shorter one is missing, and nobody would notice
        meaning = {"step": "dedupe", "within_ms": self._within}
        self.rows = StateRows({"time": _INSTANT}, keys=self.keys.columns, meaning=meaning)

    def columns(self, given: Columns) -> Columns:
        """The columns that come out: those that come in."""
        return given

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The rows that are no duplicates, in order; those without an event time are refused."""
        frame, refused_rows = without_time(self.step, frame, batch)
        has_key = frame.select(pl.all_horizontal(pl.col(self.step.key).is_not_null())).to_series()
        judged = frame.filter(has_key)
        places = has_key.arg_true()  # not `_row`: a step before may have made several of a record
        if judged.is_empty():
            return Processed(frame, refused_rows)
        rows = judged[ROW]
        seen = pl.DataFrame(
            {
                "task": batch.tasks.gather(rows),
                "key": pl.Series(self.keys.encode(judged), dtype=pl.Binary),
                "time": batch.times.gather(rows),
                "watermark": batch.watermarks.gather(rows),
                "row": places,
            }
        )
        duplicates = self._duplicates(seen, store)
        purge(seen, store)
        is_new = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)  # noqa: FBT003 - the value
        once = frame.filter(is_new.scatter(duplicates, False))  # noqa: FBT003 - the value
        dropped = frame.height - once.height
        counted = {self.step.name: dropped} if dropped else {}
        return Processed(once, refused_rows, duplicates=counted)

    def _duplicates(self, seen: pl.DataFrame, store: KeyedRows) -> pl.Series:
        """The rows to drop; what goes on is stored."""
        held = seen.group_by("task", "key", maintain_order=True).agg(
            pl.col("row", "time", "watermark"), first=pl.col("watermark").first()
        )
        stored = store.read(held["task"], held["key"], now=held["first"].cast(_INSTANT))["time"]
        held = held.with_columns(stored=stored.to_physical(), at=pl.int_range(pl.len()))
        single = held.filter(pl.col("row").list.len() == 1).with_columns(
            pl.col("row", "time").list.first()
        )
        is_duplicate = (pl.col("time") - pl.col("stored")).abs() < self._within
        single = single.with_columns(dropped=is_duplicate.fill_null(value=False))
        dropped = [single.filter("dropped")["row"]]
        single = single.filter(~pl.col("dropped"))
        kept = [single.select("at", last=pl.max_horizontal("time", "stored"))]
        several = held.filter(pl.col("row").list.len() > 1)
        if several.height:
            lasts, gone = self._several(several)
            kept.append(several.select("at", last=pl.Series(lasts, dtype=pl.Int64)))
            dropped.append(pl.Series(gone, dtype=seen["row"].dtype))
        changed = pl.concat(kept)
        held = held[changed["at"]]
        times = pl.DataFrame({"time": changed["last"].cast(_INSTANT)})
        store.write(held["task"], held["key"], times)
        return pl.concat(dropped)

    def _several(self, keys: pl.DataFrame) -> tuple[list[int | None], list[int]]:
        """Of keys that come more than once in a batch: what is stored then, and the duplicates.

        Row by row: whether one is a duplicate depends on which went on before it.
        """
        lasts: list[int | None] = []
        gone: list[int] = []
        columns = ("row", "time", "watermark", "stored")
        for rows, times, watermarks, last in zip(*(keys[name] for name in columns), strict=True):
            stored: int | None = last
            for row, time, watermark in zip(rows, times, watermarks, strict=True):
                if stored is not None and self._is_known(stored, watermark):
                    if abs(time - stored) < self._within:
                        gone.append(row)
                        continue
                    stored = max(stored, time)
                else:
                    stored = time
            lasts.append(stored)
        return lasts, gone

    def _is_known(self, stored: int, watermark: int | None) -> bool:
        return watermark is None or watermark < stored + 2 * self._within


def _within_ms(step: Dedupe) -> int:
    length = duration_ms(step.within)
    if length is None or length > LONGEST_MS:
        text = f"within={step.within!r} is no duration up to ten years; write such as '10m' or '1h'"
        raise refused(step, "INVALID_STEP", text)
    return length
