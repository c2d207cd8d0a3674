"""Broker and registry that go away and come back while a product runs."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.faults.harness import BUSY, START_S, Bench, Gauge, Run, until

from headwater import embedded
from headwater.adapters.kafka.bulk import BulkWriter
from headwater.embedded import Addresses
from headwater.embedded.guard import temporary

pytestmark = pytest.mark.kafka

TOLD_S: Final = 40.0  # a call of 8 s, then a new client of 8 s, then the probe tells

AWAY: Final = 69
FENCED: Final = 75
HELD: Final = 120_000  # ms; longer than the test
KILLS: Final = 3
GONE_S: Final = 10.0  # SIGKILL needs the kernel only
RESUMED_S: Final = 30.0  # from the answer of a restarted broker to the next commit
KILLED_END_S: Final = 240.0  # a million records in commits of a thousand, on a crowded machine


@contextmanager
def _paused(pid: int | None) -> Iterator[None]:
    """A service that keeps its connections and answers nothing."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def status(session_home: Path, stack: Addresses) -> embedded.Status:
    """The processes of the session's stack."""
    return embedded.status(session_home)


def test_a_silent_broker_is_waited_for(
    bench: Bench, spring: str, spring_flights: pl.DataFrame, status: embedded.Status
) -> None:
    """Not ready but alive meanwhile; the same process goes on, nothing is lost or repeated."""
    product = bench.product("silence", spring)
    with (
        closing(bench.gauge(product, spring)) as gauge,
        bench.run(product, settings=BUSY) as run,
    ):
        gauge.wait_beyond(0, run)
        assert run.probe("/readyz") == HTTPStatus.OK
        with _paused(status.kafka.pid):
            until(
                lambda: run.probe("/readyz") == HTTPStatus.SERVICE_UNAVAILABLE, TOLD_S, "not ready"
            )
            assert run.probe("/livez") == HTTPStatus.OK
        assert run.exit_code() == 0
        assert "Traceback" not in run.errors()
    bench.check(product, spring, spring_flights)


def test_a_silent_registry_does_not_stop_known_schemas(
    bench: Bench, spring: str, spring_flights: pl.DataFrame, status: embedded.Status
) -> None:
    """Ids seen before need no answer: the product reads to the end without one."""
    product = bench.product("known", spring)
    with (
        closing(bench.gauge(product, spring)) as gauge,
        bench.run(product, settings=BUSY) as run,
    ):
        gauge.wait_beyond(0, run)
        with _paused(status.registry.pid):
            assert run.exit_code() == 0
    bench.check(product, spring, spring_flights)


def test_an_unknown_schema_waits_for_a_silent_registry(
    bench: Bench, flights: pl.DataFrame, status: embedded.Status
) -> None:
    """Whether an id exists is not decided by silence: no dead letter, and the next record waits."""
    fed = flights.head(1_000)
    source = bench.source("unknown-in", [fed], partitions=1)
    product = bench.product("unknown", source)
    with (
        closing(bench.gauge(product, source)) as gauge,
        bench.run(product, until_end=False) as run,
    ):
        until(lambda: gauge.total() == fed.height, START_S, "all is read")
        with _paused(status.registry.pid):
            writer = BulkWriter(bench.kafka)
            writer.write(source, [b"k"], [b"\0\x7f\xff\xff\xff"])
            writer.flush()
            until(
                lambda: run.probe("/readyz") == HTTPStatus.SERVICE_UNAVAILABLE, TOLD_S, "not ready"
            )
            assert run.probe("/livez") == HTTPStatus.OK
            assert gauge.total() == fed.height
        until(lambda: gauge.total() == fed.height + 1, TOLD_S, "the registry has said no")
        run.send(signal.SIGTERM)
        assert run.exit_code() == 0
    (letter,) = bench.records(f"{product}.dead-letters")
    assert dict(letter.headers)["headwater.error.code"] == b"UNKNOWN_SCHEMA_ID"
    bench.check(product, source, fed)


