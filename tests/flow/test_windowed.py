"""Windows in a flow against a computation in plain Python."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.windowing import (
    COLUMNS,
    CUTS,
    EVENTS,
    LATENESS,
    TASKS,
    Event,
    Oracle,
    Result,
    Running,
    counted,
    cut,
    of_task,
    results,
    stream,
    windowed,
)

from headwater import Flow, aggregates, hopping, session, tumbling
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.errors import DeclarationError
from headwater.flow import ROW, Ground, Plan, check_row_local
from headwater.flow.grouping import rekey_needed
from headwater.model import Code
from headwater.product import WindowedAggregate
from headwater.product.steps import Emission
from headwater.product.windows import TimeWindows, Windows

TIME_WINDOWS = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(
    lambda pair: TimeWindows(f"{max(pair)}ms", f"{min(pair)}ms")
)


def oracle_of(windows: TimeWindows, lateness: str, emit: Emission) -> Oracle:
    """The same in plain Python."""
    wait_ms = 0 if lateness == "0s" else int(lateness.removesuffix("ms"))
    return Oracle(windows.size_ms, windows.every_ms, wait_ms, emit == "on_change")


@given(EVENTS, CUTS, TIME_WINDOWS, LATENESS, st.sampled_from(["on_close", "on_change"]))
def test_windows_are_those_of_one_record_after_the_other(
    events: list[Event], ends: list[int], windows: TimeWindows, lateness: str, emit: Emission
) -> None:
    """Tumbling and hopping, told once or with each change: the same rows in the same order."""
    running, oracle = Running(windowed(windows, lateness, emit)), oracle_of(windows, lateness, emit)
    found = [row for part in cut(of_task(events), ends) for row in results(running.run(part))]
    for event in of_task(events):
        oracle.run(event)
    assert found == oracle.told
    assert running.late == oracle.late


@given(EVENTS, CUTS, TIME_WINDOWS)
def test_tasks_do_not_see_each_other(
    events: list[Event], ends: list[int], windows: TimeWindows
) -> None:
    """Each closes by its own watermark; together they tell what each would tell alone."""
    together, apart = Running(windowed(windows)), [Running(windowed(windows)) for _ in range(TASKS)]
    found = [row for part in cut(events, ends) for row in results(together.run(part))]
    wanted = [
        row for task in range(TASKS) for row in results(apart[task].run(of_task(events, task)))
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


Fate = st.sampled_from(["keep", "drop", "commit", "abort", "restart"])


@given(
    EVENTS,
    st.lists(Fate, max_size=12),
    TIME_WINDOWS | st.just(session(gap="4ms")),
    LATENESS,
    st.sampled_from(["on_close", "on_change"]),
)
def test_what_is_dropped_aborted_or_interrupted_leaves_no_trace(
    events: list[Event], fates: list[str], windows: Windows, lateness: str, emit: Emission
) -> None:
    """Batches that are run again, transactions that are, and restarts: told is the same."""
    running, undisturbed = (
        Running(windowed(windows, lateness, emit)),
        Running(windowed(windows, lateness, emit)),
    )
    told: list[Result] = []
    committed: tuple[int, dict[int, int], list[Result]] = (0, {}, [])
    place = 0
    for fate in [*fates, "keep"]:
        part = events[place : place + 5]
        frame, reached = running.tried(part)
        if fate == "drop":
            running.store.drop()
            continue
        running.keep(len(part), reached)
        told += results(frame)
        place += len(part)
        if fate == "commit":
            running.commit()
            committed = (place, reached, list(told))
        elif fate in {"abort", "restart"}:
            running.store.aborted()
            place, running.reached, told = committed[0], committed[1], list(committed[2])
        if fate == "restart":
            running.restart()
    told += results(running.run(events[place:]))
    whole = results(undisturbed.run(events))
    assert sorted(map(repr, told)) == sorted(map(repr, whole))


@given(EVENTS, CUTS)
def test_running_aggregates_tell_a_row_for_each_row(events: list[Event], ends: list[int]) -> None:
    """The group so far, the row itself included, whatever the batches; by task, as state is."""
    flow = (
        stream()
        .group_by(["kind", "id"])
        .agg(n=aggregates.count(), total=aggregates.sum("x"), low=aggregates.min("x"))
    )
    running, oracle = Running(flow), Oracle(1, 1)
    found = [row for part in cut(events, ends) for row in running.run(part).drop(ROW).rows()]
    wanted = []
    for place, event in enumerate(events):
        group = event[:3]
        held = [each.x for each in events[: place + 1] if each[:3] == group]
        row = oracle.result(event.id, event.kind, 0, held)
        wanted.append((*row[:2], *row[4:]))
    assert found == wanted


def test_windows_on_disk_close_after_a_restart(tmp_path: Path) -> None:
    """What is due is found again in the store; of a pane told in part only the rest is told."""
    stores = RocksDbStores(tmp_path, RocksDbMemory(8 << 20))
    running = Running(windowed(hopping("4ms", every="2ms")), stores)
    running.run([Event(0, "a", 1, 1.0, 1), Event(1, "b", 1, 1.0, 1)])
    assert results(running.run([Event(0, "a", 1, 2.0, 3)])) == [(1, "a", -2, 2, 1, 1.0, 1.0)]
    running.commit()
    running.restart()
    later = running.run([], {0: 100, 1: 2})
    assert results(later) == [
        (1, "a", 0, 4, 2, 3.0, 1.0),
        (1, "a", 2, 6, 1, 2.0, 2.0),
        (1, "b", -2, 2, 1, 1.0, 1.0),
    ]
    assert later[ROW].to_list() == [0, 0, 0], "no record of the empty batch made them"
    assert later.schema["window_end"] == pl.Datetime("ms", "UTC")
    for task in range(TASKS):
        running.store.release(task)


def test_first_last_and_lists_are_by_event_time() -> None:
    """Not by arrival; of one time by offset."""
    made = stream().group_by("id").window(tumbling("10ms"), allowed_lateness="5ms")
    flow = made.agg(
        first=aggregates.first("x"), last=aggregates.last("x"), all=aggregates.collect("x", limit=3)
    )
    running = Running(flow)
    running.run([Event(0, "a", 1, 5.0, 5), Event(0, "a", 1, 2.0, 2)])
    running.run([Event(0, "a", 1, None, 7), Event(0, "a", 1, 6.0, 5)])
    frame = running.run([], {0: 15})
    assert frame.select("first", "last", "all").rows() == [(2.0, None, [2.0, 5.0, 6.0])]


def quarantined(running: Running, events: Sequence[Event]) -> list[tuple[int, Code]]:
    """The rows refused, and why."""
    running.tried(events)
    return [(each.row, each.code) for each in running.quarantined]


def test_rows_without_a_window_are_refused() -> None:
    """No event time, one outside the calendar, and a number that cannot be summed exactly."""
    events = [
        Event(0, "a", 1, 1.0, None),
        Event(0, "a", 1, 1.0, 2**62),
        Event(0, "a", 1, 1e30, 1),
        Event(0, "a", 1, 1.0, 1),
    ]
    for windows in (tumbling("1h"), session(gap="1h")):
        found = quarantined(Running(windowed(windows)), events[:1] + events[2:])
        assert found == [(0, Code.NO_EVENT_TIME), (1, Code.NUMBER_TOO_LARGE)]
        assert quarantined(Running(windowed(windows)), events[1:2]) == [(0, Code.NO_EVENT_TIME)]


@pytest.mark.parametrize(
    "windows", [tumbling("5ms"), hopping("5ms", every="2ms"), session(gap="1ms")]
)
def test_late_rows_are_dead_letters_where_declared(windows: Windows) -> None:
    """Only what is late for every window it is in; nothing is counted twice."""
    flow = counted(stream().group_by(["kind", "id"]).window(windows, late="dead-letter"))
    running = Running(flow)
    events = [Event(0, "a", 1, 1.0, 1), Event(0, "a", 1, 1.0, 20), Event(0, "a", 1, 1.0, 2)]
    assert quarantined(running, events) == [(2, Code.LATE)]
    assert running.counted == 0


def test_steps_behind_a_window_are_tried_on_rows_like_its_own() -> None:
    """The proof that they do not depend on batches sees the columns of windows."""
    grouped = stream().group_by(["id"]).window(tumbling("1h"))
    rows = pl.DataFrame(
        {ROW: [0, 1, 2], "id": ["a", "b", "a"], "kind": [1, 1, 2], "x": [1.0, 2.0, 3.0]},
        schema={ROW: pl.UInt32, **COLUMNS},
    )
    sound = grouped.agg(n=aggregates.count()).filter(pl.col("n") > 0)
    check_row_local(Plan(sound, COLUMNS, ground=Ground(("id",), event_time="at")), rows)
    running = stream().group_by("id").agg(total=aggregates.sum("x"))
    for flow in (grouped.agg(total=aggregates.sum("x")), running):
        broken = flow.with_columns(all=pl.col("total").sum())
        with pytest.raises(DeclarationError, match="BATCH_DEPENDENT"):
            check_row_local(Plan(broken, COLUMNS, ground=Ground(("id",), event_time="at")), rows)


def refused(flow: Flow, key: tuple[str, ...] = ("id",)) -> str:
    """The problem of a flow that cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS, ground=Ground(key, event_time="at"))
    (problem,) = caught.value.problems
    assert problem.file == __file__
    return f"{problem.code} {problem.message}"


