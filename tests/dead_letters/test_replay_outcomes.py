"""What a replay says of rows that steps with state drop, and of what no letter alone broke."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest
from tests.dead_letters.counted import CountedWorld, MendingCountTask
from tests.dead_letters.test_keep_order import run
from tests.engine import suspected
from tests.engine import test_suspects as suspects
from tests.engine.conftest import DEAD, EchoTask

from headwater.assembly.letters import Replayed, ReplayOptions, work
from headwater.cli.letter_answers import outcome
from headwater.engine import Stores, Work
from headwater.errors import ResultRefusedError
from headwater.model import Quarantine
from headwater.ports import Records


class LatestTask(MendingCountTask):
    """Takes every row for one that a later one of its key came before."""

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        work = super().process(records, guilty)
        none = replace(
            work.publications[0], keys=[], values=[], rows=pl.Series([], dtype=pl.UInt32)
        )
        return replace(work, publications=[none], superseded={"out.latest-1": work.read})


@pytest.mark.usefixtures("at_once")
def test_a_replayed_row_whose_key_has_a_later_one_is_told_apart() -> None:
    """Nothing of it is published, and the answer says why its letter is resolved all the same."""

    class LatestWorld(CountedWorld):
        def task(self, stores: Stores) -> EchoTask:
            return LatestTask(self, stores)

    world = LatestWorld()
    world.feed(b"bad", b"bad")
    run(world)
    world.is_mended = True
    done = world.replay()
    assert isinstance(done, Replayed)
    assert (done.replayed, done.superseded) == (2, {"out.latest-1": 2})
    assert outcome(DEAD, done, ReplayOptions())["superseded"] == {"out.latest-1": 2}


def test_a_rule_that_a_closed_window_breaks_is_not_laid_on_the_letter_that_closed_it() -> None:
    """The replay ends as the product does: no letter fails again for what others added up to."""
    output = suspected.rules(stop="n <= 5")
    for events in ([(0, 4, 0), (0, 2, 1), (0, 1, 20)], [(0, 6, 0), (0, 1, 20), (0, 1, 21)]):
        task = suspects.World(suspected.closed(), output=output).task
        with pytest.raises(ResultRefusedError, match="breaks the rule stop"):
            work._processed(task, suspects.batch(events, 0, 3), ())