@pytest.mark.faults
def test_positions_that_a_hanging_transaction_holds_are_not_waited_for_without_end(
    bench: Bench, year: str
) -> None:
    """Beyond `outage_limit` it exits 69, names its transactional id and says what to do."""
    product = bench.product("hanging", year)
    asker = Consumer({**bench.kafka, "group.id": product})
    holder = Producer(
        {**bench.kafka, "transactional.id": "hanging", "transaction.timeout.ms": HELD}
    )
    with closing(asker):
        holder.init_transactions(START_S)
        holder.begin_transaction()
        held = [TopicPartition(year, 0, 1)]
        holder.send_offsets_to_transaction(held, asker.consumer_group_metadata(), START_S)
        with bench.run(product, settings={"HEADWATER_OUTAGE_LIMIT": "30s"}) as run:
            assert run.exit_code() == AWAY
            assert f"{product}.k.0" in run.errors()
            assert "find-hanging" in run.errors()
            assert "Traceback" not in run.errors()
        holder.abort_transaction(START_S)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_broker_that_is_stopped_and_started_again_loses_nothing(
    tmp_path: Path, flights: pl.DataFrame
) -> None:
    """The same process waits it out and finishes."""
    home = tmp_path / "stack"
    with temporary(home) as addresses:
        bench = Bench(addresses, tmp_path / "project")
        year = bench.source("restarted-in", [flights])
        product = bench.product("restarted", year)
        with (
            closing(bench.gauge(product, year)) as gauge,
            bench.run(product, settings=BUSY) as run,
        ):
            gauge.wait_beyond(20_000, run)
            embedded.down(home)
            until(
                lambda: run.probe("/readyz") == HTTPStatus.SERVICE_UNAVAILABLE, TOLD_S, "not ready"
            )
            assert run.probe("/livez") == HTTPStatus.OK
            assert embedded.up(home) == addresses
            assert run.exit_code() == 0
            assert "Traceback" not in run.errors()
        bench.check(product, year, flights)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_an_idle_process_tells_that_the_broker_is_gone(
    tmp_path: Path, flights: pl.DataFrame
) -> None:
    """Nothing to read and nothing to commit, it is not ready all the same, until the broker is."""
    home = tmp_path / "stack"
    fed = flights.head(1_000)
    with temporary(home) as addresses:
        bench = Bench(addresses, tmp_path / "project")
        source = bench.source("idle-in", [fed])
        product = bench.product("idle", source)
        with (
            closing(bench.gauge(product, source)) as gauge,
            bench.run(product, until_end=False) as run,
        ):
            until(lambda: gauge.total() == fed.height, START_S, "all is read")
            embedded.down(home)
            until(
                lambda: run.probe("/readyz") == HTTPStatus.SERVICE_UNAVAILABLE, TOLD_S, "not ready"
            )
            assert run.probe("/livez") == HTTPStatus.OK
            assert embedded.up(home) == addresses
            until(lambda: run.probe("/readyz") == HTTPStatus.OK, RESUMED_S, "ready again")
            run.send(signal.SIGTERM)
            assert run.exit_code() == 0
        bench.check(product, source, fed)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_a_broker_that_is_killed_three_times_in_mid_run_loses_nothing(
    tmp_path: Path, million: pl.DataFrame
) -> None:
    """Within 30 s after it answers again work goes on, in the same process or, after 75, the next.

    A client whose session ends while its process waits for another call, just before the broker is
    back, is fenced by what it was itself (librdkafka#3437): then a new process is what helps.
    """
    home = tmp_path / "stack"
    with temporary(home) as addresses, ExitStack() as runs:
        bench = Bench(addresses, tmp_path / "project")
        source = bench.source("killed-in", [million])
        product = bench.product("killed", source)
        gauge = runs.enter_context(closing(bench.gauge(product, source)))
        run = runs.enter_context(bench.run(product, settings=BUSY))
        for _ in range(KILLS):
            gauge.wait_beyond(gauge.total() + 20_000, run)
            _kill_broker(home)
            assert embedded.up(home) == addresses
            if not _goes_on(gauge, run):
                assert run.exit_code() == FENCED
                run = runs.enter_context(bench.run(product, settings=BUSY))
                assert _goes_on(gauge, run), run.errors()[-3000:]
        assert run.exit_code(KILLED_END_S) == 0
        assert "Traceback" not in run.errors()
        bench.check(product, source, million)


def _kill_broker(home: Path) -> None:
    broker = embedded.status(home).kafka.pid
    assert broker is not None
    os.kill(broker, signal.SIGKILL)
    until(lambda: not embedded.status(home).kafka.running, GONE_S, "it is gone")


def _goes_on(gauge: Gauge, run: Run) -> bool:
    """Whether the next commit comes in time; False when the process ends instead."""
    before = gauge.total()
    until(lambda: run.ended() or gauge.total() > before, RESUMED_S, "the next commit")
    return not run.ended()
