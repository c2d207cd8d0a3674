"""A product begins in the snapshot of its input, and goes on in the log at the cut."""

import random
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa
import pytest
from tests.engine.conftest import GROUP, INPUT
from tests.engine.test_exactly_once import few_or_many, run_histories
from tests.reader.backfilled import Calls, Mode, cut_short

from headwater.assembly.backfill import open_backfill
from headwater.assembly.project import load_product
from headwater.config import Settings
from headwater.errors import (
    ConfigurationError,
    DamagedError,
    ReadRefusedError,
    RetriableError,
    StartRefusedError,
)
from headwater.model import Partition, Position
from headwater.ports import Change, NewFile, TableFile, TopicSettings
from headwater.reader.table_records import RowsLeft

SEEDS = 6
MODES = pytest.mark.parametrize("mode", ["append", "latest"])


@MODES
def test_snapshot_and_log_give_what_the_whole_log_gave(mode: Mode) -> None:
    """Outputs and positions are those of a product that read every record when it came."""
    for seed in range(SEEDS):
        calls = cut_short(mode, seed).fill()
        calls.process(poll_size=7).run()
        calls.check_complete()


@MODES
def test_a_backfill_that_is_killed_goes_on_where_it_was(mode: Mode) -> None:
    """At any moment, and as often as it likes; at last the log alone is enough."""
    for seed in range(SEEDS):
        chance, calls = random.Random(seed), cut_short(mode, seed).fill()
        last = chance.randint(1, 8)

        def killing(turn: int, calls: Calls = calls, last: int = last) -> None:
            if turn == last:
                calls.kill_current()

        for _ in range(chance.randint(1, 3)):
            process = calls.process(poll_size=3)
            process.run(hook=killing)
            calls.check()
        calls.process().run()
        calls.check_complete()


@few_or_many(6, 300)
@MODES
def test_every_history_reads_snapshot_and_log_exactly_once(mode: Mode, examples: int) -> None:
    """Kills, zombies, rebalances, lost answers and outages, while two processes fill."""
    seeds = count()
    run_histories(lambda: cut_short(mode, next(seeds)).fill(), examples=examples, steps=25)


def test_a_row_is_the_record_that_it_was() -> None:
    """Key, value, offset and publish time, byte for byte; what was aborted is no record."""
    calls = cut_short(seed=1)
    backfill = calls.open()
    for partition, cut in backfill.cut.items():
        log = calls.broker.partition(partition)
        was = [each for each in log.committed() if each.offset < cut]
        left = RowsLeft(backfill, Position(partition, 0))
        found = list(iter(partial(left.records, 7), None))
        rows = [records.raw(row) for records in found for row in range(len(records))]
        assert rows == was
        assert [stamp for each in found for stamp in each.timestamps_ms()] == [
            each.timestamp_ms for each in was
        ]
        assert found[-1].ends() == {partition: cut}


def test_files_whose_offsets_overlap_are_read_in_the_order_of_the_log() -> None:
    """As those of a table that is divided by event date are, after a compaction too."""
    calls = Calls()
    calls.call(40)
    calls.take()
    calls.call(40)
    calls.take()
    chance, table = random.Random(0), calls.table()
    files = [each.name for each in table.files()]
    rows = pa.Table.from_batches([batch for name in files for batch in table.scan(name)])
    rows = rows.sort_by([("_partition", "ascending"), ("_offset", "ascending")])
    part = [chance.randrange(3) for _ in range(rows.num_rows)]
    divided = [
        NewFile(f"day-{day}", rows.filter(pa.array(each == day for each in part)))
        for day in range(3)
    ]
    table.commit(Change(divided, None, removed=files))
    calls.fill().process(poll_size=7).run()
    calls.check_complete()


def test_rows_that_another_writer_moved_are_refused() -> None:
    """Their order is not that of the log, and each would be taken for the last before the next."""
    calls = Calls()
    calls.call(40)
    calls.take()
    table = calls.table()
    (*_, name) = [each.name for each in table.files()]
    rows = pa.Table.from_batches(table.scan(name)).sort_by([("_offset", "descending")])
    table.commit(Change([NewFile("moved", rows)], None, removed=[name]))
    process = calls.fill().process()
    process.run()
    assert isinstance(process.ended, DamagedError)
    calls.check()


def test_a_table_that_fails_for_a_while_loses_nothing() -> None:
    """What was read and not handed over comes with the next poll that goes well."""
    calls = cut_short(seed=3).fill()
    backfill = calls.open()
    of_file, fails = backfill.snapshot.of_file, count()

    def failing(file: TableFile) -> Iterator[pl.DataFrame]:
        for frame in of_file(file):
            yield frame[:1]
            if next(fails) < 5:
                raise RetriableError("the storage does not answer")
            yield frame[1:]

    backfill.snapshot.of_file = failing  # type: ignore[method-assign]  # a storage that fails
    calls.backfill = backfill
    process = calls.process().begin()
    found: list[tuple[Partition, int]] = []
    failures = 0
    for _ in range(60):
        try:
            for each in process.read.poll(5, 0.01):
                found += [(p, o) for p in each.ends() for o in each.offsets()]
        except RetriableError:
            failures += 1
    below = [(p, o) for p, o in found if o < backfill.cut[p]]
    wanted = [(r.partition, r.offset) for r in calls.readable()]
    assert failures == 5
    assert sorted(below) == [(p, o) for p, o in wanted if o < backfill.cut[p]]
    process.kill()


