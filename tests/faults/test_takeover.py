"""Zombies: processes that come back to an id that another one uses now, or nobody."""

import signal
from collections.abc import Callable
from contextlib import closing
from typing import Final

import polars as pl
import pytest
from confluent_kafka.admin import AdminClient
from tests.faults.harness import BUSY, START_S, Bench, Run, until

pytestmark = pytest.mark.kafka

FENCED: Final = 75
EXPIRED_S: Final = 40.0  # transaction timeout 10 s, session timeout 12 s, on a crowded machine
STOPPED_IN_A_TRANSACTION: Final = {"HEADWATER_FAIL": "after_produce:stop@20"}


def _members(bench: Bench, group: str) -> int:
    """The members of a group; one that was stopped counts until its session times out."""
    admin = AdminClient({**bench.kafka, "log_level": 2})
    found = admin.describe_consumer_groups([group], request_timeout=5)[group].result(10)
    return len(found.members)


def _has_expired(bench: Bench, product: str) -> Callable[[], bool]:
    """Whether the broker gave up a stopped process: its transaction and its membership."""
    return lambda: bench.is_settled(product) and _members(bench, product) == 0


def _stopped(bench: Bench, product: str) -> Run:
    """A process that stopped itself with outputs in an open transaction."""
    run = bench.run(product, settings={**BUSY, **STOPPED_IN_A_TRANSACTION})
    until(lambda: run.ended() or run.is_stopped(), START_S, "the process stops itself")
    assert not run.ended(), run.errors()
    assert not bench.is_settled(product)
    return run


def test_the_older_of_two_processes_with_one_id_gives_up(
    bench: Bench, year: str, flights: pl.DataFrame
) -> None:
    """It exits 75 and says why; the younger one does the work, nothing is published twice."""
    product = bench.product("twins", year)
    with closing(bench.gauge(product, year)) as gauge:
        with bench.run(product, settings=BUSY) as older:
            gauge.wait_beyond(0, older)
            with bench.run(product) as younger:
                assert older.exit_code() == FENCED
                assert "another process uses" in older.errors()
                assert "Traceback" not in older.errors()
                assert younger.exit_code() == 0, younger.errors()
    bench.check(product, year, flights)


def test_a_process_that_wakes_after_a_takeover_gives_up(
    bench: Bench, year: str, flights: pl.DataFrame
) -> None:
    """Stopped in a transaction and replaced, it exits 75 once awake; nothing is published twice."""
    product = bench.product("zombie", year)
    with closing(bench.gauge(product, year)) as gauge, _stopped(bench, product) as older:
        before = gauge.total()
        with bench.run(product, settings=BUSY) as younger:
            gauge.wait_beyond(before, younger)
            older.send(signal.SIGCONT)
            assert older.exit_code() == FENCED, older.errors()
            assert "another process uses" in older.errors()
            assert younger.exit_code() == 0, younger.errors()
    bench.check(product, year, flights)


def test_a_process_that_nobody_replaced_goes_on(
    bench: Bench, year: str, flights: pl.DataFrame
) -> None:
    """Stopped beyond its transaction's timeout, it starts that transaction again and finishes."""
    product = bench.product("sleeper", year)
    with _stopped(bench, product) as run:
        until(lambda: bench.is_settled(product), EXPIRED_S, "the broker aborts the transaction")
        run.send(signal.SIGCONT)
        assert run.exit_code() == 0, run.errors()
    bench.check(product, year, flights)


@pytest.mark.faults
@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "alone"])
def test_a_process_that_the_group_forgot_publishes_nothing_twice(
    bench: Bench, year: str, flights: pl.DataFrame, is_replaced: bool
) -> None:
    """Stopped beyond transaction and session, it gives up, or goes on from the group's word."""
    product = bench.product(f"forgotten-{is_replaced}".lower(), year)
    with _stopped(bench, product) as older:
        until(_has_expired(bench, product), EXPIRED_S, "the broker gives the process up")
        if is_replaced:
            with closing(bench.gauge(product, year)) as gauge:
                before = gauge.total()
                with bench.run(product, settings=BUSY) as younger:
                    gauge.wait_beyond(before, younger)
                    older.send(signal.SIGCONT)
                    assert older.exit_code() == FENCED, older.errors()
                    assert younger.exit_code() == 0, younger.errors()
        else:
            older.send(signal.SIGCONT)
            assert older.exit_code() == 0, older.errors()
    bench.check(product, year, flights)


@pytest.mark.faults
def test_a_process_that_wakes_when_all_is_done_publishes_nothing(
    bench: Bench, year: str, flights: pl.DataFrame
) -> None:
    """Its successor has finished and left the group: whether it gives up or not, nothing comes."""
    product = bench.product("late", year)
    with _stopped(bench, product) as older:
        with bench.run(product) as younger:
            assert younger.exit_code() == 0, younger.errors()
        until(_has_expired(bench, product), EXPIRED_S, "the successor's session times out")
        older.send(signal.SIGCONT)
        assert older.exit_code() in {0, FENCED}, older.errors()
    bench.check(product, year, flights)
