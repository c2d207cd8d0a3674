"""The weather of a year in daily windows on the real broker, against a batch computation."""

import shutil

import polars as pl
import pytest
from tests.products.trial import Trial

pytestmark = pytest.mark.kafka

PRODUCT = """
from headwater import DataProduct, aggregates, tumbling

product = DataProduct("PRODUCT", owner="meteorology@airport.example")
days = product.stream("OBSERVATIONS", contract=1).group_by("origin").window(tumbling("1d"))
product.publish(
    days.agg(hours=aggregates.count(), warmest=aggregates.max("temp")).map(
        lambda frame: frame.drop("window_end")
    ),
    contract=1,
)
"""
OUTPUT = """{"type": "record", "name": "Day", "doc": "The weather of a day.",
 "owner": "meteorology@airport.example", "key": "origin", "eventTime": "window_start", "fields": [
 {"name": "origin", "type": "string", "doc": "The airport."},
 {"name": "window_start", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "."},
 {"name": "hours", "type": "long", "doc": "Observations."},
 {"name": "warmest", "type": ["null", "double"], "default": null, "unit": "F", "doc": "Most."}]}"""


def test_the_days_of_a_year_close_once(trial: Trial) -> None:
    """All but the last of each airport, in order; started again without its disk, none again."""
    trial.declare(PRODUCT, OUTPUT, {"OBSERVATIONS": "meteorology.observations"})
    trial.feed()
    first = trial.run()
    rows = trial.read("OBSERVATIONS")
    assert first.read == rows.height
    day = pl.col("observed_at").dt.truncate("1d").alias("window_start")
    days = rows.group_by("origin", day).agg(
        hours=pl.len().cast(pl.Int64), warmest=pl.col("temp").max()
    )
    closed = days.sort("origin", "window_start").filter(
        pl.col("window_start") < pl.col("window_start").max().over("origin")
    )
    found = trial.published()
    assert found.sort("origin", maintain_order=True).equals(closed)
    shutil.rmtree(trial.root / ".headwater" / "state")
    again = trial.run()
    assert again.read == again.written.total() == 0
    assert trial.published().height == closed.height
