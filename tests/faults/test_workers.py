"""Workers of a product with state come, die and go; who is left takes over what they held."""

import json
import random
import signal
import time
from contextlib import closing
from functools import partial

import pytest
from tests.faults import latest
from tests.faults.harness import END_S, START_S, Bench, Gauge, until
from tests.faults.restless import QUICK, STALL_S, churn, end, feeding, took, works

from headwater.model import Positions

pytestmark = pytest.mark.kafka


def _world(bench: Bench, name: str) -> tuple[str, str, latest.Feed]:
    source, product = f"faults.{name}-seen", f"faults.{name}"
    feed = latest.Feed(bench, source, random.Random(6))
    latest.declare(bench, product, source)
    feed.write(10_000)
    return source, product, feed


@pytest.mark.timeout(180)
@pytest.mark.faults
def test_workers_take_over_from_each_other(bench: Bench) -> None:
    """Two workers; a third one comes and is killed, comes back, and goes for good."""
    source, product, feed = _world(bench, "taken-over")
    with (
        closing(bench.gauge(product, source)) as gauge,
        bench.run(product, "--workers", "2", until_end=False, settings=QUICK) as pair,
    ):
        with feeding(feed):
            gauge.wait_beyond(0, pair)
            until(lambda: pair.probe("/readyz") == 200, START_S, "both workers are ready")
            for how in (signal.SIGKILL, signal.SIGTERM):
                began_s = time.monotonic()
                with bench.run(product, until_end=False, instance="l", settings=QUICK) as third:
                    until(partial(works, third), START_S, "the third one works")
                    took(began_s, f"from its start to its first commit, before {how.name}")
                    third.send(how)
                    third.exit_code()
            began_s, ends = time.monotonic(), bench.topics.ends(source)
            until(lambda: _is_past(gauge, ends), STALL_S, "two do what it left")
            took(began_s, "until what the drained one held went on")
        until(lambda: bench.has_read(product, source), END_S, "all is read")
        end(pair)
        told = [json.loads(line) for line in pair.output().splitlines()]
        assert sorted(each["worker"] for each in told) == [0, 1]
    latest.check(bench, product, source)


def _is_past(gauge: Gauge, ends: Positions) -> bool:
    positions = gauge.positions()
    return all(positions[partition.index] >= end for partition, end in ends.items())


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_workers_come_and_go_every_three_seconds(bench: Bench) -> None:
    """For two minutes, asked or killed: the group goes on, nothing is lost or repeated."""
    source, product, feed = _world(bench, "restless")
    churn(bench, product, source, feed)
    print(f"{feed.fed:,} events")
    latest.check(bench, product, source)
