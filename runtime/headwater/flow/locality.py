"""Proves on real rows that no step depends on where a batch ends (promise 4)."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import polars as pl

from headwater.contract import ROW, ROW_TYPE
from headwater.errors import DeclarationError, Problem
from headwater.flow.blame import run_without_guilty
from headwater.flow.join import TableStage
from headwater.flow.late import LateStage
from headwater.flow.plan import Plan
from headwater.flow.stage import MAX_ROWS, Processed, Stage
from headwater.flow.stateful import NO_BATCH, Batch, StatefulStage

MAX_SINGLES: Final = 64  # one run per row costs about 0.2 ms
PIECES: Final = 4  # of the shuffled rows: each is far from where it was, and among others
SEED: Final = 20130101  # the same splits in every run: a finding can be had again


def check_row_local(
    plan: Plan, frame: pl.DataFrame, batch: Batch = NO_BATCH, *, max_rows: int = MAX_ROWS
) -> None:
    """Run each step on the first `max_rows` rows of `frame` cut otherwise, and compare.

    Single rows from all over the frame, its halves, and its rows shuffled and cut at random: a
    step that looks at one row at a time gives each row the same. Costs about five runs of the plan.
    Raises DeclarationError with BATCH_DEPENDENT for the first step that gives another result.
    """
    frame = frame.head(max_rows)
    records = frame[ROW]  # of the batch, by the `_row` of the frame
    for stage in plan.stages:
        if frame.is_empty():
            return
        if isinstance(stage, LateStage):
            continue  # ours, and any row may be late: what follows is tried on all
        # Numbered anew: `_row` of the first batch means nothing in another, and fan-out repeats it.
        numbers = pl.int_range(frame.height, dtype=ROW_TYPE).alias(ROW)
        if isinstance(stage, TableStage):  # ours too
            frame = stage.run(frame.with_columns(records.alias(ROW)), batch).frame
            records = frame[ROW]
            continue
        frame = frame.with_columns(numbers)
        if isinstance(stage, StatefulStage):
            frame = stage.stand_ins(frame)  # the step itself is ours, and proven elsewhere
            records = records.gather(frame[ROW])
            continue
        whole = run_without_guilty(stage, frame)
        if not all(_is_the_same(stage, whole, cut) for cut in _cuts(frame)):
            step = stage.step
            text = (
                f"{step.name} gives other rows when the same records come in other batches;"
                " make it look at one row at a time"
            )
            origin = step.origin
            raise DeclarationError([Problem("BATCH_DEPENDENT", text, origin.file, origin.line)])
        frame = whole.frame
        records = records.gather(frame[ROW])


@dataclass(frozen=True, slots=True)
class _Cut:
    """Rows of a frame in other batches; `rows` are their places in the frame, batch by batch."""

    rows: pl.Series
    batches: list[pl.DataFrame]


def _cuts(frame: pl.DataFrame) -> Iterator[_Cut]:
    singles = frame.gather_every(-(-frame.height // MAX_SINGLES))
    yield _cut(singles, list(range(singles.height + 1)))
    yield _cut(frame, [0, frame.height // 2, frame.height])
    choice = random.Random(SEED)  # noqa: S311 no secret: splits that repeat
    ends = sorted(choice.randrange(frame.height + 1) for _ in range(PIECES - 1))
    yield _cut(frame.sample(fraction=1, shuffle=True, seed=SEED), [0, *ends, frame.height])


def _cut(frame: pl.DataFrame, places: list[int]) -> _Cut:
    """The frame cut at these places. `_row` ascends, as in every batch."""
    numbered = frame.with_columns(pl.int_range(frame.height, dtype=ROW_TYPE).alias(ROW))
    pairs = [(start, end) for start, end in pairwise(places) if start < end]
    return _Cut(frame[ROW], [numbered.slice(start, end - start) for start, end in pairs])


def _is_the_same(stage: Stage, whole: Processed, cut: _Cut) -> bool:
    """Whether the rows of a cut come out, or are refused, as they are of the whole frame."""
    parts = [run_without_guilty(stage, batch) for batch in cut.batches]
    guilty = cut.rows.gather([row for part in parts for row in _guilty(part)])
    tried = set(cut.rows.to_list())
    if sorted(guilty.to_list()) != [row for row in _guilty(whole) if row in tried]:
        return False
    expected = whole.frame.filter(pl.col(ROW).is_in(cut.rows.implode()))
    frames = [part.frame for part in parts if not part.frame.is_empty()]
    if not frames or expected.is_empty():
        return expected.is_empty() and not frames
    try:
        joined = pl.concat(frames, how="vertical_relaxed")
    except (pl.exceptions.SchemaError, pl.exceptions.ShapeError):
        return False  # other columns, or types that do not go together
    led_back = joined.with_columns(cut.rows.gather(joined[ROW]).alias(ROW))
    ordered = led_back.sort(ROW, maintain_order=True)
    return expected.equals(ordered.cast(expected.schema, strict=False))


def _guilty(processed: Processed) -> list[int]:
    return sorted({item.row for item in processed.quarantined})
