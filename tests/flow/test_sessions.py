"""Sessions in a flow against a computation in plain Python."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.flow.windowing import (
    CUTS,
    EVENTS,
    LATENESS,
    Event,
    Oracle,
    Result,
    Running,
    cut,
    of_task,
    results,
    windowed,
)

from headwater.product.windows import SessionWindows


def sessions_of(events: Sequence[Event], gap: int, lateness: int) -> list[Result]:
    """The sessions of the rows that were not late, as a batch computation has them."""
    mark: int | None = None
    in_time: list[Event] = []
    for event in events:
        assert event.time is not None
        mark = event.time if mark is None else max(mark, event.time)
        if event.time + lateness >= mark:
            in_time.append(event)
    groups: dict[tuple[Any, ...], list[list[Event]]] = {}
    for event in sorted(in_time, key=lambda each: each.time or 0):
        found = groups.setdefault((event.kind, event.id), [])
        if found and (event.time or 0) - (found[-1][-1].time or 0) <= gap:
            found[-1].append(event)
        else:
            found.append([event])
    oracle = Oracle(0, 0)
    told = []
    for (kind, id_), found in groups.items():
        for held in found:
            start, end = held[0].time or 0, (held[-1].time or 0) + gap
            row = oracle.result(id_, kind, start, [each.x for each in held])
            told.append((*row[:3], end, *row[4:]))
    return sorted(told, key=lambda row: (row[3], row[0] is not None, row[0] or 0, row[1]))


def folded(told: Sequence[Result]) -> list[Result]:
    """What a reader has who lets each row replace those of its group whose bounds it holds."""
    held: list[Result] = []
    for row in told:
        held = [
            old
            for old in held
            if not (old[:2] == row[:2] and row[2] <= old[2] and old[3] <= row[3])
        ]
        held.append(row)
    return sorted(held, key=lambda row: (row[3], row[0] is not None, row[0] or 0, row[1]))


def grown(events: Sequence[Event], gap: int, lateness: int) -> list[Result]:
    """Row by row, each with the session it is in, of those before it that were not late."""
    told: list[Result] = []
    for count, event in enumerate(events, start=1):
        before = events[:count]
        mark = max(each.time or 0 for each in before)
        if (event.time or 0) + lateness >= mark:
            standing = sessions_of(before, gap, lateness)
            group = (event.kind, event.id)
            (mine,) = (
                row
                for row in standing
                if row[:2] == group and row[2] <= (event.time or 0) <= row[3] - gap
            )
            told.append(mine)
    return told


@given(EVENTS, CUTS, st.integers(1, 8), LATENESS)
def test_sessions_told_on_change_are_those_of_one_record_after_the_other(
    events: list[Event], ends: list[int], gap: int, lateness: str
) -> None:
    """Any batching tells the same; the last rows of sessions are those that they close with."""
    windows, wait_ms = SessionWindows(f"{gap}ms"), int(lateness.rstrip("ms"))
    running, closing = (
        Running(windowed(windows, lateness, emit)) for emit in ("on_change", "on_close")
    )
    parts = cut(of_task(events), ends)
    found = [row for part in parts for row in results(running.run(part))]
    assert found == grown(of_task(events), gap, wait_ms)
    closed = [row for part in parts for row in results(closing.run(part))]
    closed += results(closing.run([], {0: 10_000}))
    assert folded(found) == closed
    assert results(running.run([], {0: 10_000})) == []
    running.commit()
    assert running.store.sizes()[0].keys == 0, "nothing is left"


@given(EVENTS, CUTS, st.integers(1, 8), LATENESS)
def test_sessions_are_those_of_a_batch_computation(
    events: list[Event], ends: list[int], gap: int, lateness: str
) -> None:
    """Told when they close, by end and group; the end of time closes the last ones."""
    running = Running(windowed(SessionWindows(f"{gap}ms"), lateness))
    found = [row for part in cut(of_task(events), ends) for row in results(running.run(part))]
    found += results(running.run([], {0: 10_000}))
    wait_ms = 0 if lateness == "0s" else int(lateness.removesuffix("ms"))
    assert found == sessions_of(of_task(events), gap, wait_ms)
    running.commit()
    assert running.store.sizes()[0].keys == 0, "nothing is left"
