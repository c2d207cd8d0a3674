"""Watermarks: per record, whatever the batches, and what a task makes of rows of no record."""

from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.test_task import CONTRACT, SCHEMA_ID, SCHEMAS, stream

from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.reader import MemoryRecords
from headwater.clock import ManualClock
from headwater.contract import Decoder, Encoder, StateRows
from headwater.contract import expansion as expanding
from headwater.engine import END_OF_TIME, LetterWriter, Route, Standing, Task, Watermarks
from headwater.engine.watermarks import POLLS, EventTimes
from headwater.errors import ResultRefusedError
from headwater.flow import ROW, Batch, Columns, Ground, KeyedRows, Plan, Processed, StatefulStage
from headwater.flow.windows import LATEST_MS
from headwater.model import Code, Partition, RawRecord
from headwater.product import Latest
from headwater.state import KeyedStore, StoreSettings

Events = list[tuple[int, int | None]]
"""The task and the event time of each record."""


def observed(watermarks: Watermarks, events: Events) -> tuple[list[int | None], dict[int, int]]:
    """The watermark at each record, and those that moved."""
    tasks = pl.Series([task for task, _ in events], dtype=pl.Int64)
    times = pl.Series([time for _, time in events], dtype=pl.Int64)
    marks, reached = watermarks.observe(tasks, times)
    return marks.to_list(), dict(reached)


@settings(deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(-50, 50)), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)
def test_a_watermark_is_the_greatest_time_so_far_however_batches_fall(
    events: Events, cuts: list[int]
) -> None:
    """Per task, nulls passed over; what moved is what differs from before the batch."""
    watermarks, marks = Watermarks(), list[int | None]()
    ends = sorted({min(cut, len(events)) for cut in cuts} | {len(events)})
    start = 0
    for end in ends:
        before = {task: watermarks.standing(task).watermark for task in range(3)}
        found, reached = observed(watermarks, events[start:end])
        watermarks.keep()
        marks += found
        after = {task: watermarks.standing(task).watermark for task in range(3)}
        assert reached == {task: mark for task, mark in after.items() if mark != before[task]}
        start = end
    greatest: dict[int, int] = {}
    expected = []
    for task, time in events:
        if time is not None:
            greatest[task] = max(time, greatest.get(task, time))
        expected.append(greatest.get(task))
    assert marks == expected


def test_what_is_not_committed_is_taken_back() -> None:
    """A dropped batch and an aborted transaction leave no trace; the note is what is staged."""
    watermarks = Watermarks()
    watermarks.assigned({0: '{"watermark":5}', 1: ""})
    observed(watermarks, [(0, 9)])
    watermarks.drop()
    assert watermarks.standing(0) == Standing(5)
    observed(watermarks, [(0, 7), (1, -3)])
    assert watermarks.note(0) == {"watermark": 5}
    watermarks.keep()
    assert watermarks.note(0) == {"watermark": 7}
    watermarks.aborted()
    assert (watermarks.note(0), watermarks.note(1)) == ({"watermark": 5}, {})


def test_a_time_beyond_every_window_moves_nothing() -> None:
    """One clock gone mad must not make all that follows late."""
    assert observed(Watermarks(), [(0, LATEST_MS + 1), (0, 3)]) == ([None, 3], {0: 3})


def test_idle_tasks_take_the_least_of_the_others() -> None:
    """Never back, and not at all while one that is awaited has come to nothing."""
    watermarks = Watermarks(1.0)
    watermarks.assigned({0: '{"watermark":5}', 1: '{"watermark":9}', 2: '{"watermark":7}', 3: ""})
    assert watermarks.idle(frozenset({0, 1})) == {
        0: Standing(5, is_idle=True),  # 3 is awaited
        1: Standing(9, is_idle=True),
    }
    assert watermarks.idle(frozenset({0, 1, 3})) == {
        0: Standing(7, is_idle=True),
        1: Standing(9, is_idle=True),
        3: Standing(7, is_idle=True),
    }
    assert watermarks.idle(frozenset(range(4)))[0] == Standing(9, is_idle=True)


def test_a_record_ends_idleness() -> None:
    """Also one that moves nothing; and what was told is no news."""
    watermarks = Watermarks(1.0)
    watermarks.assigned({0: '{"idle":true,"watermark":5}'})
    assert watermarks.idle(frozenset({0})) == {}
    observed(watermarks, [(0, 3)])
    assert watermarks.standing(0) == Standing(5)


def test_only_time_between_polls_makes_a_partition_idle() -> None:
    """A pause counts as a quarter of the time, and not before another poll was in vain."""
    clock, partition = ManualClock(), Partition("in", 0)
    times = EventTimes({"in": Watermarks(10.0)}, clock)
    times.assigned([partition], {})
    clock.advance(3600)  # a restore

    def polled(after_s: float) -> bool:
        clock.advance(after_s)
        return bool(times.idle({partition: 5}))

    assert [polled(1.0) for _ in range(8)] == [False] * 8
    assert [polled(3600.0), polled(0.1), polled(0.1)] == [False, True, True]
    times.heard([partition])
    assert [polled(3600.0) for _ in range(POLLS + 1)] == [False] * POLLS + [True]


