"""Processes that are asked to stop, and several under one parent."""

import signal
import time
from contextlib import closing
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, START_S, Bench, until

from headwater.adapters.kafka.bulk import BulkWriter

pytestmark = pytest.mark.kafka

DRAIN_S: Final = 10.0  # promised for SIGTERM under load
TOO_MANY_BAD: Final = 65


def test_a_process_that_is_asked_to_stop_drains_at_once(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """Exit 0 within ten seconds, no stack trace; the next process does the rest, nothing twice."""
    product = bench.product("asked", spring)
    with closing(bench.gauge(product, spring)) as gauge:
        for number in (signal.SIGTERM, signal.SIGINT):
            before = gauge.total()
            with bench.run(product, until_end=False, settings=BUSY) as run:
                gauge.wait_beyond(before + 20_000, run)
                began_s = time.monotonic()
                run.send(number)
                assert run.exit_code(DRAIN_S) == 0, f"{number.name}: {run.errors()}"
                print(f"{number.name}: drained in {time.monotonic() - began_s:.2f} s")
                assert "Traceback" not in run.errors()
                assert '"read"' in run.output()
            assert before < gauge.total() < spring_flights.height, "it was not under load"
    with bench.run(product) as rest:
        assert rest.exit_code() == 0, rest.errors()
    bench.check(product, spring, spring_flights)


def test_several_products_run_under_one_parent(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """One child each; the parent exits 0 when all are done."""
    first, second = bench.product("side-a", spring), bench.product("side-b", spring)
    with bench.run(first, second) as run:
        assert run.exit_code() == 0, run.errors()
    bench.check(first, spring, spring_flights)
    bench.check(second, spring, spring_flights)


def test_a_child_that_fails_drains_the_others(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """The parent exits with the code of the child that failed; the other loses nothing."""
    broken_source = bench.source("broken-in")
    broken = bench.product("broken", broken_source)
    sound = bench.product("sound", spring)
    with closing(bench.gauge(sound, spring)) as gauge:
        with bench.run(sound, broken, until_end=False, settings=BUSY) as run:
            gauge.wait_beyond(0, run)
            writer = BulkWriter(bench.kafka)
            writer.write(broken_source, [b"k"] * 200, [b"no frame"] * 200)
            writer.flush()
            assert run.exit_code() == TOO_MANY_BAD, run.errors()
            assert "PRODUCT_FAILED" in run.errors()
            assert f"{broken}.dead-letters" in run.errors()
        assert gauge.total() < spring_flights.height, "the other one was done before"
        until(lambda: bench.is_settled(sound), START_S, "the drained child left nothing open")
    with bench.run(sound) as rest:
        assert rest.exit_code() == 0, rest.errors()
    bench.check(sound, spring, spring_flights)
