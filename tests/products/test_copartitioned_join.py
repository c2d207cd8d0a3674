"""Observations with their airport and their own history, on the real broker, by partition."""

import pytest
from tests.products.observed import observed
from tests.products.trial import Trial

pytestmark = pytest.mark.kafka

INPUTS = {
    "OBSERVATIONS": "meteorology.observations",
    "AIRPORTS": "reference.airports",
    "HISTORY": "meteorology.observations",
}
PRODUCT = """
from headwater import DataProduct

product = DataProduct("PRODUCT", owner="weather@airport.example")
observations = product.stream("OBSERVATIONS", contract=1)
airports = product.table("AIRPORTS", contract=1)
history = product.table("HISTORY", contract=1, versioned=True)
named = observations.join(airports, on="origin", columns={"name": "name"})
again = named.join_asof(history, by="origin", within="1h", columns={"temp": "again"}, how="inner")
product.publish(again.select("origin", "observed_at", "temp", "again", "name"), contract=1)
"""


def test_a_year_of_observations_finds_the_rows_of_their_partitions(trial: Trial) -> None:
    """Each is joined as a batch join does; the history of its airport holds itself."""
    trial.declare(PRODUCT, observed("name"), INPUTS)
    trial.feed(partitions=3)
    summary = trial.run()
    stream = trial.read("OBSERVATIONS")
    names = trial.read("AIRPORTS").select(origin="faa", name="name")
    expected = stream.with_columns(again="temp").join(names, on="origin", how="left")
    found = trial.published()
    order = ["origin", "observed_at"]
    assert summary.read == stream.height == found.height
    assert found.sort(order).equals(expected.select(found.columns).sort(order))
    assert found["name"].null_count() == 0
