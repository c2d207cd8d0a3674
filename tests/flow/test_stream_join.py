"""`join` of two streams: what comes out is a function of the order in which records came."""

import random
from collections import Counter

import polars as pl
import pytest
from tests.flow.joining import (
    TASKS,
    Event,
    Oracle,
    Running,
    by_task,
    cut,
    flows,
    sections,
)

from headwater.errors import DeclarationError
from headwater.flow import nullable_of
from headwater.model import Code
from headwater.product import Flow, Table
from headwater.product.steps import JoinKind

END = 10_000


def joined(how: JoinKind = "left", lateness: str = "0s", within: str = "5ms") -> Flow:
    """Both streams within five milliseconds."""
    left, right = flows()
    return left.join(right, within=within, columns={"y": "y"}, how=how, allowed_lateness=lateness)


def history(chance: random.Random) -> list[Event]:
    """Records of both sides in the order of their arrival, some far behind the others."""
    clocks = {(side, task): 0 for side in (True, False) for task in range(TASKS)}
    found = []
    for place in range(60):
        side, task = chance.random() < 0.5, chance.randrange(TASKS)
        clocks[side, task] += chance.choice([0, 1, 1, 2, 4])
        time = clocks[side, task] - chance.choice([0, 0, 0, 2, 6, 12])
        key = chance.choice(["a", "a", "b", None])
        # the harness tells a null key of task 0
        task = task if key else 0
        has_time = chance.random() < 0.95
        name = None if key is None else f"{task}{key}"
        found.append(Event(side, task, name, place, time if has_time else None))
    return found


@pytest.mark.parametrize("seed", range(24))
def test_any_batches_give_what_one_record_at_a_time_gives(seed: int) -> None:
    """Whatever the batches, commits, drops and restarts: the pure-Python computation, in order."""
    chance = random.Random(seed)
    given_events = history(chance)
    ends = frozenset(place for place in range(60) if chance.random() < 0.2)
    how: JoinKind = "left" if seed % 3 else "inner"
    lateness = "0s" if seed % 2 else "4ms"
    oracle = Oracle(5, 4 if lateness == "4ms" else 0, how)
    for event in given_events:
        oracle.run(event)
    running = Running(joined(how, lateness))
    told = []
    for batch in cut(given_events, ends):
        if chance.random() < 0.3:
            running.run(batch, is_kept=False)
        told += running.run(batch)
        if chance.random() < 0.3:
            running.commit()
            running.restart()
    assert by_task(told) == oracle.told
    assert running.late == oracle.late
    assert len(running.quarantined) == sum(each.time is None for each in given_events)
    for side in (True, False):
        told += running.move(side, dict.fromkeys(range(TASKS), END))
        oracle.marks.update({(side, task): END for task in range(TASKS)})
    for task in range(TASKS):
        oracle.end(task)
    assert by_task(told) == oracle.told
    running.commit()
    assert [size.keys for size in running.store.sizes().values()] == [0] * TASKS


def test_a_batch_join_finds_the_same_when_nothing_is_late() -> None:
    """Each side in the order of time, however the sides are mixed: the pairs of a batch join."""
    chance = random.Random(7)
    left, right = (
        [
            Event(side, 0, f"0{chance.randrange(20)}", number, number * 3 + chance.randrange(3))
            for number in range(400)
        ]
        for side in (True, False)
    )
    for _ in range(3):
        running, told = Running(joined()), []
        queues = {True: list(left), False: list(right)}
        while any(queues.values()):
            side = chance.choice([each for each in queues if queues[each]])
            size = chance.randrange(1, 60)
            told += running.run(queues[side][:size])
            queues[side] = queues[side][size:]
        for side in (True, False):
            told += running.move(side, {0: END})
        frames = [
            pl.DataFrame([(each.id, each.value, each.time) for each in side], orient="row")
            for side in (left, right)
        ]
        pairs = frames[0].join(frames[1], on="column_0")
        pairs = pairs.filter((pl.col("column_2") - pl.col("column_2_right")).abs() <= 5)
        alone = frames[0].join(pairs, on="column_1", how="anti")
        wanted = pairs.select("column_0", "column_1", "column_1_right").rows()
        wanted += [(key, value, None) for key, value in alone.drop("column_2").rows()]
        assert running.late == 0
        assert len(alone) > 50
        assert Counter(row for _, row in told) == Counter(wanted)


def test_late_rows_can_be_dead_letters() -> None:
    """As those of windows: LATE, and not counted as dropped."""
    left, right = flows()
    flow = left.join(right, within="5ms", columns={"y": "y"}, late="dead-letter")
    running = Running(flow)
    running.run([Event(True, 0, "0a", 1, 100)])
    running.run([Event(False, 0, "0a", 2, 100), Event(False, 0, "0a", 3, 94)])
    assert running.quarantined == [(1, Code.LATE)]
    assert running.late == 0


def test_columns_of_the_right_are_null_behind_a_left_join_only() -> None:
    """So that a contract which wants them is refused before any row is."""
    assert nullable_of(sections(joined("left"))) == {"y": "stream-join-1"}
    assert nullable_of(sections(joined("inner"))) == {}


def test_what_cannot_be_joined_is_refused_with_a_sentence() -> None:
    """Columns that clash or are unknown, state behind it, and both sides of one topic."""
    left, right = flows()
    for flow, code in (
        (left.join(right, within="5ms", columns={"y": "x"}), "COLUMN_CLASH"),
        (left.join(right, within="5ms", columns={"z": "z"}), "UNKNOWN_COLUMN"),
        (left.rekey("x").join(right, within="5ms"), "JOIN_MISFIT"),
        (joined().latest("id", by="x"), "BEHIND_JOIN"),
        (joined().join(right, within="5ms", columns={"y": "z"}), "BEHIND_JOIN"),
        (joined().rekey("y"), "BEHIND_STATE"),
        (left.join(right.latest("id", by="y"), within="5ms"), "BEHIND_STATE"),
        (right.join(right, within="5ms", columns={"y": "z"}), "ONE_TOPIC"),
        (left.join(right.select("y", "at"), within="5ms"), "UNKNOWN_COLUMN"),
    ):
        with pytest.raises(DeclarationError) as caught:
            sections(flow)
        assert [each.code for each in caught.value.problems] == [code]


def test_arguments_of_a_table_are_none_of_a_stream() -> None:
    """One method, two signatures: the wrong one is told where it is written."""
    left, right = flows()
    with pytest.raises(TypeError, match="leave out on="):
        left.join(right, within="5ms", on="id")  # type: ignore[call-overload]  # the mistake
    with pytest.raises(TypeError, match="join_asof"):
        left.join(Table(right.stream), on="id", within="5ms")  # type: ignore[call-overload]  # too
