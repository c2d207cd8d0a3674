"""Rows for which a step raises are found with few runs, and the others lose nothing."""

from random import Random
from typing import Final

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import DataProduct
from headwater.flow import ROW, Plan
from headwater.model import Code

ROWS: Final = 10_000
PATTERNS: Final = {
    "evenly": range(500, ROWS, 1_000),
    "side by side": range(5_000, 5_010),
    "by chance": sorted(Random(7).sample(range(ROWS), 10)),
    "in two places": [*range(5), *range(ROWS - 5, ROWS)],
}


class Strict:
    """A step that raises when a row of its frame is bad, and counts what that costs."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = pl.Series(sorted(bad), dtype=pl.Int64)
        self.runs = 0
        self.rows = 0

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame as it is."""
        self.runs += 1
        self.rows += frame.height
        if frame["id"].is_in(self.bad.implode()).any():
            raise ValueError
        return frame


def processed(strict: Strict, rows: int) -> tuple[list[int], list[int]]:
    """The rows that went through, and the quarantined, of so many."""
    flow = DataProduct("a.b", owner="me@x.example").stream("a.in", contract=1).map(strict)
    plan = Plan(flow, {"id": pl.Int64()})
    strict.runs = strict.rows = 0
    ids = pl.int_range(rows, dtype=pl.Int64, eager=True).alias("id")
    done = plan.process(pl.DataFrame([ids.cast(pl.UInt32).alias(ROW), ids]))
    assert {each.code for each in done.quarantined} <= {Code.STEP_FAILED}
    assert done.frame["id"].to_list() == done.frame[ROW].to_list()
    return done.frame["id"].to_list(), [each.row for each in done.quarantined]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_whatever_rows_are_guilty_all_others_go_through_in_order(
    case: tuple[int, set[int]],
) -> None:
    """Exactly the guilty rows are quarantined, wherever they stand."""
    rows, bad = case
    good = [row for row in range(rows) if row not in bad]
    assert processed(Strict(bad), rows) == (good, sorted(bad))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_guilty_row_in_a_thousand_costs_few_runs(pattern: str) -> None:
    """Halving alone would take 14 runs for each of ten rows, over six times the rows."""
    strict = Strict(set(PATTERNS[pattern]))
    _, guilty = processed(strict, ROWS)
    assert guilty == list(PATTERNS[pattern])
    assert strict.runs <= 150
    assert strict.rows <= 6 * ROWS


def test_a_batch_of_guilty_rows_costs_a_run_each() -> None:
    """The worst batch: every row raises, and none is tried twice but a few."""
    strict = Strict(set(range(1_000)))
    assert processed(strict, 1_000) == ([], list(range(1_000)))
    assert strict.runs <= 1_000 + 20


def test_what_goes_through_is_in_one_piece() -> None:
    """Steps and encoders behind would pay for each piece of a column."""
    strict = Strict(set(PATTERNS["evenly"]))
    flow = DataProduct("a.b", owner="me@x.example").stream("a.in", contract=1).map(strict)
    ids = pl.int_range(ROWS, dtype=pl.Int64, eager=True).alias("id")
    frame = pl.DataFrame([ids.cast(pl.UInt32).alias(ROW), ids])
    done = Plan(flow, {"id": pl.Int64()}).process(frame)
    assert done.frame["id"].n_chunks() == 1
