"""Zombies with state: what they hold is never ahead of its mark, and of use to who comes next."""

import random
import signal
from contextlib import closing
from typing import Final

import pytest
from tests.faults import counted
from tests.faults.harness import START_S, Bench, until
from tests.faults.witness import Witness

pytestmark = pytest.mark.kafka

FENCED: Final = 75
EVENTS: Final = 20_000


@pytest.mark.timeout(240)
def test_the_older_of_two_processes_lets_go_of_its_state(bench: Bench) -> None:
    """Both on one directory: it exits 75, and the younger one goes on from what it left."""
    source, product = "faults.counted-twins-in", "faults.counted-twins"
    counted.Feed(bench, source, random.Random(5)).write(EVENTS)
    counted.declare(bench, product, source)
    with (
        closing(bench.gauge(product, source)) as gauge,
        bench.run(product, settings=counted.OFTEN) as older,
    ):
        gauge.wait_beyond(0, older)
        with bench.run(product, settings=counted.OFTEN) as younger:
            assert older.exit_code() == FENCED, older.errors()
            assert "another process uses" in older.errors()
            assert younger.exit_code() == 0, younger.errors()
    Witness(bench, product, source).check_end()


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_process_that_wakes_after_a_takeover_spoils_no_state(bench: Bench) -> None:
    """On a disk of its own, stopped in a commit: it exits 75, and its stores are of use again."""
    source, product = "faults.counted-woken-in", "faults.counted-woken"
    feed = counted.Feed(bench, source, random.Random(5))
    feed.write(EVENTS)
    counted.declare(bench, product, source)
    own = {"HEADWATER_STATE_DIR": "elsewhere"}
    fail = {"HEADWATER_FAIL": "after_send_offsets:stop@25"}
    with bench.run(product, settings={**counted.OFTEN, **own, **fail}) as older:
        until(lambda: older.ended() or older.is_stopped(), START_S, "the process stops itself")
        with closing(bench.gauge(product, source)) as gauge:
            before = gauge.total()
            with bench.run(product, settings=counted.OFTEN) as younger:
                gauge.wait_beyond(before, younger)
                older.send(signal.SIGCONT)
                assert older.exit_code() == FENCED, older.errors()
                assert younger.exit_code() == 0, younger.errors()
    witness = Witness(bench, product, source)
    witness.check_end()
    witness.state = bench.folder / "elsewhere"
    witness.check()
    feed.write(EVENTS // 4)
    with bench.run(product, settings=own) as next_one:
        assert next_one.exit_code() == 0, next_one.errors()
    witness.check_end()
