"""A product begins in the snapshot of its input, and goes on in the log at the cut."""

import random
from collections.abc import Callable

import pytest
from tests.engine.test_exactly_once import few_or_many, run_histories
from tests.reader.backfilled import Calls, Mode, cut_short

from headwater.errors import ReadRefusedError, StartRefusedError

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
    world: Callable[[], Calls] = lambda: cut_short(mode).fill()  # noqa: E731  # typed
    run_histories(world, examples=examples, steps=25)
