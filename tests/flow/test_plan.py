"""Steps on frames: what comes out, what is refused, who is to blame."""

import functools
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import DataProduct, Flow
from headwater.errors import DeclarationError
from headwater.flow import ROW, Columns, Plan, Processed
from headwater.model import Code

COLUMNS: Columns = {"id": pl.String(), "n": pl.Int64(), "x": pl.Float64()}
FILE = Path(__file__).name


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def rows(*numbers: int | None) -> pl.DataFrame:
    """A frame with one row per number."""
    data = {
        "id": [f"r{i}" for i in range(len(numbers))],
        "n": list(numbers),
        "x": [0.5] * len(numbers),
    }
    index = pl.Series(ROW, range(len(numbers)), dtype=pl.UInt32)
    return pl.DataFrame(data, schema=COLUMNS).insert_column(0, index)


def run(flow: Flow, frame: pl.DataFrame) -> Processed:
    """A flow on a frame."""
    return Plan(flow, COLUMNS).process(frame)


def refused(flow: Flow, columns: Columns = COLUMNS, output: Columns | None = None) -> list[str]:
    """The problems of a flow that cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, columns, output)
    assert all(p.file and p.line for p in caught.value.problems)
    return [f"{p.code} {p.message}" for p in caught.value.problems]


def test_expressions_keep_the_row() -> None:
    """filter, with_columns and select carry `_row` beside the author's columns."""
    flow = stream().filter(pl.col("n") > 1, pl.col("x") < 1).with_columns(m=pl.col("n") * 2)
    done = run(flow.select("id", double="m"), rows(1, 2, None, 3))
    assert done.frame.to_dict(as_series=False) == {
        "_row": [1, 3],
        "id": ["r1", "r3"],
        "double": [4, 6],
    }
    assert done.frame.schema[ROW] == pl.UInt32
    assert done.quarantined == []


def test_expressions_never_see_the_row() -> None:
    """`pl.all()` means the author's columns."""
    flow = stream().with_columns(pl.all().exclude("id") * 2).select(pl.all().exclude("id"))
    done = run(flow, rows(1, 2))
    assert done.frame.to_dict(as_series=False) == {"_row": [0, 1], "n": [2, 4], "x": [1.0, 1.0]}


def test_a_constant_is_a_column_as_high_as_the_frame() -> None:
    """A predicate or column without a column in it stands for every row."""
    done = run(stream().filter(pl.lit(value=True)).select(kind=pl.lit("a")), rows(1, 2))
    assert done.frame["kind"].to_list() == ["a", "a"]


def test_a_plan_knows_the_columns_that_come_out() -> None:
    """Types are learnt without data."""
    plan = Plan(stream().select("id", late=pl.col("x") > 1), COLUMNS)
    assert plan.columns == {"id": pl.String(), "late": pl.Boolean()}


def test_every_unknown_column_is_told_with_the_nearest_that_is_there() -> None:
    """A mistake in one step does not hide that of a later one."""
    flow = (
        stream()
        .filter(pl.col("nn") > 1)
        .filter(pl.col("ids").is_null())
        .select(pl.col("id") + pl.col("n"))
    )
    found = refused(flow)
    assert found[:2] == [
        "UNKNOWN_COLUMN filter-1: no column 'nn' here; did you mean 'n'?",
        "UNKNOWN_COLUMN filter-2: no column 'ids' here; did you mean 'id'?",
    ]
    assert found[2].startswith("INVALID_STEP select-1: InvalidOperationError: ")


def test_a_map_may_drop_the_row_when_it_keeps_the_rows() -> None:
    """`_row` is put back by position."""
    done = run(stream().map(lambda f: f.select(m=pl.col("n") + 1)), rows(1, 2))
    assert done.frame.to_dict(as_series=False) == {"_row": [0, 1], "m": [2, 3]}


def test_a_map_that_keeps_the_row_may_drop_and_repeat_rows() -> None:
    """Rows are led back by the column, not by their place."""
    done = run(stream().map(lambda f: pl.concat([f, f]).filter(pl.col("n") > 1)), rows(1, 2))
    assert done.frame[ROW].to_list() == [1, 1]


def test_a_map_that_loses_rows_is_told_about_filter() -> None:
    """Without `_row` nobody can say which rows are gone."""
    plan = Plan(stream().map(lambda f: f.drop(ROW).head(1)), COLUMNS)
    with pytest.raises(DeclarationError, match=r"ROWS_LOST: map-1: .*\.filter\(\)"):
        plan.process(rows(1, 2))


