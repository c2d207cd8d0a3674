"""The side output of windows: what is late, against a computation in plain Python."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.test_windowed import TIME_WINDOWS
from tests.flow.windowing import (
    COLUMNS,
    CUTS,
    EVENTS,
    LATENESS,
    Event,
    Running,
    counted,
    cut,
    stream,
)

from headwater import Flow, aggregates, session, tumbling
from headwater.errors import DeclarationError
from headwater.flow import ROW, Batch, Ground, Plan, Processed, sections_of, with_shared_topics
from headwater.model import Code
from headwater.product.flow import Windowed
from headwater.product.windows import SessionWindows, Windows

FAR: int = 10**6
KEY: Ground = Ground(("id",), event_time="at")


@dataclass
class Beside:
    """A plan, and beside it that of the late rows, on the same batches."""

    plan: Plan
    late: Plan
    frames: list[pl.DataFrame] = field(default_factory=list)

    def process(self, frame: pl.DataFrame, batch: Batch) -> Processed:
        """The plan; what is late is kept."""
        self.frames.append(self.late.process(frame, batch).frame)
        return self.plan.process(frame, batch)


def with_late(windowed: Windowed) -> tuple[Running, Beside]:
    """Windows that count, and their late rows."""
    running = Running(counted(windowed))
    both = Beside(running.plan, Plan(windowed.late(), COLUMNS, ground=KEY))
    running.plan = cast("Plan", both)
    return running, both


def late_of(events: Sequence[Event], windows: Windows, wait: int) -> list[Event]:
    """The events of each task whose windows have all closed at their watermark, one by one."""
    reached: dict[int, int] = {}
    late = []
    for event in events:
        time = event.time or 0
        mark = reached[event.task] = max(time, reached.get(event.task, time))
        if isinstance(windows, SessionWindows):
            is_late = time + wait < mark
        else:
            ends = range(time + 1, time + windows.size_ms + 1)
            is_late = all(
                (end - windows.size_ms) % windows.every_ms or end + wait <= mark for end in ends
            )
        late += [event] * is_late
    return late


@given(EVENTS, CUTS, TIME_WINDOWS | st.just(session(gap="4ms")), LATENESS)
def test_each_row_is_in_a_window_or_late(
    events: list[Event], ends: list[int], windows: Windows, lateness: str
) -> None:
    """However batches fall; what windows drop and count comes out here, as it came, in order."""
    made = stream().group_by(["kind", "id"]).window(windows, allowed_lateness=lateness)
    running, both = with_late(made)
    told = [running.run(part) for part in cut(events, ends)]
    told.append(running.run([], {0: FAR, 1: FAR}))
    wait = 0 if lateness == "0s" else int(lateness.removesuffix("ms"))
    wanted = [(each.id, each.kind, each.x) for each in late_of(events, windows, wait)]
    found = pl.concat(both.frames).select("id", "kind", "x").rows()
    assert found == wanted
    assert running.late == len(found)
    if isinstance(windows, SessionWindows) or windows.size == windows.every:
        assert sum(frame["n"].sum() for frame in told) + len(found) == len(events)


def test_a_late_row_is_late_whatever_it_holds() -> None:
    """A number that no sum can hold is refused in a window, and let go by one that has closed."""
    made = stream().group_by("id").window(tumbling("10ms"))
    running, both = with_late(made)
    huge = 2.0**100
    running.run([Event(0, "a", None, huge, 5), Event(0, "a", None, 1.0, 30)])
    assert [each.code for each in running.quarantined] == [Code.NUMBER_TOO_LARGE]
    running.run([Event(0, "a", None, huge, 5), Event(0, "a", None, huge, None)])
    assert [(each.row, each.code) for each in running.quarantined] == [(1, Code.NO_EVENT_TIME)]
    assert [frame["x"].to_list() for frame in both.frames] == [[], [huge]]
    assert running.late == 1


def test_who_does_not_know_the_watermarks_takes_all_rows_as_late() -> None:
    """The child process that looks for the record that ends one: steps behind see each."""
    late = stream().group_by("id").window(tumbling("10ms")).late()
    plan = Plan(late.filter(pl.col("x") > 1), COLUMNS, ground=KEY)
    rows = pl.DataFrame(
        {ROW: [0, 1], "id": ["a", "b"], "kind": [1, 1], "x": [1.0, 2.0]},
        schema={ROW: pl.UInt32, **COLUMNS},
    )
    assert plan.taking_all_as_late().process(rows).frame["id"].to_list() == ["b"]


def refused(flow: Flow) -> str:
    """The problem of a flow that cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS, ground=KEY)
    (problem,) = caught.value.problems
    assert problem.file == __file__
    return f"{problem.code} {problem.message}"


