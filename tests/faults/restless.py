"""Processes of a product that come and go while events flow."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final, Protocol

from tests.faults.harness import BUSY, END_S, LOOK_S, Bench, Gauge, Run, until

from headwater.observe import catalogue

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


class Feeder(Protocol):
    """Writes events to a topic."""

    def write(self, events: int) -> None:
        """Write this many more."""


@contextmanager
def feeding(feed: Feeder) -> Iterator[None]:
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


class Progress:
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


def works(run: Run) -> bool:
    """Whether it has read something."""
    assert not run.ended(), f"it ended with {run.exit_code()}"
    return run.metric(RECORDS_IN) > 0


def took(began_s: float, what: str) -> None:
    """Print how long something took."""
    print(f"{what}: {time.monotonic() - began_s:.1f} s")


def end(*runs: Run) -> None:
    """Ask processes to stop, and wait until they did."""
    for run in runs:
        run.send(signal.SIGTERM)
    for run in runs:
        # a process that was asked before it could listen had not begun
        assert run.exit_code() in {0, -signal.SIGTERM}, run.errors()


def churn(bench: Bench, product: str, source: str, feed: Feeder) -> None:
    """One process stays, others come and go for two minutes, asked or killed; then all is read."""
    chance = random.Random(7)
    others: dict[str, Run] = {}
    with closing(bench.gauge(product, source)) as gauge, ExitStack() as running:

        def start(instance: str) -> Run:
            run = bench.run(product, until_end=False, instance=instance, settings=QUICK)
            return running.enter_context(run)

        steady = start("a")
        gauge.wait_beyond(0, steady)
        progress = Progress(gauge)
        with feeding(feed):
            for _ in range(CHANGES):
                name = chance.choice("bcd")
                if name not in others:
                    others[name] = start(name)
                elif chance.random() < 0.5:
                    others.pop(name).kill()
                else:
                    end(others.pop(name))
                progress.watch(CHANGE_S)
                for run in (steady, *others.values()):
                    assert not run.ended(), run.errors()
        until(lambda: bench.has_read(product, source), END_S, "all is read")
        end(steady, *others.values())
    print(f"nothing committed for {progress.longest_s:.1f} s at most")