@pytest.mark.parametrize(
    "forge", [pl.col(ROW) + 1, pl.col(ROW).cast(pl.Int64), pl.lit(None, pl.UInt32).alias(ROW)]
)
def test_a_map_cannot_forge_the_row(forge: pl.Expr) -> None:
    """A row that was not given leads nowhere."""
    plan = Plan(stream().map(lambda f: f if f.is_empty() else f.with_columns(forge)), COLUMNS)
    with pytest.raises(DeclarationError, match="ROWS_LOST"):
        plan.process(rows(1, 2))


def test_a_map_that_returns_no_frame_is_refused() -> None:
    """Without data already."""
    assert refused(stream().map(lambda f: f["n"]))[0].startswith(  # type: ignore[arg-type, return-value]
        "INVALID_STEP map-1: returned Series"
    )


def test_a_map_that_misses_a_column_is_told_with_its_own_line() -> None:
    """The line is that in the function, not that of the step."""

    def broken(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(pl.col("m"))

    with pytest.raises(DeclarationError) as caught:
        Plan(stream().map(broken), COLUMNS)
    assert caught.value.problems[0].line == broken.__code__.co_firstlineno + 1


def test_a_map_that_needs_rows_leaves_the_columns_unknown() -> None:
    """What it makes of data is seen when there is data; later steps still run."""

    def needy(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(first=pl.lit(frame["id"].to_list()[0]))

    plan = Plan(stream().map(needy).select("first"), COLUMNS)
    assert plan.columns is None
    assert plan.process(rows(1)).frame["first"].to_list() == ["r0"]


def refuse_odd(frame: pl.DataFrame) -> pl.DataFrame:
    """Raises with a payload in its message when any number is odd."""
    odd = frame.filter(pl.col("n") % 2 == 1)
    if odd.height:
        raise ValueError(f"secret {odd['id'].to_list()}")
    return frame


def test_a_failing_map_is_halved_down_to_its_guilty_rows() -> None:
    """The good rows go through in order, the guilty ones stand alone."""
    numbers = [2] * 100
    numbers[17] = numbers[18] = numbers[99] = 3
    done = run(stream().map(refuse_odd), rows(*numbers))
    assert [q.row for q in done.quarantined] == [17, 18, 99]
    assert done.frame[ROW].to_list() == [i for i in range(100) if numbers[i] == 2]


def test_a_quarantine_names_type_step_and_line_but_never_the_text() -> None:
    """An exception's text may hold the payload."""
    quarantined = run(stream().map(refuse_odd), rows(1)).quarantined
    line = refuse_odd.__code__.co_firstlineno + 4
    assert [(q.code, q.step) for q in quarantined] == [(Code.STEP_FAILED, "map-1")]
    assert (
        quarantined[0].message
        == f"ValueError in step map-1 (refuse_odd) at tests/flow/{FILE}:{line}"
    )


def test_a_failing_expression_blames_the_line_of_its_step() -> None:
    """A strict cast of one bad text quarantines one row; the text does not leak."""
    flow = stream().with_columns(number=pl.col("id").str.slice(1).cast(pl.Int64) // pl.col("n"))
    frame = rows(1, 2, 3).with_columns(id=pl.Series(["r1", "rsecret", "r3"]))
    done = run(flow, frame)
    assert [q.row for q in done.quarantined] == [1]
    assert "secret" not in done.quarantined[0].message
    assert f"at tests/flow/{FILE}:{flow.steps[0].origin.line}" in done.quarantined[0].message


def test_all_rows_guilty_gives_an_empty_frame_with_the_known_columns() -> None:
    """Whoever encodes next finds the columns it expects."""
    done = run(stream().map(refuse_odd).select("id"), rows(1, 3))
    assert done.frame.schema == {ROW: pl.UInt32, "id": pl.String}
    assert len(done.quarantined) == 2


def test_all_that_was_made_of_a_guilty_record_goes_with_it() -> None:
    """All or nothing per input record: an earlier step may have made several rows of it."""

    def twice(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([frame, frame.with_columns(pl.col("n") + 1)]).sort(
            ROW, maintain_order=True
        )

    done = run(stream().map(twice).map(refuse_odd), rows(2, 4))
    assert [q.row for q in done.quarantined] == [0, 1]
    assert done.frame.is_empty()


def test_a_missing_column_at_run_time_is_an_error_not_a_batch_of_dead_letters() -> None:
    """It would fail for every row: halving would bury the mistake in quarantine."""
    calls = 0

    def broken(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal calls
        calls += 1
        return frame if frame.is_empty() and calls == 1 else frame.select("nowhere")

    plan = Plan(stream().map(broken), COLUMNS)
    with pytest.raises(DeclarationError, match="UNKNOWN_COLUMN: map-1: no column 'nowhere'"):
        plan.process(rows(*range(1000)))
    assert calls < 10


def test_an_empty_frame_runs_no_author_code() -> None:
    """A batch without rows asks nothing of a step."""

    def never(frame: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError(frame)

    flow = stream().map(never)
    assert run(flow, rows()).frame.is_empty()


def test_a_flow_without_steps_hands_the_frame_through() -> None:
    """Publishing an input as it is needs no step."""
    frame = rows(1, 2)
    assert run(stream(), frame).frame.equals(frame)


def test_an_interrupt_is_not_a_bad_row() -> None:
    """Only exceptions of the author's code are quarantined."""

    def interrupted(frame: pl.DataFrame) -> pl.DataFrame:
        if frame.height:
            raise KeyboardInterrupt
        return frame

    with pytest.raises(KeyboardInterrupt):
        run(stream().map(interrupted), rows(1, 2))


def takes_anything(value: Any) -> Any:
    """For a predicate that is none."""
    return value


def test_a_predicate_that_is_no_truth_value_is_refused() -> None:
    """A filter on a number is a mistake, told without data."""
    assert refused(stream().filter(takes_anything(pl.col("id"))))[0].startswith(
        "INVALID_STEP filter-1"
    )


def test_a_step_without_a_function_is_refused() -> None:
    """Told without data, not found as a column nobody knows."""
    assert refused(stream().map(takes_anything("name")))[0].startswith("INVALID_STEP map-1: takes")


def test_a_map_that_reorders_rows_is_refused_on_every_batch() -> None:
    """Outputs of one key keep the order of their inputs, whatever the first batch showed."""
    plan = Plan(stream().map(lambda f: f.sort("n")), COLUMNS)
    assert plan.process(rows(1, 2, 2, 3)).frame[ROW].to_list() == [0, 1, 2, 3]
    with pytest.raises(DeclarationError, match=r"test_plan\.py:\d+: ROWS_REORDERED: map-1: "):
        plan.process(rows(1, 3, 2))


def leave(_: object) -> Any:
    """Ends the process."""
    raise SystemExit(3)


def test_a_step_that_exits_is_a_step_that_fails() -> None:
    """One record must not end the runtime; it is quarantined."""

    def leave_at_two(frame: pl.DataFrame) -> pl.DataFrame:
        return leave(frame) if 2 in frame["n"] else frame

    done = run(stream().map(leave_at_two), rows(1, 2, 3))
    assert [(q.row, q.code) for q in done.quarantined] == [(1, Code.STEP_FAILED)]
    assert "SystemExit in step map-1" in done.quarantined[0].message
    assert Plan(stream().map(leave), COLUMNS).columns is None


def test_an_interrupt_in_a_step_is_not_held_back() -> None:
    """Ctrl-C means the process, wherever it strikes."""

    def interrupted(_: pl.DataFrame) -> pl.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plan(stream().map(interrupted), COLUMNS)


async def later(_: object) -> object:
    """Nobody awaits it."""
    return None


async def one_by_one(_: object) -> Any:
    """Nobody iterates it."""
    yield None


class Later:
    """An object that is called like a function."""

    async def __call__(self, _: object) -> object:
        """Nobody awaits it."""
        return None


@pytest.mark.parametrize("function", [later, one_by_one, Later(), functools.partial(later)])
def test_an_asynchronous_function_is_refused_at_declaration(function: Any) -> None:
    """Its coroutine would never run; every record would be quarantined instead."""
    for flow in (stream().map(function), stream().map_events(function)):
        (problem,) = refused(flow, output=COLUMNS)
        assert problem.startswith("INVALID_STEP map")
        assert "`async def`" in problem


@pytest.mark.parametrize("predicate", [True, 1, None, object()])
def test_a_predicate_that_is_no_expression_is_refused(predicate: Any) -> None:
    """`filter(True)` is a mistake of the author's, told with its line."""
    (problem,) = refused(stream().filter(predicate))
    assert problem.startswith("INVALID_STEP filter-1: TypeError: a predicate is an expression or")


@pytest.mark.parametrize("name", ["_offset", "_Partition", "_key"])
def test_a_step_cannot_make_a_column_of_headwaters_own(name: str) -> None:
    """It would be dropped in silence; tables ignore case."""
    for flow in (
        stream().with_columns(pl.lit(0).alias(name)),
        stream().map(lambda f: f.with_columns(pl.lit(0).alias(name))),
    ):
        (problem,) = refused(flow)
        assert problem.startswith(f"RESERVED_NAME {flow.steps[0].name}: the name {name}")