def test_mistakes_of_late_rows_are_told_without_data() -> None:
    """One fate for a row, one step by event time in a flow, the key, the windows."""
    by_id = stream().group_by("id")
    hours = by_id.window(tumbling("1h"))
    behind = hours.late().group_by("id")
    n = aggregates.count()
    assert refused(by_id.window(tumbling("1h"), late="dead-letter").late()) == (
        "INVALID_STEP late-1: its windows have late='dead-letter', which sets these rows aside "
        "already; declare late='drop' to have them as a flow"
    )
    assert refused(behind.agg(n=n)).startswith("BEHIND_WINDOW agg-1: comes behind late-1")
    assert "BEHIND_WINDOW late-2" in refused(behind.window(tumbling("1h")).late())
    counts = hours.agg(n=n).group_by("id").window(tumbling("1h"))
    assert "BEHIND_WINDOW late-1" in refused(counts.late())
    assert "no duration" in refused(by_id.window(tumbling("1x")).late())
    assert "UNKNOWN_COLUMN" in refused(stream().group_by("idd").window(tumbling("1h")).late())
    with pytest.raises(DeclarationError, match="NO_EVENT_TIME"):
        Plan(hours.late(), COLUMNS, ground=Ground(("id",)))
    with pytest.raises(DeclarationError, match="BEHIND_STATE: rekey-1: comes behind late-1"):
        sections_of(hours.late().rekey("kind"), "out", COLUMNS, ground=KEY)


def shared(flows: dict[str, Flow]) -> list[tuple[str, str | None, str]]:
    """The sections of these outputs: whose, of what, into what."""
    made = [s for name, flow in flows.items() for s in sections_of(flow, name, COLUMNS, ground=KEY)]
    found = with_shared_topics(flows, made)
    return [(section.output, section.source, section.sink) for section in found]


def test_late_rows_behind_another_key_are_those_of_the_topic_of_their_windows() -> None:
    """In a topic of their own several writers would stand in another order."""
    front = stream().filter(pl.col("x") > 0)
    kinds = front.group_by("kind")
    hours, days = kinds.window(tumbling("1h")), kinds.window(tumbling("1d"))
    n = aggregates.count()
    topic, alone = "out.window-1.repartition", "days.late-1.repartition"
    assert shared({"late": hours.late(), "out": hours.agg(n=n), "days": days.late()}) == [
        ("late", topic, "late"),
        ("out", None, topic),
        ("out", topic, "out"),
        ("days", None, alone),
        ("days", alone, "days"),
    ]
    moved = front.rekey("kind").group_by(["kind", "id"]).window(session(gap="1h"))
    topic = "out.rekey-1.repartition"
    assert shared({"out": moved.agg(n=n), "late": moved.late()})[2:] == [("late", topic, "late")]
    several = {"out": hours.agg(n=n), "other": hours.agg(m=n), "late": hours.late()}
    with pytest.raises(DeclarationError, match="LATE_OF_SEVERAL: late-1: out and other have"):
        shared(several)
    plain = stream().group_by("id").window(tumbling("1h"))
    same_key = {"out": plain.agg(n=n), "other": plain.agg(m=n), "late": plain.late()}
    assert all(source is None for _, source, _ in shared(same_key))
