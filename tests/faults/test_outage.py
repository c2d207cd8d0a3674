"""Broker and registry that go away and come back while a product runs."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, START_S, Bench, until

from headwater import embedded
from headwater.adapters.kafka.bulk import BulkWriter
from headwater.embedded import Addresses
from headwater.embedded.guard import temporary

pytestmark = pytest.mark.kafka

TOLD_S: Final = 40.0  # a call of 8 s, then a new client of 8 s, then the probe tells


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
    bench: Bench, year: str, flights: pl.DataFrame, status: embedded.Status
) -> None:
    """Not ready but alive meanwhile; the same process goes on, nothing is lost or repeated."""
    product = bench.product("silence", year)
    with (
        closing(bench.gauge(product, year)) as gauge,
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
    bench.check(product, year, flights)


def test_a_silent_registry_does_not_stop_known_schemas(
    bench: Bench, year: str, flights: pl.DataFrame, status: embedded.Status
) -> None:
    """Ids seen before need no answer: the product reads to the end without one."""
    product = bench.product("known", year)
    with (
        closing(bench.gauge(product, year)) as gauge,
        bench.run(product, settings=BUSY) as run,
    ):
        gauge.wait_beyond(0, run)
        with _paused(status.registry.pid):
            assert run.exit_code() == 0
    bench.check(product, year, flights)


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
