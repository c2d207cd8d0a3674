"""Two logs of observations on the real broker, joined by airport and hour, against a batch join."""

import os
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from structlog.contextvars import clear_contextvars
from tests.products.test_copartitioned_join import OUTPUT, Year

from headwater.assembly import feed as module
from headwater.assembly import running
from headwater.assembly.feed import FeedOptions, feed
from headwater.assembly.flights import data_directory, observations
from headwater.assembly.project import load_product
from headwater.assembly.running import RunOptions, run_product
from headwater.config import load_settings
from headwater.embedded import Addresses

pytestmark = pytest.mark.kafka

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


def test_a_year_of_observations_finds_the_warm_ones_within_an_hour(
    stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own partitions on both sides: the pairs of a batch join, and alone what found none."""
    environment = {"KAFKA": stack.kafka, "REGISTRY": stack.registry, "ENVIRONMENT": "dev"}
    for key, value in environment.items():
        monkeypatch.setenv(f"HEADWATER_{key}", value)
    monkeypatch.chdir(tmp_path)
    assert OUTPUT["key"] == "origin"
    year = Year(tmp_path)
    text = PRODUCT.replace("PRODUCT", year.product)
    for word, (_, source) in year.sources.items():
        text = text.replace(word, source.topic)
    (tmp_path / "products" / year.product.replace(".", "/") / "product.py").write_text(text)
    settings = load_settings(tmp_path, dict(os.environ))
    monkeypatch.setattr(module, "SOURCES", tuple(source for _, source in year.sources.values()))
    # the alarm of this process is pytest's
    monkeypatch.setattr(running, "bounded", lambda loaded, _seconds: loaded)
    for _ in feed(settings, tmp_path / "schemas", FeedOptions(partitions=3), lambda *_: None):
        pass
    try:
        summary = run_product(load_product(year.product), settings, RunOptions(until_end=True))
    finally:
        clear_contextvars()
    stream = observations(data_directory()).select("origin", "observed_at", "temp")
    warm = stream.filter(pl.col("temp") > 60).rename({"temp": "again", "observed_at": "then"})
    near = (pl.col("observed_at") - pl.col("then")).abs() <= HOUR
    pairs = stream.join(warm, on="origin").filter(near).drop("then")
    alone = stream.join(pairs, on=["origin", "observed_at"], how="anti")
    found = year.published(settings).select(pairs.columns)
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
