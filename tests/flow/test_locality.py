"""A step must not depend on where a batch ends."""

import itertools
from typing import Any

import polars as pl
import pytest

from headwater import DataProduct, Flow
from headwater.errors import DeclarationError
from headwater.flow import MAX_ROWS, ROW, Columns, Plan, check_row_local

COLUMNS: Columns = {"n": pl.Int64(), "x": pl.Float64()}


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def rows(count: int) -> pl.DataFrame:
    """A frame with numbers from 0, every fifth x missing or NaN."""
    frame = pl.DataFrame(
        {ROW: range(count), "n": range(count)}, schema={ROW: pl.UInt32, "n": pl.Int64}
    )
    n = pl.col("n")
    return frame.with_columns(
        x=pl.when(n % 10 == 5).then(None).when(n % 10 == 0).then(float("nan")).otherwise(n / 2)
    )


counter = itertools.count()


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Numbers rows over all calls."""
    return frame.with_columns(n=pl.Series([next(counter) for _ in frame["n"]], dtype=pl.Int64))


def halved_and_unique(frame: pl.DataFrame) -> pl.DataFrame:
    """Drops a row that repeats the one before."""
    halved = frame.with_columns(n=pl.col("n") // 2)
    return halved.unique("n", keep="first", maintain_order=True)


DEPENDENT = {
    "mean": stream().filter(pl.col("n") > pl.col("n").mean()),
    "length": stream().with_columns(size=pl.len()),
    "shift": stream().select(before=pl.col("n").shift(1)),
    "sum so far": stream().select(total=pl.col("n").cum_sum()),
    "sort": stream().map(lambda f: f.drop(ROW).sort("n", descending=True)),
    "first only": stream().map(lambda f: f.head(1)),
    "unique": stream().map(halved_and_unique),
    "counter": stream().map(numbered),
}


DIVIDED: dict[str, Flow] = {
    "select": stream().select("n", share=pl.col("n") / 7),
    "with_columns": stream().with_columns(share=pl.col("n") / 7),
    "filter": stream().filter(pl.col("n") / 7 * 7 == pl.col("n")),
    "sql": stream().sql("SELECT n / 7.0 AS share FROM events WHERE n / 7.0 * 7.0 = n"),
}


@pytest.mark.parametrize("kind", DIVIDED)
def test_a_row_alone_is_computed_as_among_others(kind: str) -> None:
    """To the last bit: Polars divides a single value by a number otherwise than a column."""
    plan = Plan(DIVIDED[kind], COLUMNS)
    frame = rows(2_000)
    check_row_local(plan, frame)
    whole = plan.process(frame).frame
    alone = pl.concat([plan.process(frame.slice(row, 1)).frame for row in range(200)])
    assert not alone.is_empty()
    assert alone.equals(whole.filter(pl.col(ROW) < 200))
    chunks = pl.concat([frame.slice(row, 1) for row in range(200)], rechunk=False)
    assert plan.process(chunks).frame.equals(alone)


@pytest.mark.parametrize("name", DEPENDENT)
def test_a_step_that_looks_beyond_its_row_is_found(name: str) -> None:
    """Whatever it looks at: neighbours, aggregates, or its own memory."""
    flow = DEPENDENT[name]
    with pytest.raises(DeclarationError) as caught:
        check_row_local(Plan(flow, COLUMNS), rows(100))
    problem = caught.value.problems[0]
    assert problem.code == "BATCH_DEPENDENT"
    assert problem.message.startswith(flow.steps[0].name)
    assert (problem.file, problem.line) == (flow.steps[0].origin.file, flow.steps[0].origin.line)


def test_the_step_to_blame_is_named_among_several() -> None:
    """A row-local step before it is not accused."""
    flow = stream().filter(pl.col("n") > 3).with_columns(pl.col("x").fill_null(strategy="forward"))
    with pytest.raises(DeclarationError, match="with-columns-1 gives other rows"):
        check_row_local(Plan(flow, COLUMNS), rows(100))


def fails_for_some(frame: pl.DataFrame) -> pl.DataFrame:
    """Raises when a number ends in 7."""
    if (frame["n"] % 10 == 7).any():
        raise ValueError
    return frame


def odd_only(event: dict[str, Any]) -> dict[str, Any] | None:
    """Odd events only; raises for 21."""
    if event["n"] == 21:
        raise ValueError
    return event if event["n"] % 2 else None


LOCAL = {
    "expressions": stream().filter(pl.col("x") > 3).select("n", y=pl.col("x") * 2, k=pl.lit("a")),
    "NaN and null": stream().with_columns(y=pl.col("x") + 1),
    "rows that fail": stream().map(fails_for_some),
    "events": stream().map_events(odd_only),
    "fan-out": stream().map(lambda f: pl.concat([f, f]).sort(ROW, maintain_order=True)),
    "no rows left": stream().filter(pl.lit(value=False)).select("n"),
}


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_a_step_that_looks_at_its_row_alone_passes(name: str, count: int) -> None:
    """Dropped, repeated and failing rows are no dependence."""
    check_row_local(Plan(LOCAL[name], COLUMNS, COLUMNS), rows(count))


def late_repeats(frame: pl.DataFrame) -> pl.DataFrame:
    """Drops repeats, which come only after the first 300 rows."""
    return frame.with_columns(n=pl.col("n").clip(None, 300)).unique("n", maintain_order=True)


LATE = {
    "the first 500": stream().map(lambda f: f.head(500)),
    "places below 300": stream().filter(pl.int_range(pl.len()) < 300),
    "late repeats": stream().map(late_repeats),
    "the greatest": stream().map(lambda f: f.with_columns(n=f["n"].clip(300, None).max())),
    "sorted, of sorted rows": stream().map(lambda f: f.drop(ROW).sort("n")),
    "a column sorted, of sorted rows": stream().select(pl.col("n").sort()),
    "places in the batch": stream().map(lambda f: f.filter(pl.col(ROW) % 3 > 0)),
}


@pytest.mark.parametrize("name", LATE)
def test_a_dependence_that_shows_only_late_in_a_batch_is_found(name: str) -> None:
    """The whole first batch is proof, in its own order and in another."""
    with pytest.raises(DeclarationError, match="BATCH_DEPENDENT"):
        check_row_local(Plan(LATE[name], COLUMNS), rows(1_200))


def test_fan_out_before_a_step_is_no_dependence() -> None:
    """A `_row` that stands several times leads back to the same record each time."""
    twice = stream().map(lambda f: pl.concat([f, f]).sort(ROW, maintain_order=True))
    check_row_local(Plan(twice.map(fails_for_some).filter(pl.col("n") > 3), COLUMNS), rows(1_000))


def test_the_check_looks_at_a_bounded_number_of_rows() -> None:
    """Its cost must not grow with the batch; a driver may ask for all rows."""
    sizes: list[int] = []

    def watched(frame: pl.DataFrame) -> pl.DataFrame:
        sizes.append(frame.height)
        return frame

    plan = Plan(stream().map(watched), COLUMNS)
    check_row_local(plan, rows(MAX_ROWS * 2))
    assert max(sizes) == MAX_ROWS
    assert len(sizes) < 100
    check_row_local(plan, rows(MAX_ROWS * 2), max_rows=MAX_ROWS * 2)
    assert max(sizes) == MAX_ROWS * 2
