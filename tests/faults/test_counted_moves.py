"""Event time while tasks move every three seconds: the same windows as if nothing had happened."""

import random
from typing import Final

import pytest
from tests.faults import counted
from tests.faults.harness import Bench
from tests.faults.restless import churn
from tests.faults.witness import Witness

pytestmark = pytest.mark.kafka

WINDOWS: Final = """
from headwater import DataProduct, aggregates, tumbling

product = DataProduct("{product}", owner="me")
rows = product.stream("{source}", contract=1).group_by("id")
windows = rows.window(tumbling("10s"), allowed_lateness="1s").agg(
    seen=aggregates.count(),
    total=aggregates.sum("n"),
    least=aggregates.min("n"),
    most=aggregates.max("n"),
)
names = ["window_start", "window_end", "seen", "total", "least", "most"]
product.publish(windows.select(*names, label="id"), contract=1, port="windows")
"""


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_windows_of_moving_tasks_are_those_of_an_undisturbed_run(bench: Bench) -> None:
    """Every record of the log, in its order, for two minutes of processes that come and go."""
    source, disturbed, calm = (f"faults.moves-{each}" for each in ("in", "disturbed", "calm"))
    feed = counted.Feed(bench, source, random.Random(6))
    feed.write(10_000)
    for product in (disturbed, calm):
        counted.declare(bench, product, source, WINDOWS)
    churn(bench, disturbed, source, feed)
    with bench.run(calm) as run:
        assert run.exit_code() == 0, run.errors()
    names = ["_partition", "_offset", "label", "window_start", "seen", "total", "least", "most"]
    found, wanted = (
        bench.visible(f"{each}.windows").sort("_partition", "_offset").select(names)
        for each in (disturbed, calm)
    )
    places = [column for column in names if column != "_offset"]  # of markers there are others
    assert found.select(places).equals(wanted.select(places))
    assert found.height > 10_000
    print(f"{feed.fed:,} events, {found.height:,} windows")


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_rows_between_moving_tasks_are_counted_once(bench: Bench) -> None:
    """By another key, so far and by windows: each output, changelog and store as in one pass."""
    source, product = "faults.moved-count-in", "faults.moved-count"
    feed = counted.Feed(bench, source, random.Random(6))
    feed.write(10_000)
    counted.declare(bench, product, source)
    churn(bench, product, source, feed)
    with bench.run(product) as run:
        assert run.exit_code() == 0, run.errors()
    Witness(bench, product, source).check_end()
    print(f"{feed.fed:,} events")
