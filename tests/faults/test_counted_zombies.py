"""Zombies with state: what they hold is never ahead of its mark, and of use to who comes next."""

import random
import signal
from contextlib import closing
from typing import Final

import pytest
from tests.faults import counted
from tests.faults.harness import END_S, EXPIRED_S, START_S, Bench, Run, until
from tests.faults.restless import RECORDS_IN, end, feeding, works
from tests.faults.witness import Witness

pytestmark = pytest.mark.kafka

FENCED: Final = 75
EVENTS: Final = 20_000
OWN_DISK: Final = {"HEADWATER_STATE_DIR": "elsewhere"}
STOPPED: Final = {"HEADWATER_FAIL": "after_send_offsets:stop@25"}


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
    """On a disk of its own, stopped beyond its session: it exits 75, and its stores are of use."""
    source, product = "faults.counted-woken-in", "faults.counted-woken"
    feed = counted.Feed(bench, source, random.Random(5))
    feed.write(EVENTS)
    counted.declare(bench, product, source)
    with (
        bench.run(product, settings={**counted.OFTEN, **OWN_DISK, **STOPPED}) as older,
        closing(bench.gauge(product, source)) as gauge,
    ):
        _stops(bench, product, older)
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
    with bench.run(product, settings=OWN_DISK) as next_one:
        assert next_one.exit_code() == 0, next_one.errors()
    witness.check_end()


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_process_that_wakes_beside_its_successor_counts_from_what_that_one_left(
    bench: Bench,
) -> None:
    """Another instance took its tasks: it joins again, and what it has on disk is not believed."""
    source, product = "faults.counted-beside-in", "faults.counted-beside"
    feed = counted.Feed(bench, source, random.Random(5))
    feed.write(EVENTS)
    counted.declare(bench, product, source)
    with (
        bench.run(
            product, until_end=False, settings={**counted.OFTEN, **OWN_DISK, **STOPPED}
        ) as older,
        closing(bench.gauge(product, source)) as gauge,
    ):
        _stops(bench, product, older)
        before = gauge.total()
        with bench.run(product, until_end=False, instance="l", settings=counted.OFTEN) as younger:
            with feeding(feed):
                gauge.wait_beyond(before, younger)
                older.send(signal.SIGCONT)
                until(lambda: bench.members(product) == 2, EXPIRED_S, "it is a member again")
                read = older.metric(RECORDS_IN)
                until(lambda: older.metric(RECORDS_IN) > read, EXPIRED_S, "it works again")
                assert works(younger)
            until(lambda: bench.has_read(product, source), END_S, "all is read")
            end(older, younger)
    with bench.run(product, instance="l") as last:
        assert last.exit_code() == 0, last.errors()
    witness = Witness(bench, product, source)
    witness.check_end()
    witness.state = bench.folder / "elsewhere"
    witness.check()


def _stops(bench: Bench, product: str, run: Run) -> None:
    """Wait until a process stopped itself, and until its group forgot it."""
    until(lambda: run.ended() or run.is_stopped(), START_S, "the process stops itself")
    assert not run.ended(), run.errors()
    until(lambda: bench.members(product) == 0, EXPIRED_S, "its session times out")
