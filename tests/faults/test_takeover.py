"""Zombies: processes that come back to an id that another one uses now, or nobody."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, EXPIRED_S, START_S, Bench, Gauge, Run, until

pytestmark = pytest.mark.kafka

FENCED: Final = 75
# the member stays in the group: no new assignment says where to begin again, the process must
LONG_SESSION: Final = {
    "HEADWATER_KAFKA__SESSION_TIMEOUT_MS": "40000",
    # and soon gone: the broker looks for what is beyond its timeout every 10 s only
    "HEADWATER_KAFKA__TRANSACTION_TIMEOUT_MS": "3000",
    "HEADWATER_KAFKA__MESSAGE_TIMEOUT_MS": "3000",
    "HEADWATER_KAFKA__SOCKET_TIMEOUT_MS": "3000",
}
STOPPED_IN_A_TRANSACTION: Final = {"HEADWATER_FAIL": "after_send_offsets:stop@20"}


@contextmanager
def _stopped(
    bench: Bench, product: str, source: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Run, Gauge]]:
    """A process that stopped itself with positions in an open transaction."""
    with (
        closing(bench.gauge(product, source)) as gauge,
        bench.run(
            product, settings={**BUSY, **STOPPED_IN_A_TRANSACTION, **(settings or {})}
        ) as run,
    ):
        until(lambda: run.ended() or run.is_stopped(), START_S, "the process stops itself")
        assert not run.ended()
        assert not gauge.is_stable(), "no transaction is open"
        yield run, gauge


def test_the_older_of_two_processes_with_one_id_gives_up(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """It exits 75 and says why; the younger one does the work, nothing is published twice."""
    product = bench.product("twins", spring)
    with (
        closing(bench.gauge(product, spring)) as gauge,
        bench.run(product, settings=BUSY, until_end=False) as older,  # may not be done before
    ):
        gauge.wait_beyond(0, older)
        with bench.run(product) as younger:
            assert older.exit_code() == FENCED
            assert "another process uses" in older.errors()
            assert "Traceback" not in older.errors()
            assert younger.exit_code() == 0, younger.errors()
    bench.check(product, spring, spring_flights)


def test_a_process_that_wakes_after_a_takeover_gives_up(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """Stopped in a transaction and replaced, it exits 75 once awake; nothing is published twice."""
    product = bench.product("zombie", spring)
    with _stopped(bench, product, spring) as (older, gauge):
        _replaced(bench, product, older, gauge)
    bench.check(product, spring, spring_flights)


def test_a_process_that_nobody_replaced_goes_on(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """Stopped beyond its transaction's timeout, it starts that transaction again and finishes."""
    product = bench.product("sleeper", spring)
    with _stopped(bench, product, spring, LONG_SESSION) as (run, gauge):
        until(gauge.is_stable, EXPIRED_S, "the broker aborts the transaction")
        run.send(signal.SIGCONT)
        assert run.exit_code() == 0
        assert "Traceback" not in run.errors()
    bench.check(product, spring, spring_flights)


@pytest.mark.faults
def test_a_process_that_the_group_forgot_goes_on(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """Stopped beyond transaction and session, it joins again and goes on from what is committed."""
    product = bench.product("forgotten", spring)
    with _stopped(bench, product, spring) as (run, _):
        until(lambda: bench.members(product) == 0, EXPIRED_S, "the session times out")
        run.send(signal.SIGCONT)
        assert run.exit_code() == 0
    bench.check(product, spring, spring_flights)


@pytest.mark.faults
def test_a_process_that_the_group_forgot_and_replaced_gives_up(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """Stopped beyond transaction and session, then replaced, it exits 75 once awake."""
    product = bench.product("replaced", spring)
    with _stopped(bench, product, spring) as (older, gauge):
        until(lambda: bench.members(product) == 0, EXPIRED_S, "the session times out")
        _replaced(bench, product, older, gauge)
    bench.check(product, spring, spring_flights)


@pytest.mark.faults
def test_a_process_that_wakes_when_all_is_done_publishes_nothing(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """Its successor has finished and left the group: whether it gives up or not, nothing comes."""
    product = bench.product("late", spring)
    with _stopped(bench, product, spring) as (older, _):
        with bench.run(product) as younger:
            assert younger.exit_code() == 0
        until(lambda: bench.members(product) == 0, EXPIRED_S, "the successor's session ends")
        older.send(signal.SIGCONT)
        assert older.exit_code() in {0, FENCED}
    bench.check(product, spring, spring_flights)


def _replaced(bench: Bench, product: str, older: Run, gauge: Gauge) -> None:
    """Another process takes over, the stopped one wakes up in the middle of its work."""
    before = gauge.total()
    with bench.run(product, settings=BUSY) as younger:
        gauge.wait_beyond(before, younger)
        older.send(signal.SIGCONT)
        assert older.exit_code() == FENCED
        assert "another process uses" in older.errors()
        assert younger.exit_code() == 0
