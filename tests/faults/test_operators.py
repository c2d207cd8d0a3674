"""Every step with state under `kill -9`: as if nothing had happened."""

import random
from contextlib import closing
from typing import Final, get_args

import pytest
from tests.faults import operators
from tests.faults.harness import BUSY, Bench

from headwater.engine.failpoints import Point

pytestmark = pytest.mark.kafka

OFTEN: Final = {**BUSY, "HEADWATER_CHECKPOINT_EVERY": "1s"}


def _world(bench: Bench, name: str) -> tuple[str, str, operators.Feed]:
    """A product, its calm twin, and what both read."""
    product, calm = f"faults.{name}", f"faults.{name}-calm"
    feed = operators.Feed(bench, name)
    for each in (product, calm):
        operators.declare(bench, each, feed)
    return product, calm, feed


def _comes_to_the_end(bench: Bench, product: str) -> None:
    with bench.run(product) as run:
        assert run.exit_code(600) == 0, run.errors()


def _killed_at(bench: Bench, product: str, feed: operators.Feed, point: str) -> None:
    """One life that ends at a named place, with work left."""
    with bench.run(product, settings={**OFTEN, "HEADWATER_FAIL": point}) as run:
        assert run.exit_code() == -9, run.errors()
    with (
        closing(bench.gauge(product, feed.orders)) as orders,
        closing(bench.gauge(product, feed.payments)) as payments,
    ):
        assert 0 < orders.total() + payments.total() < 2 * feed.fed, "this kill does not count"


@pytest.mark.timeout(240)
def test_a_kill_and_a_lost_disk_change_no_operator(bench: Bench) -> None:
    """Deduplication, timers, both joins, sessions and windows: outputs, changelogs and stores."""
    product, calm, feed = _world(bench, "operators-short")
    feed.write(5_000)
    _killed_at(bench, product, feed, "during_commit:kill@6")
    operators.loses_its_disk(bench, product)
    _comes_to_the_end(bench, product)
    _comes_to_the_end(bench, calm)
    operators.check(bench, product, calm, feed)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_kills_anywhere_change_no_operator(bench: Bench) -> None:
    """At every named place and at moments of chance, now and then with the disk lost."""
    product, calm, feed = _world(bench, "operators")
    chance = random.Random(11)
    feed.write(2_000)
    _comes_to_the_end(bench, product)  # there is state to be lost
    feed.write(150_000)
    plan = [*get_args(Point), *[""] * 8]
    for point in chance.sample(plan, len(plan)):
        if point == "during_restore":
            operators.loses_its_disk(bench, product)
        if point:
            is_rare = point in {"during_restore", "after_flush", "during_checkpoint"}
            times = 1 if is_rare else chance.randint(4, 12)
            _killed_at(bench, product, feed, f"{point}:kill@{times}")
            continue
        with (
            bench.run(product, settings=OFTEN) as run,
            closing(bench.gauge(product, feed.orders)) as gauge,
        ):
            for _ in range(chance.randint(1, 6)):
                gauge.wait_beyond(gauge.total(), run)
            run.kill()
            assert gauge.total() < feed.fed, "this kill does not count"
    for each in (product, calm):
        _comes_to_the_end(bench, each)
    operators.check(bench, product, calm, feed)
