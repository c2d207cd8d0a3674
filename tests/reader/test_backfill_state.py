"""A product with state begins in the snapshot of its input; and a snapshot that goes meanwhile."""

import random
import time
from itertools import count
from pathlib import Path

import pytest
from tests.engine.conftest import GROUP, INPUT
from tests.engine.test_exactly_once import few_or_many, run_histories
from tests.reader.backfilled import Calls, CountedCalls, Mode, shortened
from tests.reader.racing import age
from tests.snapshot.formats import FORMATS

from headwater.clock import ManualClock
from headwater.errors import ReadRefusedError
from headwater.ports import Table
from headwater.snapshot.upkeep import Upkeep

SEEDS = 4
DAY_S = 86_400
MODES = pytest.mark.parametrize("mode", ["append", "latest"])


def run(calls: CountedCalls, poll_size: int = 10_000) -> None:
    """One process from start to end; the next one finds its disk."""
    calls.broker.group(GROUP).members.clear()
    process = calls.process(poll_size=poll_size)
    process.run()
    process.ended = process.ended or "stopped"


@MODES
def test_state_is_that_of_a_product_that_read_every_record_when_it_came(mode: Mode) -> None:
    """Killed anywhere meanwhile; changelog and outputs count the same, then the log goes on."""
    for seed in range(SEEDS):
        chance, calls = random.Random(seed), shortened(CountedCalls(mode), seed).fill()
        process = calls.process(poll_size=3).begin()
        for _ in range(chance.randint(1, 12)):
            process.step()
        process.kill()
        calls.check()
        run(calls, poll_size=7)
        calls.check_complete()
        calls.call(20)
        run(calls)
        calls.check_complete()


@few_or_many(4, 150)
@MODES
def test_every_history_of_a_backfill_counts_each_record_once(mode: Mode, examples: int) -> None:
    """Kills, zombies, rebalances, lost answers and outages, with state in each process."""
    seeds = count()
    run_histories(
        lambda: shortened(CountedCalls(mode), next(seeds)).fill(), examples=examples, steps=25
    )


class StoredCalls(Calls):
    """Calls whose snapshot is a table on disk."""

    def __init__(self, directory: Path, format_: str) -> None:
        super().__init__()
        self._directory, self._format = directory, format_

    def table(self) -> Table:
        return FORMATS[self._format](self._directory, product=INPUT, topic=INPUT)

    def keep_up(self) -> None:
        """Let go of all versions but the newest, days later; the files of it are merged."""
        later = ManualClock(at_s=time.time() + 3 * DAY_S)
        for _ in range(2):
            age(self._directory, self.table())
            Upkeep(self.table(), 1 << 20, 1_000, later).run()


@pytest.mark.parametrize("format_", FORMATS)
def test_a_version_that_upkeep_took_in_mid_backfill_ends_it_and_the_next_run_goes_on(
    format_: str, tmp_path: Path
) -> None:
    """SNAPSHOT_GONE, with everything before it published; the same command reads the newest."""
    calls = StoredCalls(tmp_path / INPUT, format_)
    for _ in range(4):
        calls.call(30)
        calls.take()
    calls.topics.delete_before(calls.topics.ends(INPUT))
    process = calls.fill().process(poll_size=3)

    def interfering(turn: int) -> None:
        if turn == 6:
            for _ in range(8):
                calls.call(30)
                calls.take()
            calls.keep_up()

    process.run(hook=interfering)
    assert isinstance(process.ended, ReadRefusedError)
    assert process.ended.code == "SNAPSHOT_GONE"
    calls.check()
    assert calls.outputs()
    calls.fill().process().run()
    calls.check_complete()
