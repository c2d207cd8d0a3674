"""Broken rules as the metrics count them and the log tells them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client import generate_latest

from headwater.clock import ManualClock
from headwater.model import Partition, RuleViolation
from headwater.observe import Health, Metrics, ProcessMonitor, configure_logs

PLACE = Partition("shop.orders", 3)


def violation(rule: str, offset: int, severity: str = "warn") -> RuleViolation:
    """Two records that broke a rule."""
    return RuleViolation("shop.out", rule, severity, 2, PLACE, offset)


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What the log says; afterwards it is as before."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    configure_logs(form="json", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_every_broken_rule_is_counted_and_exists_at_zero_before() -> None:
    """By topic, rule and severity."""
    metrics = Metrics("shop.out")
    metrics.rule("shop.out", "calm", "stop")
    ProcessMonitor(metrics, Health()).rules_broken(
        [violation("r", 1, "reject"), violation("r", 5, "reject")]
    )
    text = generate_latest(metrics.registry).decode()
    name = "headwater_rule_violations_total"
    assert f'{name}{{product="shop.out",rule="calm",severity="stop",topic="shop.out"}} 0.0' in text
    assert f'{name}{{product="shop.out",rule="r",severity="reject",topic="shop.out"}} 4.0' in text


def test_of_a_warning_some_places_are_logged_each_minute(said: io.StringIO) -> None:
    """Five per rule; another rule has its own five, and other severities are told elsewhere."""
    clock = ManualClock()
    monitor = ProcessMonitor(Metrics("shop.out"), Health(), clock=clock)
    monitor.rules_broken([violation("a", n) for n in range(9)])
    monitor.rules_broken([violation("b", 70), violation("c", 80, "reject")])
    clock.advance(59.0)
    monitor.rules_broken([violation("a", 90)])
    clock.advance(1.0)
    monitor.rules_broken([violation("a", 91)])
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [(line["rule"], line["offset"]) for line in lines] == [
        *(("a", n) for n in range(5)),
        ("b", 70),
        ("a", 91),
    ]
    place = {"topic": "shop.orders", "partition": 3, "contract": "shop.out", "records": 2}
    assert lines[0].items() >= place.items()