def test_a_partition_below_the_cut_is_never_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would be taken for idle, and hold no window open; behind the cut it is as ever."""
    calls = cut_short(seed=2).fill()
    process = calls.process().begin()
    process.step()
    with monkeypatch.context() as patch:
        patch.setattr(process.source, "caught_up", lambda: calls.open().cut)
        assert process.read.caught_up() == {}
    for _ in range(20):
        process.step()
    assert process.read.caught_up() == calls.topics.ends(INPUT)
    process.stop()


def test_halted_and_paused_partitions_bring_nothing_of_the_snapshot() -> None:
    """Others go on; a seek ends the halt."""
    calls = cut_short(seed=2).fill()
    process = calls.process().begin()
    process.step()
    source, cut = process.read, calls.open().cut
    one, *others = sorted(cut)
    source.halt({one: 0})
    source.seek(dict.fromkeys(others, 0))
    source.pause()
    assert not source.poll(100, 0.01)
    source.resume()
    brought = {p for _ in range(9) for each in source.poll(100, 0.01) for p in each.ends()}
    assert brought == set(others)
    source.seek({one: 0})
    assert {p for each in source.poll(100, 0.01) for p in each.ends()} == {one}
    process.kill()


@pytest.mark.parametrize("going", ["revoked", "lost"])
def test_rows_of_partitions_that_go_are_not_handed_over(going: Literal["revoked", "lost"]) -> None:
    """Whoever holds them now reads them."""
    calls = cut_short(seed=2).fill()
    process = calls.process().begin()
    process.step()
    source, cut = process.read, calls.open().cut
    source.seek(dict.fromkeys(cut, 0))
    gone, *others = sorted(cut)
    source.poll(1, 0.01)
    getattr(source, going)([gone])
    brought = {p for _ in range(9) for each in source.poll(100, 0.01) for p in each.ends()}
    assert brought == set(others)
    process.kill()


def refusal(calls: Calls) -> StartRefusedError:
    """Why a backfill is refused."""
    with pytest.raises(StartRefusedError) as refused:
        calls.open()
    return refused.value


def test_without_a_snapshot_there_is_nothing_to_read() -> None:
    """Told with the command that takes one."""
    with pytest.raises(ReadRefusedError, match="headwater snapshot") as refused:
        Calls().open()
    assert refused.value.code == "NO_SNAPSHOT"


def test_a_gap_between_cut_and_log_is_refused() -> None:
    """With the partition and both places."""
    calls = cut_short()
    calls.topics.delete_before(calls.topics.ends(INPUT))
    error = refusal(calls)
    assert error.code == "RANGE_LOST"
    assert "in[0]: the snapshot ends at" in str(error)


def test_a_snapshot_of_another_log_is_refused() -> None:
    """The topic was deleted and made again."""
    calls = cut_short()
    calls.broker.create(TopicSettings(INPUT, 3, "source"))
    assert refusal(calls).code == "SOURCE_RECREATED"


def test_a_group_that_goes_on_in_the_log_is_left_alone() -> None:
    """Its positions are all held by the log, so nothing is to be filled."""
    calls = cut_short()
    calls.broker.group(GROUP).offsets.update(
        {p: (at, "") for p, at in calls.topics.beginnings(INPUT).items()}
    )
    assert refusal(calls).code == "GROUP_GOES_ON"


def test_a_group_whose_offsets_are_gone_goes_on_in_the_snapshot() -> None:
    """What it read before is not read again, and nothing is left out."""
    calls = Calls()
    calls.call(30)
    process = calls.process(poll_size=2).begin()
    for _ in range(4):
        process.step()
    process.stop()
    calls.call(30)
    calls.take()
    calls.topics.delete_before(calls.topics.ends(INPUT))
    calls.call(5)
    (refused := calls.process()).run()
    assert isinstance(refused.ended, StartRefusedError)
    assert refused.ended.code == "DATA_LOSS"
    calls.fill().process().run()
    calls.check_complete()


def test_what_neither_table_nor_log_holds_is_refused() -> None:
    """The table begins behind the place where the group stands."""
    calls = Calls()
    calls.call(30)
    calls.topics.delete_before(dict.fromkeys(calls.topics.ends(INPUT), 5))
    calls.take()
    calls.broker.group(GROUP).offsets.update(dict.fromkeys(calls.topics.ends(INPUT), (2, "")))
    error = refusal(calls)
    assert error.code == "RANGE_LOST"
    assert "next offset 2, the snapshot begins at 5" in str(error)


def test_outputs_that_were_written_are_not_written_again() -> None:
    """A group that lost its offsets is refused as by `headwater run`."""
    calls = cut_short().fill()
    calls.process().run()
    calls.broker.group(GROUP).offsets.clear()
    (refused := calls.process()).run()
    assert isinstance(refused.ended, StartRefusedError)
    assert refused.ended.code == "OFFSETS_LOST"


def test_an_input_that_the_product_does_not_read_is_told_with_those_it_reads() -> None:
    """Before anything is asked of broker or registry; a table is no input of this kind."""
    loaded = load_product("operations.departure-delays", Path(__file__).parents[2])
    settings = Settings.model_validate(
        {"kafka": {"bootstrap.servers": "unasked"}, "registry": {"url": "http://unasked"}}
    )
    with pytest.raises(ConfigurationError, match=r"it reads operations\.departures") as refused:
        open_backfill(loaded, "fleet.aircraft", settings)
    assert [each.code for each in refused.value.problems] == ["NOT_AN_INPUT"]
