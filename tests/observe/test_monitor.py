"""What the loop says reaches metrics, probes and the log, each once."""

import pytest
import structlog
from prometheus_client import generate_latest

from headwater.clock import ManualClock
from headwater.model import Code, Halt, HaltCode, Partition, Refusal, TableStanding
from headwater.observe.health import Health
from headwater.observe.metrics import Metrics
from headwater.observe.monitor import ProcessMonitor

HALT = Halt(Partition("raw.orders", 3), 42, HaltCode.INCOMPATIBLE_SCHEMA, "schema 7: no total")


@pytest.fixture
def metrics() -> Metrics:
    """The instruments of one product."""
    return Metrics("shop.orders", clock=ManualClock())


def _series(metrics: Metrics, name: str) -> dict[str, float]:
    lines = [
        line.rpartition(" ") for line in generate_latest(metrics.registry).decode().split("\n")
    ]
    return {series: float(value) for series, _, value in lines if series.startswith(f"{name}{{")}


def test_a_halted_partition_is_told_everywhere_and_logged_once(metrics: Metrics) -> None:
    """Alert metric, a note on /readyz that does not make it unready, one line in the log."""
    health = Health(clock=ManualClock())
    monitor = ProcessMonitor(metrics, health)
    health.started()
    health.assigned()
    with structlog.testing.capture_logs() as lines:
        monitor.halted([HALT])
        monitor.halted([])
        monitor.halted([HALT])
    (line,) = lines
    assert line["log_level"] == "error"
    assert (line["topic"], line["partition"], line["offset"]) == ("raw.orders", 3, 42)
    assert line["reason"] == "schema 7: no total"
    assert "--on-incompatible dead-letter" in line["advice"]
    assert list(_series(metrics, "headwater_partition_halted").values()) == [1.0]
    assert health.readyz().is_ok
    assert health.readyz().notes == ("halted: raw.orders[3]@42 INCOMPATIBLE_SCHEMA",)
    monitor.halted([])
    assert _series(metrics, "headwater_partition_halted") == {}
    assert health.readyz().notes == ()


def test_a_wait_is_logged_when_it_begins_and_when_it_is_over(metrics: Metrics) -> None:
    """One line each, however often it is told: a person who reads only the log sees both."""
    clock = ManualClock()
    monitor = ProcessMonitor(metrics, Health(clock=clock), clock=clock)
    with structlog.testing.capture_logs() as lines:
        monitor.waiting(None)
        monitor.waiting("The disk is full.")
        monitor.waiting("The disk is full.")
        clock.advance(2.5)
        monitor.waiting(None)
        monitor.waiting(None)
    begun, ended = lines
    assert (begun["event"], begun["reason"]) == ("loop.waiting", "The disk is full.")
    assert (ended["event"], ended["seconds"]) == ("loop.waited", 2.5)


def test_a_limit_half_used_is_warned_of_once(metrics: Metrics) -> None:
    """A count around the half is no second warning; calm in between is."""
    monitor = ProcessMonitor(metrics, Health(clock=ManualClock()))
    with structlog.testing.capture_logs() as lines:
        for used in (0.4, 0.6, 0.45, 0.7, 0.1, 0.6):
            monitor.limits_used({"total": used, "AVRO_LENGTH": 0.2})
    assert [(line["code"], line["used"]) for line in lines] == [("total", 0.6), ("total", 0.6)]
    assert sorted(_series(metrics, "headwater_bad_records_limit_used").values()) == [0.2, 0.6]


def test_tables_are_told_as_they_are_read(metrics: Metrics) -> None:
    """How many keys and rows, how much is left; one line in the log once a table is read."""
    monitor = ProcessMonitor(metrics, Health(clock=ManualClock()))
    with structlog.testing.capture_logs() as lines:
        for keys, left in ((10, 25), (30, 0), (31, 0)):
            monitor.tables([TableStanding("fleet.aircraft", keys, 2 * keys, left)])
    (line,) = lines
    assert (line["event"], line["topic"]) == ("loop.table_read", "fleet.aircraft")
    assert (line["keys"], line["rows"]) == (30, 60)
    assert list(_series(metrics, "headwater_table_keys").values()) == [31]
    assert list(_series(metrics, "headwater_table_rows").values()) == [62]
    assert list(_series(metrics, "headwater_table_records_left").values()) == [0]


def test_refused_records_of_a_table_are_all_counted_and_some_logged(metrics: Metrics) -> None:
    """By code, and by place without a payload; a bad million fills no disk."""
    monitor = ProcessMonitor(metrics, Health(clock=ManualClock()))
    where = Partition("fleet.aircraft", 1)
    refusals = [Refusal(where, n, Code.BAD_KEY, "a key that is not UTF-8") for n in range(40)]
    with structlog.testing.capture_logs() as lines:
        monitor.tables_refused(refusals)
    assert len(lines) == 5
    assert (lines[0]["offset"], lines[0]["partition"], lines[0]["of_batch"]) == (0, 1, 40)
    assert list(_series(metrics, "headwater_table_records_refused_total").values()) == [40]