class HoldStage(StatefulStage):
    """Keeps each row until the watermark passes its time: then it goes on as a row of no record."""

    def __init__(self, step: Latest) -> None:
        self.step = step
        self.given = CONTRACT.columns
        self.stream_key = ("id",)
        self.rows = StateRows({"n": pl.Int32()})
        self.batches: list[Batch] = []
        self._held: list[tuple[int, int, str]] = []
        self._mark = -1

    def columns(self, given: Columns) -> Columns:
        return given

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        self.batches.append(batch)
        held = [*self._held, *((row["n"], row[ROW], row["id"]) for row in frame.to_dicts())]
        self._mark = max(self._mark, *batch.reached.values(), -1)
        due = [each for each in held if each[0] < self._mark]
        self._held = [each for each in held if each not in due]
        out = {
            ROW: pl.Series([batch.no_row] * len(due), dtype=pl.UInt32),
            "id": [name for *_, name in due],
            "n": pl.Series([number for number, *_ in due], dtype=pl.Int32),
            "at": pl.Series([0] * len(due), dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
        }
        return Processed(pl.DataFrame(out), [])


def holding(refuse: Sequence[int] = ()) -> tuple[Task, HoldStage]:
    """A task that holds rows back, and whose next step raises for some numbers."""

    def act(event: dict[str, object]) -> dict[str, object]:
        if event["n"] in refuse:
            raise ValueError
        return event

    flow = stream().latest("id", by="n").map_events(act)
    plan = Plan(flow, CONTRACT.columns, CONTRACT.columns, ground=Ground(("id",)))
    latest = plan.stages[0].step
    assert isinstance(latest, Latest)
    stage = HoldStage(latest)
    plan.stages[0] = stage
    store = KeyedStore(stage.rows, MemoryStores(), StoreSettings("id"))
    route = Route("out", plan.with_stores({latest.name: store}), Encoder(CONTRACT, SCHEMA_ID))
    decoder = Decoder(CONTRACT, lambda reference: SCHEMAS[reference])
    return Task(decoder, [route], dead_letters=LetterWriter("dead")), stage


def at(times: Sequence[int], values: Sequence[bytes] | None = None) -> MemoryRecords:
    """Orders of these numbers, each at its number of milliseconds."""
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(len(times)), dtype=pl.UInt32),
            "id": [f"order-{n}" for n in times],
            "n": pl.Series(times, dtype=pl.Int32),
            "at": pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
        }
    )
    where = Partition("shop.orders", 2)
    found = values or Encoder(CONTRACT, SCHEMA_ID).encode(frame).values
    return MemoryRecords(
        "shop.orders", [RawRecord(where, 40 + n, 5, None, value) for n, value in enumerate(found)]
    )


def numbers(values: Sequence[bytes]) -> list[int]:
    """The numbers of published orders."""
    decoded = Decoder(CONTRACT, lambda reference: SCHEMAS[reference]).decode(values)
    return decoded.frame["n"].to_list()


def test_a_batch_says_where_and_when_its_records_are() -> None:
    """Partitions, offsets, event times and watermarks by row, and what was reached."""
    task, stage = holding()
    bad = [b"no frame", *at([4, 2]).values]
    task.process(at([0, 4, 2], [value or b"" for value in bad]))
    batch = stage.batches[-1]
    assert batch.tasks.to_list() == [2, 2, 2]
    assert batch.offsets.to_list() == [40, 41, 42]
    assert batch.times.to_list() == [None, 4, 2]
    assert batch.watermarks.to_list() == [None, 4, 4]
    assert (batch.reached, batch.no_row) == ({2: 4}, 3)


def test_rows_of_no_record_are_published() -> None:
    """Behind those of the batch, also when no record came at all."""
    task, _ = holding()
    (published,) = task.process(at([1, 3, 5])).publications
    assert numbers(published.values) == [1, 3]
    work = task.move({2: Standing(END_OF_TIME)}, {Partition("shop.orders", 2): 43})
    (published,) = work.publications
    assert numbers(published.values) == [5]
    assert (work.read, work.letters) == (0, ())
    assert work.ends == {Partition("shop.orders", 2): 43}


def test_a_row_of_no_record_that_is_refused_stops_the_product() -> None:
    """No record can be set aside for it; the error names code and step, and no payload."""
    task, _ = holding(refuse=[3])
    with pytest.raises(ResultRefusedError, match="map-events-1 refuses what was computed") as told:
        task.process(at([1, 3, 5]))
    assert (told.value.code, told.value.exit_code) == (Code.STEP_FAILED, 65)
    assert "order-3" not in str(told.value)


def test_pieces_of_a_batch_are_one_in_event_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watermark goes on from piece to piece, and rows of no record stay behind the last."""
    monkeypatch.setattr(expanding, "MAX_SLOTS", 6)
    task, stage = holding()
    records = at([9, 1, 3, 5])
    work = task.process(records)
    assert len(stage.batches) > 1
    assert stage.batches[-1].watermarks.to_list() == [9] * len(stage.batches[-1].tasks)
    (published,) = work.publications
    assert set(published.rows) == {len(records)}
