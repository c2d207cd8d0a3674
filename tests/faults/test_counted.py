"""Counting by another key under `kill -9`: after each kill all is as one pass would have it."""

import os
import random
import shutil
import signal
import time
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Final, get_args

import pytest
from tests.faults import counted
from tests.faults.harness import Bench
from tests.faults.witness import Witness

from headwater.engine.failpoints import Point

pytestmark = pytest.mark.kafka

KILLED: Final = 128 + signal.SIGKILL  # a worker, as its parent says it


def _killed_at(bench: Bench, product: str, source: str, point: str, events: int) -> None:
    """One life of two workers, of which one is killed at a named place; it must count."""
    began_s = time.monotonic()
    with bench.run(
        product, "--workers", "2", settings={**counted.OFTEN, "HEADWATER_FAIL": point}
    ) as run:
        assert run.exit_code() == KILLED, run.errors()
    counted.fence(bench, product)
    with closing(bench.gauge(product, source)) as gauge:
        at = gauge.total()
        assert 0 < at < events, "this kill does not count"
    print(f"{point:24} at {at:9,}, {time.monotonic() - began_s:.1f} s")


def _loses_its_disk(bench: Bench, product: str) -> None:
    """All that is left is in the changelogs."""
    for kept in ("state", "checkpoints"):
        for output in (product, f"{product}.windows"):
            shutil.rmtree(bench.folder / ".headwater" / kept / output, ignore_errors=True)


@pytest.mark.timeout(300)
def test_after_each_kill_all_is_as_one_pass_would_have_it(bench: Bench) -> None:
    """Sums, counts and bounds at every output, changelogs, stores, windows; and a lost disk."""
    source, product, events = "faults.counted-short-in", "faults.counted-short", 40_000
    feed = counted.Feed(bench, source, random.Random(5))
    feed.write(events // 2)
    counted.declare(bench, product, source)
    _comes_to_the_end(bench, product)  # there is state to be lost
    feed.write(events // 2)
    witness = Witness(bench, product, source)
    _loses_its_disk(bench, product)
    _killed_at(bench, product, source, "during_restore:kill@1", events)
    assert witness.check() > 0
    _killed_at(bench, product, source, "during_commit:kill@10", events)
    witness.check()
    _comes_to_the_end(bench, product)
    witness.check_end()


def _comes_to_the_end(bench: Bench, product: str) -> None:
    with bench.run(product, "--workers", "2") as run:
        assert run.exit_code(600) == 0, run.errors()


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_thirty_kills_anywhere_change_nothing(bench: Bench) -> None:
    """At every named place and at moments of chance, now and then with the disk lost."""
    points = get_args(Point)
    plan = [*points, *points, *[""] * (30 - 2 * len(points))]
    _survives(bench, "counted", plan, 1_000_000)


def _survives(bench: Bench, name: str, plan: list[str], events: int) -> None:
    """Lives that end as planned, in any order, and one that comes to the end."""
    source, product, chance = f"faults.{name}-in", f"faults.{name}", random.Random(11)
    feed = counted.Feed(bench, source, chance)
    feed.write(10_000)
    counted.declare(bench, product, source)
    _comes_to_the_end(bench, product)  # there is state to be lost
    while feed.fed < events:
        feed.write(min(50_000, events - feed.fed))
    witness = Witness(bench, product, source)
    recovered_s = []
    for point in chance.sample(plan, len(plan)):
        if point == "during_restore":
            _loses_its_disk(bench, product)
        if point:
            is_rare = point in {"during_restore", "after_flush", "during_checkpoint"}
            times = 1 if is_rare else chance.randint(8, 16)
            _killed_at(bench, product, source, f"{point}:kill@{times}", events)
        else:
            recovered_s.append(_killed_anywhere(bench, product, source, chance, events))
        print(f"{witness.check():,} outputs checked")
    _comes_to_the_end(bench, product)
    witness.check_end()
    *_, p99 = quantiles(recovered_s, n=100, method="inclusive")
    print(f"from a start to its first commit: p50 {median(recovered_s):.1f} s, p99 {p99:.1f} s")


def _killed_anywhere(
    bench: Bench, product: str, source: str, chance: random.Random, events: int
) -> float:
    """One life of two workers, of which one is killed some commits after the first.

    How many seconds it took to its first commit.
    """
    began_s = time.monotonic()
    with (
        closing(bench.gauge(product, source)) as gauge,
        bench.run(product, "--workers", "2", settings=counted.OFTEN) as run,
    ):
        gauge.wait_beyond(gauge.total(), run)
        took_s = time.monotonic() - began_s
        for _ in range(chance.randint(0, 7)):
            gauge.wait_beyond(gauge.total(), run)
        victim = chance.choice(_children(run.process.pid))
        os.kill(victim, signal.SIGKILL)
        assert run.exit_code() == KILLED, run.errors()
        counted.fence(bench, product)
        assert 0 < gauge.total() < events, "this kill does not count"
        print(f"{'anywhere':24} at {gauge.total():9,}, first commit after {took_s:.1f} s")
    return took_s


def _children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
