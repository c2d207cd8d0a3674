"""Windows on columns against a computation in plain Python."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.flow.windows import (
    EARLIEST_MS,
    LATEST_MS,
    assign,
    closing,
    closing_sessions,
    has_window,
    is_late,
    is_late_for_session,
    merge_sessions,
    open_sessions,
    stream_times,
)
from headwater.product.windows import LONGEST_MS, TimeWindows, hopping, tumbling

TIMES = st.integers(-60, 60) | st.sampled_from([EARLIEST_MS, LATEST_MS])
Row = tuple[str, int]
Session = tuple[str, int, int]
GAP = 3
LAWS = settings(deadline=None)  # a busy machine breaks no law


def frame(times: Sequence[int | None]) -> pl.DataFrame:
    """Rows of these times."""
    return pl.DataFrame({"at": pl.Series(times, dtype=pl.Int64)}).with_row_index("_row")


def bounds(found: pl.DataFrame) -> list[tuple[int, int, int]]:
    """Which row is in which window."""
    return found.select("_row", "window_start", "window_end").rows()


@given(st.lists(TIMES), st.integers(1, 20), st.integers(1, 20))
@LAWS
def test_a_row_is_in_every_window_around_it(times: list[int], one: int, other: int) -> None:
    """Start <= time < end for each window, by start; before 1970 too; rows keep their order."""
    size, every = max(one, other), min(one, other)
    found = assign(frame(times), TimeWindows(f"{size}ms", f"{every}ms"), time="at")
    expected = [
        (row, start, start + size)
        for row, time in enumerate(times)
        for start in range(time - size, time + 1)
        if start % every == 0 and start <= time < start + size
    ]
    assert bounds(found) == expected
    assert found.schema["window_end"] == pl.Int64()


def test_an_hour_before_1970_starts_below_it() -> None:
    """One millisecond before the epoch is in the window that ends there."""
    assert bounds(assign(frame([-1]), tumbling("1h"), time="at")) == [(0, -3_600_000, 0)]


def test_hopping_by_a_part_that_does_not_divide_keeps_the_other_columns() -> None:
    """A row may be in one window fewer than its neighbour; its columns travel along."""
    given_rows = frame([0, 4]).with_columns(pl.Series("x", ["a", "b"]))
    found = assign(given_rows, hopping("5ms", every="3ms"), time="at")
    assert found.columns == ["_row", "at", "x", "window_start", "window_end"]
    assert found.select("x", "window_start").rows() == [("a", -3), ("a", 0), ("b", 0), ("b", 3)]


@pytest.mark.parametrize("time", [None, EARLIEST_MS - 1, LATEST_MS + 1, 2**63 - 1, -(2**63)])
def test_a_time_without_a_window_is_refused(time: int | None) -> None:
    """Null, or so far off that a bound would leave the calendar: a mask tells, `assign` raises."""
    rows = frame([0, time])
    assert rows.select(has_window("at")).to_series().to_list() == [True, False]
    with pytest.raises(OverflowError, match="years"):
        assign(rows, tumbling("1h"), time="at")
    with pytest.raises(OverflowError, match="years"):
        open_sessions(rows, 1, time="at")


def test_the_outermost_windows_are_within_the_calendar() -> None:
    """The longest window at the last time, plus the longest lateness, is a timestamp still."""
    rows = assign(frame([EARLIEST_MS, LATEST_MS]), tumbling("3660d"), time="at")
    outermost = rows.select(
        pl.col("window_start").cast(pl.Datetime("ms")),
        (pl.col("window_end") + LONGEST_MS).cast(pl.Datetime("ms")),
    )
    years = [year for row in outermost.rows() for year in (row[0].year, row[1].year)]
    assert min(years) >= 1
    assert max(years) <= 9999


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(-9, 9))), st.data())
@LAWS
def test_stream_time_is_per_record_however_rows_are_batched(
    rows: list[tuple[int, int | None]], data: st.DataObject
) -> None:
    """The greatest time of its partition so far, carried from batch to batch."""
    seen: dict[int, int] = {1: -3}
    expected: list[int | None] = []
    for partition, time in rows:
        if time is not None:
            seen[partition] = max(time, seen.get(partition, time))
        expected.append(seen.get(partition))
    cut = data.draw(st.integers(0, len(rows)))
    carried, found = {1: -3}, []
    for batch in (rows[:cut], rows[cut:]):
        partitions = pl.Series([row[0] for row in batch], dtype=pl.Int32)
        times = pl.Series([row[1] for row in batch], dtype=pl.Int64)
        stream = stream_times(times, partitions, carried).to_list()
        found += stream
        carried |= {
            row[0]: time for row, time in zip(batch, stream, strict=True) if time is not None
        }
    assert found == expected


def test_a_row_is_late_for_a_window_that_its_watermark_has_closed() -> None:
    """Reaching the end plus the lateness closes; a hopping window may be late and the next not."""
    rows = frame([12]).with_columns(pl.lit(17).alias("watermark"))
    found = assign(rows, hopping("10ms", every="5ms"), time="at")
    late = found.with_columns(late=is_late("watermark", 2))
    assert late.select("window_end", "late").rows() == [(15, True), (20, False)]
    assert (
        not assign(rows, hopping("10ms", every="5ms"), time="at")
        .select(is_late("watermark", 3).any())
        .item()
    )


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(-20, 20))),
    st.lists(st.integers(-20, 30)).map(sorted),
    st.integers(0, 5),
)
def test_windows_close_in_one_order_however_the_watermark_moves(
    held: list[Row], moves: list[int], lateness: int
) -> None:
    """By end, then key: the same rows in the same order in one move or in many."""
    columns = {"key": pl.String, "window_end": pl.Int64}
    windows = pl.DataFrame(sorted(set(held)), schema=columns, orient="row")
    end = moves[-1] if moves else 0
    whole = closing(windows, end, lateness_ms=lateness, by=["key"])
    steps: list[tuple[object, ...]] = []
    left = windows
    for watermark in [*moves, end]:
        closed = closing(left, watermark, lateness_ms=lateness, by=["key"])
        steps += closed.rows()
        left = left.join(closed, on=["key", "window_end"], how="anti")
    expected = [(key, at) for at, key in sorted((at, key) for key, at in set(held))]
    assert whole.rows() == [row for row in expected if row[1] + lateness <= end]
    assert steps == whole.rows()


def sessions_of(rows: list[Row]) -> list[Session]:
    """Gaps and islands, in plain Python."""
    found: list[Session] = []
    for key, time in sorted(rows):
        if found and found[-1][0] == key and time <= found[-1][2]:
            found[-1] = (key, found[-1][1], time + GAP)
        else:
            found.append((key, time, time + GAP))
    return found


def opened(rows: list[Row]) -> pl.DataFrame:
    """Each row as a session of its own."""
    made = pl.DataFrame(rows, schema={"key": pl.String, "at": pl.Int64}, orient="row")
    return open_sessions(made, GAP, time="at").select("key", "window_start", "window_end")


ROWS = st.lists(st.tuples(st.sampled_from("aab"), st.integers(-10, 10)), max_size=30)


@given(ROWS, st.data())
@LAWS
def test_sessions_are_those_of_all_rows_however_they_arrive(
    rows: list[Row], data: st.DataObject
) -> None:
    """Rows of a later batch join, extend and bridge what is held; the outcome is the batch one."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    held = opened([])
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        together = pl.concat([held, opened(rows[start:end])])
        held = merge_sessions(together, by=["key"]).unique()
    assert sorted(held.rows()) == sessions_of(rows)
    assert merge_sessions(held, by=["key"]).rows() == held.rows()


