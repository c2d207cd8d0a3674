"""Workers of a product with state come, die and go; who is left takes over what they held."""

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Final

import pytest
from tests.faults import latest
from tests.faults.harness import BUSY, END_S, LOOK_S, START_S, Bench, Gauge, Run, until

from headwater.model import Positions
from headwater.observe import catalogue

pytestmark = pytest.mark.kafka

RECORDS_IN: Final = catalogue.RECORDS_IN.name
PIECE: Final = 200  # events written at a time: some thousands a second, so that all are busy
PAUSE_S: Final = 0.05  # between two pieces
STALL_S: Final = 30.0  # session 6 s, an open transaction 10 s, and a start on a crowded machine
CHANGE_S: Final = 3.0  # between two changes of the group
CHANGES: Final = 40  # two minutes
QUICK: Final = {
    **BUSY,
    # the shortest session a broker takes: a removed static member keeps its partitions that long
    "HEADWATER_KAFKA__SESSION_TIMEOUT_MS": "6000",
    "HEADWATER_KAFKA__HEARTBEAT_INTERVAL_MS": "1000",
}


@contextmanager
def _feeding(feed: latest.Feed) -> Iterator[None]:
    """Events come all the time."""
    done = threading.Event()

    def write() -> None:
        while not done.wait(PAUSE_S):
            feed.write(PIECE)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


class _Progress:
    """The longest time in which nothing was committed, as often as it was looked at."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._total = gauge.total()
        self._moved_s = time.monotonic()
        self.longest_s = 0.0

    def watch(self, seconds: float) -> None:
        """Look for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._look()
            time.sleep(LOOK_S)

    def _look(self) -> None:
        total, now_s = self._gauge.total(), time.monotonic()
        self.longest_s = max(self.longest_s, now_s - self._moved_s)
        assert self.longest_s < STALL_S, "no progress"
        if total > self._total:
            self._total, self._moved_s = total, now_s


def _world(bench: Bench, name: str) -> tuple[str, str, latest.Feed]:
    source, product = f"faults.{name}-seen", f"faults.{name}"
    feed = latest.Feed(bench, source, random.Random(6))
    latest.declare(bench, product, source)
    feed.write(10_000)
    return source, product, feed


def _works(run: Run) -> bool:
    assert not run.ended(), f"it ended with {run.exit_code()}"
    return run.metric(RECORDS_IN) > 0


def _took(began_s: float, what: str) -> None:
    print(f"{what}: {time.monotonic() - began_s:.1f} s")


def _end(*runs: Run) -> None:
    for run in runs:
        run.send(signal.SIGTERM)
    for run in runs:
        # a process that was asked before it could listen had not begun
        assert run.exit_code() in {0, -signal.SIGTERM}, run.errors()


@pytest.mark.timeout(180)
def test_workers_take_over_from_each_other(bench: Bench) -> None:
    """Two workers; a third one comes and is killed, comes back, and goes for good."""
    source, product, feed = _world(bench, "taken-over")
    with (
        closing(bench.gauge(product, source)) as gauge,
        bench.run(product, "--workers", "2", until_end=False, settings=QUICK) as pair,
    ):
        with _feeding(feed):
            gauge.wait_beyond(0, pair)
            until(lambda: pair.probe("/readyz") == 200, START_S, "both workers are ready")
            for how in (signal.SIGKILL, signal.SIGTERM):
                began_s = time.monotonic()
                with bench.run(product, until_end=False, instance="l", settings=QUICK) as third:
                    until(partial(_works, third), START_S, "the third one works")
                    _took(began_s, f"from its start to its first commit, before {how.name}")
                    third.send(how)
                    third.exit_code()
            began_s, ends = time.monotonic(), bench.topics.ends(source)
            until(lambda: _is_past(gauge, ends), STALL_S, "two do what it left")
            _took(began_s, "until what the drained one held went on")
        until(lambda: bench.has_read(product, source), END_S, "all is read")
        _end(pair)
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
    chance = random.Random(7)
    others: dict[str, Run] = {}
    with closing(bench.gauge(product, source)) as gauge, ExitStack() as running:

        def start(instance: str) -> Run:
            run = bench.run(product, until_end=False, instance=instance, settings=QUICK)
            return running.enter_context(run)

        steady = start("a")
        gauge.wait_beyond(0, steady)
        progress = _Progress(gauge)
        with _feeding(feed):
            for _ in range(CHANGES):
                name = chance.choice("bcd")
                if name not in others:
                    others[name] = start(name)
                elif chance.random() < 0.5:
                    others.pop(name).kill()
                else:
                    _end(others.pop(name))
                progress.watch(CHANGE_S)
                for run in (steady, *others.values()):
                    assert not run.ended(), run.errors()
        until(lambda: bench.has_read(product, source), END_S, "all is read")
        _end(steady, *others.values())
    print(f"{feed.fed:,} events, nothing committed for {progress.longest_s:.1f} s at most")
    latest.check(bench, product, source)
