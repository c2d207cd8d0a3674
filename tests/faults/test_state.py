"""Steps with state under `kill -9`: outputs, changelog and local store are those of one pass."""

import random
import shutil
from contextlib import closing

import pytest
from tests.faults import latest
from tests.faults.harness import BUSY, START_S, Bench, Run
from tests.faults.latest import EVENTS

pytestmark = pytest.mark.kafka


def _dies(bench: Bench, run: Run, product: str, source: str, lives: int) -> None:
    """Wait until the process is killed, at a named place or by us after some commits."""
    with closing(bench.gauge(product, source)) as gauge:
        for _ in range(lives):
            gauge.wait_beyond(gauge.total(), run)
        run.kill()
        assert 0 < gauge.total() < EVENTS, "this kill does not count"


@pytest.mark.timeout(300)
def test_kills_change_no_output_and_no_state(bench: Bench) -> None:
    """Killed in three places, once with its disk lost: all is as if nothing had happened."""
    source, product = "faults.seen", "faults.latest"
    feed = latest.Feed(bench, source, random.Random(5))
    for _ in range(20):
        feed.write(EVENTS // 20)
    local = latest.declare(bench, product, source)
    for point in ("after_produce", "during_commit"):
        fail = {"HEADWATER_FAIL": f"{point}:kill@25"}
        with bench.run(product, settings={**BUSY, **fail}) as run:
            assert run.exit_code(START_S) == -9
        with closing(bench.gauge(product, source)) as gauge:
            assert 0 < gauge.total() < EVENTS, "this kill does not count"
    with bench.run(product, settings=BUSY) as run:
        _dies(bench, run, product, source, 3)
    shutil.rmtree(local)
    with bench.run(product) as run:
        assert run.exit_code() == 0
    latest.check(bench, product, source)
