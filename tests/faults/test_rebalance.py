"""A second instance comes and goes while the first one works."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, END_S, LOOK_S, START_S, Bench, Gauge, until

from headwater.observe import catalogue

pytestmark = pytest.mark.kafka

RECORDS_IN: Final = catalogue.RECORDS_IN.name
QUICK_SESSION: Final = {
    # the shortest session a broker takes: a stopped static member keeps its partitions that long
    "HEADWATER_KAFKA__SESSION_TIMEOUT_MS": "6000",
    "HEADWATER_KAFKA__HEARTBEAT_INTERVAL_MS": "1000",
}


@contextmanager
def _watched(gauge: Gauge) -> Iterator[list[dict[int, int]]]:
    """Everything the group ever had committed, as far as looking often tells."""
    seen: list[dict[int, int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            seen.append(gauge.positions())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_no_owner_commits_positions_of_partitions_it_gave_away(
    bench: Bench, spring: str, spring_flights: pl.DataFrame
) -> None:
    """A second instance joins, works and leaves: no position goes back, nothing comes twice."""
    product = bench.product("shared", spring)
    settings = {**BUSY, "HEADWATER_POLL_SIZE": "300", **QUICK_SESSION}
    with (
        closing(bench.gauge(product, spring)) as gauge,
        closing(bench.gauge(product, spring)) as watched,
        _watched(watched) as seen,
    ):
        with bench.run(product, until_end=False, instance="one", settings=settings) as one:
            gauge.wait_beyond(0, one)
            with bench.run(product, until_end=False, instance="two", settings=settings) as two:
                until(lambda: two.metric(RECORDS_IN) > 0, START_S, "the second one works")
                two.send(signal.SIGTERM)
                assert two.exit_code() == 0
            until(lambda: bench.has_read(product, spring), END_S, "the first one does the rest")
            one.send(signal.SIGTERM)
            assert one.exit_code() == 0
        assert gauge.positions() == {p.index: n for p, n in bench.topics.ends(spring).items()}
    for before, after in pairwise(seen):
        assert all(after.get(index, -1) >= offset for index, offset in before.items())
    bench.check(product, spring, spring_flights)