def test_mistakes_are_told_without_data() -> None:
    """Groups, windows, aggregates and policies, each with a sentence."""
    n = aggregates.count()
    by_id = stream().group_by("id")
    assert refused(stream().group_by("kind").agg(n=n)) == (
        "NOT_THE_KEY agg-1: groups by kind, but the stream is keyed by id; add the key to the "
        "group, or put .rekey('kind') before it"
    )
    assert refused(by_id.agg(n=n), ()).startswith("NOT_THE_KEY agg-1: the contract of the stream")
    assert "UNKNOWN_COLUMN" in refused(stream().group_by("idd").agg(n=n))
    assert "compare exactly" in refused(stream().group_by(["id", "x"]).agg(n=n))
    assert "at least one" in refused(stream().group_by([]).agg(n=n))
    assert "computes nothing" in refused(by_id.agg())
    assert "COLUMN_CLASH" in refused(by_id.agg(id=n))
    assert "AGGREGATE agg-1: n: sum takes numbers" in refused(by_id.agg(n=aggregates.sum("id")))
    assert "no running result" in refused(by_id.agg(n=aggregates.collect("x", limit=2)))
    assert "no duration" in refused(by_id.window(tumbling("1x")).agg(n=n))
    assert "allowed_lateness='x'" in refused(
        by_id.window(tumbling("1h"), allowed_lateness="x").agg(n=n)
    )
    assert "emit='never' is none of" in refused(
        by_id.window(tumbling("1h"), emit="never").agg(n=n)  # type: ignore[arg-type]  # the mistake
    )
    assert "no running result" in refused(
        by_id.window(session(gap="1h"), emit="on_change").agg(n=aggregates.collect("x", limit=2))
    )
    assert "bound of the window" in refused(by_id.window(tumbling("1h")).agg(window_end=n))
    assert "BEHIND_WINDOW" in refused(
        by_id.window(tumbling("1h")).agg(n=n).latest("id", by="window_end")
    )
    with pytest.raises(DeclarationError, match="NO_EVENT_TIME: window-1: works on event time"):
        Plan(by_id.window(tumbling("1h")).agg(n=n), COLUMNS, ground=Ground(("id",)))


