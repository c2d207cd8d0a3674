"""What a step raises is nowhere to be read: not in outputs, logs or metrics of a real run."""

import json
import signal
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import PRODUCT, START_S, Bench, until

pytestmark = pytest.mark.kafka

CANARY: Final = "canary-17"
STRANGE: Final = '''
import asyncio


class Panic(BaseException):
    """As libraries written in Rust raise it."""


KINDS = [asyncio.CancelledError, SystemExit, Panic, ValueError]


def strange(frame: pl.DataFrame) -> pl.DataFrame:
    """As it is, but four flights are refused, each in another way."""
    for flight in frame["flight_id"]:
        if flight.startswith("canary-17"):
            raise KINDS[int(flight[-1])](flight)
    return frame


'''


def test_what_a_step_raises_is_nowhere_to_be_read(bench: Bench, flights: pl.DataFrame) -> None:
    """Four records are set aside by their types alone, all others go through, and it goes on."""
    fed = flights.filter(pl.col("dep_delay").is_not_null()).head(40)
    names = [f"{CANARY}-{n // 10}" if n % 10 == 3 else f"flight-{n}" for n in range(40)]
    source = bench.source("strange", [fed.with_columns(flight_id=pl.Series(names))])
    steps = PRODUCT.read_text().replace("product = ", f"{STRANGE}product = ", 1)
    product = bench.product("sane", source, steps.replace(".filter(", ".map(strange).filter(", 1))
    with bench.run(product, until_end=False) as run:
        until(
            lambda: run.metric("headwater_records_quarantined_total") == 4, START_S, "four letters"
        )
        status, metrics = run._get("/metrics")
        run.send(signal.SIGTERM)
        assert run.exit_code() == 0
        said = run.output() + run.errors()
    assert status == 200
    assert CANARY not in metrics + said
    assert json.loads(run.output())["quarantined"] == {"STEP_FAILED": 4}
    letters = bench.records(f"{product}.dead-letters")
    told = sorted(str(dict(each.headers)["headwater.error.message"]) for each in letters)
    assert not any(CANARY in each for each in told)
    assert bench.visible(product).height == 36
