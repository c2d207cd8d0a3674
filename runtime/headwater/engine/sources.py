"""Event time behind a repartition topic: the least of the tasks that write to it.

Each record says which task wrote it and how far that one had come; a heartbeat says it without a
row. So the watermark of a reading task is a function of the recorded order of its partition alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from headwater.engine.watermarks import NOTED, NOTHING, Standing, Watermarks

SOURCES: Final = "sources"
UNHEARD: Final = -(2**63)
"""Stands for a task that nothing was heard of: the least there is, so that it holds all back."""
IDLE: Final = 2**63 - 1
"""Stands for a task that is idle: the greatest there is, so that it holds nothing back."""
DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
MOST_SOURCES: Final = 200
"""Tasks that write to one topic: their standings take up to 11 bytes each in the note beside a
position, which the broker limits to 4096 (offset.metadata.max.bytes)."""


@dataclass(frozen=True, slots=True)
class Heard(Standing):
    """How far a reading task has come, and each task that writes to it."""

    sources: Mapping[int, Standing] = field(default_factory=dict)


class SourceWatermarks(Watermarks):
    """The standings of the tasks that read a repartition topic, which `sources` tasks write to."""

    def __init__(self, sources: int) -> None:
        super().__init__()
        self._sources = sources

    def heard(self, tasks: pl.Series, lineage: pl.DataFrame) -> tuple[pl.Series, dict[int, int]]:
        """The watermark at each record, itself included, and those that moved.

        `lineage` has the columns `_source`, `_watermark` and `_offset` of the records.
        """
        said = pl.when(pl.col("_watermark").is_null() & pl.col("_offset").is_null()).then(IDLE)
        seen = lineage.select(
            said.otherwise("_watermark").cast(pl.Int64).alias("said"),
            pl.col("_watermark").alias("mark"),
            pl.col("_source").alias("source"),
            pl.Series("task", tasks),
        ).with_row_index()
        reached: dict[int, int] = {}
        parts = []
        for (task,), part in seen.partition_by("task", as_dict=True).items():
            before = self._heard(task)
            marks = _watermarks(part, before, self._sources)
            parts.append(pl.DataFrame({"index": part["index"], "mark": marks}))
            after = marks[-1]
            if after is not None and after != before.watermark:
                reached[task] = after
            self.stage(task, Heard(after, sources=_sources_after(part, before)))
        if not parts:
            return pl.Series(dtype=pl.Int64), reached
        return pl.concat(parts).sort("index")["mark"], reached

    def _heard(self, task: int) -> Heard:
        found = self.standing(task)
        return found if isinstance(found, Heard) else Heard(found.watermark)

    def noted(self, standing: Standing) -> Mapping[str, Any]:
        """What to write of a standing beside a position."""
        if not isinstance(standing, Heard) or not standing.sources:
            return super().noted(standing)
        marks = [each.watermark for each in standing.sources.values() if each.watermark is not None]
        last = max(marks, default=0)
        texts = [_text(standing.sources.get(each), last) for each in range(self._sources)]
        return {**super().noted(standing), SOURCES: [last, ",".join(texts)]}

    def parsed(self, note: str) -> Standing:
        """The standing that a note tells of."""
        found = json.loads(note) if note.startswith("{") else {}
        last, text = found.get(SOURCES, (0, ""))
        sources = {place: _standing(each, last) for place, each in enumerate(text.split(","))}
        known = {place: each for place, each in sources.items() if each is not None}
        return Heard(found.get(NOTED), sources=known)


def _watermarks(part: pl.DataFrame, before: Heard, sources: int) -> pl.Series:
    """The watermark at each record of one task."""
    present = part["source"].unique().sort().to_list()
    absent = [_low(before.sources.get(each)) for each in range(sources) if each not in present]
    lows = [_lows(each, before.sources.get(each, NOTHING)) for each in present]
    marks = [each.watermark for each in before.sources.values() if each.watermark is not None]
    known = part.select(*lows, top=pl.col("mark").cum_max().forward_fill())
    least = known.select(
        pl.min_horizontal(pl.exclude("top"), pl.lit(min(absent, default=IDLE))).alias("least"),
        pl.max_horizontal("top", pl.lit(max(marks, default=None), dtype=pl.Int64)),
    )
    mark = (
        pl.when(pl.col("least") == UNHEARD).then(None)
        # of all that are idle the last, as a task with several inputs has it in Flink
        .when(pl.col("least") == IDLE).then("top")
        .otherwise("least")
    )  # fmt: skip
    start = pl.lit(before.watermark, dtype=pl.Int64)
    return least.select(pl.max_horizontal(mark, start).cum_max().forward_fill()).to_series()


def _lows(source: int, before: Standing) -> pl.Expr:
    """How far a task holds the reader back at each record."""
    mine = pl.when(pl.col("source") == source)
    start = pl.lit(before.watermark, dtype=pl.Int64)
    mark = pl.max_horizontal(mine.then("mark").cum_max().forward_fill(), start)
    is_idle = mine.then(pl.col("said") == IDLE).forward_fill().fill_null(before.is_idle)
    return pl.when(is_idle).then(IDLE).otherwise(mark.fill_null(UNHEARD)).alias(f"low_{source}")


def _sources_after(part: pl.DataFrame, before: Heard) -> Mapping[int, Standing]:
    told = part.filter(pl.col("said").is_not_null())
    last = told.group_by("source").agg(pl.col("said").last(), pl.col("mark").max()).rows()
    after = dict(before.sources)
    for source, said, mark in last:
        known = [each for each in (mark, _mark(before.sources.get(source))) if each is not None]
        after[source] = Standing(max(known, default=None), is_idle=said == IDLE)
    return after


def _mark(standing: Standing | None) -> int | None:
    return None if standing is None else standing.watermark


def _low(standing: Standing | None) -> int:
    """How far a task holds the reader back."""
    if standing is None:
        return UNHEARD
    if standing.is_idle:
        return IDLE
    return UNHEARD if standing.watermark is None else standing.watermark


def _text(standing: Standing | None, last: int) -> str:
    """A standing in few bytes: how far it is behind the last, in base 36; `~` when it is idle."""
    if standing is None:
        return ""
    behind = "" if standing.watermark is None else _digits(last - standing.watermark)
    return f"~{behind}" if standing.is_idle else behind


def _standing(text: str, last: int) -> Standing | None:
    if not text:
        return None
    digits = text.removeprefix("~")
    return Standing(last - int(digits, 36) if digits else None, is_idle=text.startswith("~"))


def _digits(number: int) -> str:
    found = ""
    while True:
        number, digit = divmod(number, len(DIGITS))
        found = DIGITS[digit] + found
        if not number:
            return found