def test_a_group_without_the_key_tells_what_the_stream_must_be_keyed_by() -> None:
    """For whoever puts a repartition before it."""
    (step,) = windowed(tumbling("1h")).steps
    assert isinstance(step, WindowedAggregate)
    assert rekey_needed(step, ("id",)) is None
    assert rekey_needed(step, ("id", "other")) == ("kind", "id")
    assert rekey_needed(step, ()) == ("kind", "id")


def test_a_window_is_that_of_polars_group_by_dynamic() -> None:
    """An independent computation over a day of events that come in any order."""
    day_ms = 86_400_000
    base = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000)
    times = [base + (place * 7_919_000) % day_ms for place in range(2_000)]
    events = [Event(0, f"k{place % 7}", None, place / 8, t) for place, t in enumerate(times)]
    flow = stream().group_by("id").window(tumbling("1h"), allowed_lateness="1d")
    running = Running(flow.agg(n=aggregates.count(), avg=aggregates.mean("x")))
    parts = [running.run(part) for part in cut(events, [300, 301, 1_500])]
    found = pl.concat([*parts, running.run([], {0: base + 3 * day_ms})]).drop(ROW)
    at = pl.Series(times).cast(pl.Datetime("ms", "UTC"))
    frame = pl.DataFrame(
        {"id": [e.id for e in events], "x": [e.x for e in events], "window_start": at}
    )
    wanted = frame.sort("window_start").group_by_dynamic("window_start", every="1h", group_by="id")
    made = wanted.agg(n=pl.len().cast(pl.Int64), avg=pl.col("x").mean()).sort("window_start", "id")
    assert found.drop("window_end").equals(made.select("id", "window_start", "n", "avg"))
