"""Two logs of observations on the real broker, joined by airport and hour, against a batch join."""

from datetime import timedelta

import polars as pl
import pytest
from tests.products.observed import observed
from tests.products.trial import Trial

pytestmark = pytest.mark.kafka

INPUTS = {"OBSERVATIONS": "meteorology.observations", "HISTORY": "meteorology.observations"}
PRODUCT = """
import polars as pl

from headwater import DataProduct

product = DataProduct("PRODUCT", owner="weather@airport.example")
warm = product.stream("HISTORY", contract=1).filter(pl.col("temp") > 60)
joined = product.stream("OBSERVATIONS", contract=1).join(
    warm, within="1h", columns={"temp": "again"}
)
product.publish(joined.select("origin", "observed_at", "temp", "again"), contract=1)
"""
HOUR = timedelta(hours=1)


def test_a_year_of_observations_finds_the_warm_ones_within_an_hour(trial: Trial) -> None:
    """Its own partitions on both sides: the pairs of a batch join, and alone what found none."""
    trial.declare(PRODUCT, observed(), INPUTS)
    trial.feed(partitions=3)
    summary = trial.run()
    stream = trial.read("OBSERVATIONS").select("origin", "observed_at", "temp")
    warm = stream.filter(pl.col("temp") > 60).rename({"temp": "again", "observed_at": "then"})
    near = (pl.col("observed_at") - pl.col("then")).abs() <= HOUR
    pairs = stream.join(warm, on="origin").filter(near).drop("then")
    alone = stream.join(pairs, on=["origin", "observed_at"], how="anti")
    found = trial.published().select(pairs.columns)
    is_paired = pl.col("again").is_not_null()
    order = pairs.columns
    assert not summary.late
    assert found.filter(is_paired).sort(order).equals(pairs.sort(order))
    told = found.filter(~is_paired).drop("again").sort("origin", "observed_at")
    # what was alone in the last hours still waits for event time to pass
    waiting = alone.join(told, on=["origin", "observed_at"], how="anti")
    assert told.height + waiting.height == alone.height > 1_000
    last = stream.select(pl.col("observed_at").max() - 2 * HOUR).to_series()
    assert (waiting["observed_at"] >= last).all()
