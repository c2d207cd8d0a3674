"""Windows behind a change of key and their late rows, two outputs of one topic, in histories."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import polars as pl
import pytest
from tests.engine.closing import SIZE
from tests.engine.conftest import DEAD, INPUT, OUTPUT
from tests.engine.moving import (
    CHANGELOG,
    GROUPS,
    MovingWorld,
    Row,
    kind_of,
    refuse_worse,
    walked,
)
from tests.engine.test_exactly_once import run_histories
from tests.engine.test_task import CONTRACT, SCHEMA_ID, SCHEMAS, stream

from headwater import aggregates, tumbling
from headwater.contract import Decoder, Encoder
from headwater.engine import Route
from headwater.engine.dead_letters import source_position
from headwater.flow import Ground, Section, sections_of, with_shared_topics
from headwater.flow.aggregates import HELD
from headwater.model import RawRecord
from headwater.ports import TopicSettings
from headwater.state import KeyedStore

LATE: Final = f"{OUTPUT}.late"
EXAMPLES: Final = 4

Window = tuple[int, int]
"""A group and the start of a window."""


def outputs() -> tuple[Section, Section]:
    """What counts by windows, and what has their late rows, behind the change of key."""
    windows = (
        stream()
        .filter(~pl.col("id").str.starts_with("drop"))
        .with_columns(group=pl.col("n") % GROUPS)
        .rekey("group")
        .group_by("group")
        .window(tumbling(f"{SIZE}ms"))
    )
    counted = windows.agg(count=aggregates.count()).select(
        id=pl.format("{}|{}", "group", pl.col("window_start").dt.epoch("ms")),
        n=pl.col("count").cast(pl.Int32),
        at="window_start",
    )
    late = windows.late().map(refuse_worse).select("id", "n", "at")
    flows = {OUTPUT: counted, LATE: late}
    ground = Ground(("id",), event_time="at")
    made = [
        section
        for name, flow in flows.items()
        for section in sections_of(flow, name, CONTRACT.columns, ground=ground)
    ]
    _, second, third = with_shared_topics(flows, made)
    assert second.source == third.source
    return second, third


WINDOWS, SIDE = outputs()
(STAGE,) = WINDOWS.plan.stateful


class LateWorld(MovingWorld):
    """Behind the change of key each row is in a window, or late; of late ones some are refused."""

    stored = STAGE.rows

    def __init__(self) -> None:
        super().__init__()
        self.topics.create([TopicSettings(LATE, 1, "log")])
        self.start = replace(self.start, outputs=[*self.start.outputs, LATE])

    def routes(self, section: Section, store: KeyedStore) -> list[Route]:
        plan = WINDOWS.plan.with_stores({STAGE.step.name: store})
        encoder = Encoder(CONTRACT, SCHEMA_ID)
        return [
            Route(OUTPUT, plan, encoder, stores=[store]),
            Route(LATE, SIDE.plan, encoder),
        ]

    def _check_outputs(self, seen: Sequence[Row]) -> None:
        """With the windows: it takes the records that only tell of event time, too."""

    def _check_letters(self, read: Sequence[RawRecord], seen: Sequence[Row]) -> None:
        wanted = [(r.partition.index, r.offset) for r in read if kind_of(r) == "bad"]
        wanted += [
            (row.origin or 0, row.offset or 0)
            for row, is_late in _judged(seen)
            if is_late and _is_worse(row)
        ]
        letters = [source_position(letter.headers) for letter in self.committed(DEAD)]
        assert Counter(letters) == Counter((INPUT, *place) for place in wanted)

    def _check_windows(self, seen: Sequence[Row]) -> None:
        marks = {row.task: mark for row, mark in walked(seen)}
        late = (row.id for row, is_late in _judged(seen) if is_late and not _is_worse(row))
        assert Counter(name for name, _ in self._published(LATE)) == Counter(late)
        open_, closed = Counter[Window](), Counter[Window]()
        for row, is_late in _judged(seen):
            if not is_late:
                start, mark = (row.time or 0) // SIZE * SIZE, marks[row.task]
                is_over = mark is not None and start + SIZE <= mark
                (closed if is_over else open_)[_number(row) % GROUPS, start] += 1
        told = self._published(OUTPUT)
        assert len(dict(told)) == len(told), "closed twice"
        assert dict(told) == {f"{group}|{start}": n for (group, start), n in closed.items()}
        assert self._open() == open_

    def _published(self, topic: str) -> list[tuple[str, int]]:
        values = [record.value or b"" for record in self.committed(topic)]
        return Decoder(CONTRACT, SCHEMAS.__getitem__).decode(values).frame.select("id", "n").rows()

    def _open(self) -> Counter[Window]:
        fold = {r.key or b"": r.value for r in self.committed(CHANGELOG)}
        held = {key: value for key, value in fold.items() if value is not None}
        keys = STAGE.keys.decode(list(held)).select("group", "window_start").rows()
        counts = STAGE.rows.decode(list(held.values()))[HELD]
        return Counter(dict(zip(keys, counts, strict=True)))


class IdleLateWorld(LateWorld):
    """Partitions of the input are soon left out of account."""

    idle_after_s = 0.1


def _judged(seen: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    """The rows, each with whether its window had closed when it came."""
    for row, mark in walked(seen):
        if row.offset is not None:
            end = (row.time or 0) // SIZE * SIZE + SIZE
            yield row, mark is not None and end <= mark


def _number(row: Row) -> int:
    return int((row.id or "").rpartition("-")[2])


def _is_worse(row: Row) -> bool:
    return (row.id or "").startswith("worse")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("world", [LateWorld, IdleLateWorld])
def test_in_every_history_each_row_is_in_one_window_or_late_once(world: type[LateWorld]) -> None:
    """Kills, zombies, rebalances, lost answers: both outputs as the one topic was recorded."""
    run_histories(world, examples=EXAMPLES)


def test_a_run_to_the_end_has_windows_and_late_rows() -> None:
    """And letters of the late rows that a step behind them refuses."""
    world = LateWorld()
    world.feed(*[b"a", b"bad"] * 40, b"drop")  # each of the bad ones shows when it is late
    process = world.process(poll_size=4)
    process.run()
    assert process.ended is None
    world.check_complete()
    assert world.committed(OUTPUT)
    assert world.committed(LATE)
    assert world.committed(DEAD)
