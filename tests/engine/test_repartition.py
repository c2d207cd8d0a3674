"""Rows that go through a repartition topic: exactly once, and in event time."""

import json
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.conftest import DEAD
from tests.engine.moving import IdleMovingWorld, MovingWorld, Row, walked
from tests.engine.test_exactly_once import few_or_many, run_histories

from headwater.engine import MOST_SOURCES, Standing
from headwater.engine.dead_letters import WHOLE, read_letter
from headwater.engine.sources import Heard, SourceWatermarks


@pytest.mark.parametrize("world", [MovingWorld, IdleMovingWorld])
@few_or_many(4, 60)
def test_every_history_moves_every_row_once(world: type[MovingWorld], examples: int) -> None:
    """Kills, zombies, rebalances, lost answers: rows, letters and windows as recorded."""
    run_histories(world, examples=examples)


def test_a_run_to_the_end_reads_what_it_moved() -> None:
    """The end of the input is not the end: what the product wrote for itself is read as well."""
    world = MovingWorld()
    world.feed(*[b"a"] * 29, b"bad", b"bad", b"bad", b"drop")
    process = world.process(poll_size=4)
    process.run()
    assert process.ended is None
    world.check_complete()
    assert process.window.counts() == (33 + 2, 3)  # of what was moved, the refused
    assert process.monitor.read["in"] == 33
    letters = [read_letter(record) for record in world.committed(DEAD)]
    omitted = Counter(each.omitted for each in letters if each is not None)
    assert omitted == {frozenset(): 1, frozenset(WHOLE): 2}  # the bytes stand in the input
    names = {name.partition("|")[0] for name, _ in world.rows()}
    assert {"0", "1", "late"} < names  # windows of both tasks closed


def test_a_run_to_the_end_waits_for_what_other_processes_move() -> None:
    """One that is slow has yet to write to the tasks of the others: none ends before it."""
    world = MovingWorld()
    world.feed(*[b"a"] * 30)
    slow, quick = world.process("slow", poll_size=2).begin(), world.process("quick")
    quick.run(hook=lambda turns: slow.step() if turns % 5 == 0 else None)
    assert (quick.ended, slow.ended) == (None, None)
    assert slow.source.assignment()
    assert quick.monitor.read["in"] < 30
    world.check_complete()


def test_where_the_sources_stand_fits_beside_a_position() -> None:
    """Of as many as are allowed, a lifetime apart; and it is read back as it was."""
    watermarks = SourceWatermarks(MOST_SOURCES)
    sources = {
        place: Standing(place * 10**10 if place % 5 else None, is_idle=place % 3 == 0)
        for place in range(0, MOST_SOURCES, 2)
        if place % 5 or place % 3 == 0
    }
    standing = Heard(-5, sources=sources)
    note = json.dumps(watermarks.noted(standing), separators=(",", ":"))
    assert len(note) < 4096 - 1000  # the rest is for outputs and changelogs
    assert watermarks.parsed(note) == standing


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.none() | st.integers(0, 9), st.booleans()), max_size=25
    ),
    cut=st.integers(0, 25),
)
def test_a_watermark_is_the_least_of_the_sources_however_batches_fall(
    rows: list[tuple[int, int | None, bool]], cut: int
) -> None:
    """As one who reads record by record has it; an idle source holds nothing back."""
    told = [
        Row(0, at, source, mark, None, None, at if is_row else None, None)
        for at, (source, mark, is_row) in enumerate(rows)
    ]
    watermarks = SourceWatermarks(3)
    found: list[int | None] = []
    for part in (told[:cut], told[cut:]):
        lineage = pl.DataFrame(
            [(row.source, row.watermark, row.offset) for row in part],
            schema=dict.fromkeys(("_source", "_watermark", "_offset"), pl.Int64),
            orient="row",
        )
        marks, _ = watermarks.heard(pl.Series([0] * len(part), dtype=pl.Int64), lineage)
        watermarks.keep()
        note = json.dumps(watermarks.note(0))
        watermarks.assigned({0: note})  # as a restart has it
        found += marks.to_list()
    assert found == [mark for _, mark in walked(told)]
