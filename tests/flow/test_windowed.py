"""Windows in a flow against a computation in plain Python."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.flow.windowing import TASKS, Event, Oracle, Running, results

from headwater import DataProduct, Flow, aggregates
from headwater.product.flow import Windowed
from headwater.product.windows import TimeWindows


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def aggregated(windowed: Windowed) -> Flow:
    """Count, sum and minimum."""
    return windowed.agg(n=aggregates.count(), total=aggregates.sum("x"), low=aggregates.min("x"))


EVENTS = st.lists(
    st.builds(
        Event,
        st.integers(0, TASKS - 1),
        st.sampled_from("ab"),
        st.sampled_from([1, None]),
        st.sampled_from([None, 1.0, 2.5, -4.0]),
        st.integers(-12, 40),
    ),
    max_size=40,
)
CUTS = st.lists(st.integers(0, 40), max_size=4)
WINDOWS = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted)


def cut(events: Sequence[Event], ends: Sequence[int]) -> list[Sequence[Event]]:
    """The events in batches that end there."""
    cuts = sorted({0, len(events), *(end for end in ends if end < len(events))})
    return [events[start:end] for start, end in pairwise(cuts)] or [[]]


def of_one_task(events: Sequence[Event], task: int) -> list[Event]:
    """The events of a task, as those of task 0."""
    return [event._replace(task=0) for event in events if event.task == task]


@given(EVENTS, CUTS, WINDOWS, st.integers(0, 9), st.booleans())
def test_windows_are_those_of_one_record_after_the_other(
    events: list[Event], ends: list[int], sizes: list[int], lateness: int, on_change: bool
) -> None:
    """Tumbling and hopping, told once or with each change: the same rows in the same order."""
    every, size = sizes
    windows = TimeWindows(f"{size}ms", f"{every}ms")
    emit = "on_change" if on_change else "on_close"
    allowed = f"{lateness}ms" if lateness else "0s"
    events = of_one_task(events, 0)
    running = Running(
        aggregated(
            stream().group_by(["kind", "id"]).window(windows, allowed_lateness=allowed, emit=emit)
        )
    )
    oracle = Oracle(size, every, lateness, on_change)
    found = [row for part in cut(events, ends) for row in results(running.run(part))]
    for event in events:
        oracle.run(event)
    assert found == oracle.told
    assert running.late == oracle.late