def test_merging_keeps_the_order_of_rows_and_their_columns() -> None:
    """Aggregates of the rows are merged afterwards, by key and bounds, in the order given."""
    rows = pl.DataFrame({"key": ["a", "b", "a", "a"], "at": [14, 0, 8, 11], "x": [1, 2, 3, 4]})
    found = merge_sessions(open_sessions(rows, GAP, time="at"), by=["key"])
    assert found.select("x", "window_start", "window_end").rows() == [
        (1, 8, 17),
        (2, 0, 3),
        (3, 8, 17),
        (4, 8, 17),
    ]


def test_a_long_session_holds_all_that_falls_into_it() -> None:
    """Also the second of two rows that lie inside it and are far from each other."""
    held = pl.DataFrame({"key": ["a"], "window_start": [0], "window_end": [30]})
    together = pl.concat([held, opened([("a", 5), ("a", 20)])])
    assert merge_sessions(together, by=["key"]).unique().rows() == [("a", 0, 30)]


@given(ROWS, st.integers(0, 4), st.integers(1, 3))
@LAWS
@example(rows=[("a", 0), ("b", 4), ("a", 3)], lateness=1, size=1)
@example(rows=[("a", 0), ("b", 5), ("a", 3)], lateness=1, size=1)
def test_a_session_that_closed_is_never_joined_again(
    rows: list[Row], lateness: int, size: int
) -> None:
    """What is emitted is every session of the rows not late, once, whatever the batches."""
    taken: list[Row] = []
    emitted: list[Session] = []
    held = opened([])
    watermark: int | None = None
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        times = pl.Series([time for _, time in batch], dtype=pl.Int64)
        before = {} if watermark is None else {0: watermark}
        marks = stream_times(times, pl.zeros(len(batch), dtype=pl.Int32, eager=True), before)
        made = pl.DataFrame(batch, schema={"key": pl.String, "at": pl.Int64}, orient="row")
        late = made.with_columns(marks.alias("mark")).select(
            is_late_for_session("at", "mark", lateness)
        )
        on_time = [
            row for row, is_behind in zip(batch, late.to_series(), strict=True) if not is_behind
        ]
        taken += on_time
        held = merge_sessions(pl.concat([held, opened(on_time)]), by=["key"]).unique()
        watermark = marks[-1]
        closed = closing_sessions(held, watermark, lateness_ms=lateness, by=["key"])
        emitted += closed.rows()
        held = held.join(closed, on=held.columns, how="anti")
    expected = sorted(sessions_of(taken), key=lambda each: (each[2], each[0]))
    left = sorted(held.rows(), key=lambda each: (each[2], each[0]))
    assert emitted + left == expected
