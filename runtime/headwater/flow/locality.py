"""Proves on real rows that no step depends on where a batch ends (promise 4)."""

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import polars as pl

from headwater.errors import DeclarationError, Problem
from headwater.flow.blame import run_without_guilty
from headwater.flow.plan import Plan
from headwater.flow.stage import Processed, Stage

MAX_ROWS: Final = 256  # enough to hold every kind of row, few enough for the start of a run
MAX_SINGLES: Final = 64  # one run per row costs about 0.2 ms
RANDOM_SPLITS: Final = 3
SEED: Final = 20130101  # the same splits in every run: a finding can be had again


def check_row_local(plan: Plan, frame: pl.DataFrame) -> None:
    """Run each step on other splits of the first rows of `frame` and compare.

    Splits: one by one, halves, random ones. Costs some tens of milliseconds.
    Raises DeclarationError with BATCH_DEPENDENT for the first step that gives another result.
    """
    frame = frame.head(MAX_ROWS)
    for stage in plan.stages:
        if frame.is_empty():
            return
        whole = run_without_guilty(stage, frame)
        if any(not _equal(stage, part, pieces) for part, pieces in _splits(frame)):
            step = stage.step
            text = (
                f"{step.name} gives other rows when the same records come in other batches;"
                " make it look at one row at a time"
            )
            origin = step.origin
            raise DeclarationError([Problem("BATCH_DEPENDENT", text, origin.file, origin.line)])
        frame = whole.frame


def _splits(frame: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, list[pl.DataFrame]]]:
    """Frames with the pieces they are cut into."""
    singles = frame.head(MAX_SINGLES)
    yield singles, [singles.slice(row, 1) for row in range(singles.height)]
    yield frame, [frame.head(frame.height // 2), frame.slice(frame.height // 2)]
    choice = random.Random(SEED)  # noqa: S311 no secret: splits that repeat
    for _ in range(RANDOM_SPLITS):
        ends = sorted(choice.randrange(frame.height + 1) for _ in range(RANDOM_SPLITS))
        places = [0, *ends, frame.height]
        yield frame, [frame.slice(start, end - start) for start, end in pairwise(places)]


def _equal(stage: Stage, frame: pl.DataFrame, pieces: list[pl.DataFrame]) -> bool:
    whole = run_without_guilty(stage, frame)
    parts = [run_without_guilty(stage, piece) for piece in pieces if not piece.is_empty()]
    if _guilty(whole) != [row for part in parts for row in _guilty(part)]:
        return False
    frames = [part.frame for part in parts if not part.frame.is_empty()]
    if not frames or whole.frame.is_empty():
        return whole.frame.is_empty() and not frames
    try:
        joined = pl.concat(frames, how="vertical_relaxed")
    except (pl.exceptions.SchemaError, pl.exceptions.ShapeError):
        return False  # other columns, or types that do not go together
    return whole.frame.equals(joined.cast(whole.frame.schema, strict=False))


def _guilty(processed: Processed) -> list[int]:
    return sorted({item.row for item in processed.quarantined})
