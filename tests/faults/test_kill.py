"""`kill -9`, again and again, while events flow."""

import random
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, START_S, Bench, Gauge, until

from headwater.engine.failpoints import Point

pytestmark = pytest.mark.kafka

POINTS: Final[tuple[Point, ...]] = (
    "after_produce",
    "after_send_offsets",
    "during_commit",
    "after_commit",
)
LIVES_S: Final = 4e-6  # per event, of all processes after their first commits: for half of them
KILLED: Final = -9


@dataclass
class Storm:
    """Kills a product at seeded moments until enough kills count."""

    bench: Bench
    gauge: Gauge
    product: str
    end: int
    kills: int
    seed: int
    recoveries_s: list[float] = field(default_factory=list)
    killed_s: float | None = None

    def rage(self) -> None:
        """Kill `kills` times; each counts: the committed offsets lie strictly within the log."""
        chance = random.Random(self.seed)
        plan = [*POINTS, *[""] * (self.kills - len(POINTS))]
        chance.shuffle(plan)
        for number, point in enumerate(plan):
            self._live(point, chance)
            position = self.gauge.total()
            assert 0 < position < self.end, "this kill does not count"
            print(f"kill {number + 1:2} {point or 'anywhere':18} at {position:9,}")

    def _live(self, point: str, chance: random.Random) -> None:
        # beyond the commits of where work begins, one per partition
        fail = {"HEADWATER_FAIL": f"{point}:kill@{chance.randint(6, 12)}"} if point else {}
        before = self.gauge.total()
        with self.bench.run(self.product, settings={**BUSY, **fail}) as run:
            until(lambda: run.ended() or self.gauge.total() > before, START_S, "a commit")
            self.recovered()
            if point:
                assert run.exit_code(START_S) == KILLED
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    run.exit_code(chance.uniform(0, LIVES_S * self.end / self.kills))
                run.kill()
            self.killed_s = time.monotonic()

    def recovered(self) -> None:
        """The next commit after a kill was seen."""
        if self.killed_s is not None:
            took_s = time.monotonic() - self.killed_s
            self.recoveries_s.append(took_s)
            print(f"   recovered after {took_s:.2f} s")

    def tell(self) -> None:
        """Print how long recoveries took."""
        hundredths = quantiles(self.recoveries_s, n=100, method="inclusive")
        print(f"recovery p50 {hundredths[49]:.2f} s, p99 {hundredths[98]:.2f} s (target 5 s)")


def _survives(bench: Bench, source: str, fed: pl.DataFrame, kills: int, seed: int) -> None:
    product = bench.product(f"killed-{kills}", source)
    with closing(bench.gauge(product, source)) as gauge:
        storm = Storm(bench, gauge, product, end=fed.height, kills=kills, seed=seed)
        storm.rage()
        before = gauge.total()
        with bench.run(product) as run:
            gauge.wait_beyond(before, run)
            storm.recovered()
            assert run.exit_code() == 0
    storm.tell()
    bench.check(product, source, fed)


@pytest.mark.timeout(300)
def test_six_kills_lose_and_repeat_nothing(bench: Bench, year: str, flights: pl.DataFrame) -> None:
    """Killed at every named point and at random moments, each output is there exactly once."""
    _survives(bench, year, flights, kills=6, seed=2013)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_thirty_kills_lose_and_repeat_nothing(
    bench: Bench, three_years: str, million: pl.DataFrame
) -> None:
    """The same with thirty kills, among a million events."""
    _survives(bench, three_years, million, kills=30, seed=31)
