"""A year of departures joined with their aircraft on the real broker, against a batch join."""

import pytest
from tests.products.trial import Trial

from headwater.adapters.kafka.topics import KafkaTopics
from headwater.errors import StartRefusedError
from headwater.ports import TopicSettings

pytestmark = pytest.mark.kafka

INPUTS = {"AIRCRAFT": "fleet.aircraft", "DEPARTURES": "operations.departures"}
PRODUCT = """
import polars as pl
from headwater import DataProduct

product = DataProduct("PRODUCT", owner="flight-operations@airport.example")
departures = product.stream("DEPARTURES", contract=1)
aircraft = product.table("AIRCRAFT", contract=1, broadcast=True)
joined = departures.join(aircraft, on="tailnum", columns={"year": "built", "seats": "seats"})
product.publish(
    joined.select("flight_id", "tailnum", "built", "seats"), contract=1
)
"""
OUTPUT = """{"type": "record", "name": "Joined", "doc": "A departure and its aircraft.",
 "owner": "flight-operations@airport.example", "key": "flight_id", "fields": [
 {"name": "flight_id", "type": "string", "doc": "The flight."},
 {"name": "tailnum", "type": ["null", "string"], "default": null, "doc": "The aircraft."},
 {"name": "built", "type": ["null", "int"], "default": null, "doc": "Its year."},
 {"name": "seats", "type": ["null", "int"], "default": null, "doc": "Its seats."}]}"""


@pytest.mark.slow
def test_a_year_of_departures_joined_equals_a_batch_join(trial: Trial) -> None:
    """Every departure once, with what an independent join of the data set gives it."""
    trial.declare(PRODUCT, OUTPUT, INPUTS)
    trial.feed()
    summary = trial.run()
    table, stream = trial.read("AIRCRAFT"), trial.read("DEPARTURES")
    planes = table.select("tailnum", "seats", built="year")
    expected = stream.join(planes, on="tailnum", how="left").select(
        "flight_id", "tailnum", "built", "seats"
    )
    found = trial.published()
    assert summary.read == stream.height == found.height
    assert found.sort("flight_id").equals(expected.sort("flight_id"))
    assert found["built"].null_count() > 0
    assert found["built"].drop_nulls().len() > found.height / 2


def test_a_table_that_is_not_compacted_or_not_there_refuses_the_start(trial: Trial) -> None:
    """Before the first record, and before anything is created."""
    trial.declare(PRODUCT, OUTPUT, INPUTS)
    aircraft, departures = (trial.sources[word].topic for word in INPUTS)
    topics = KafkaTopics(trial.settings.kafka)
    topics.create([TopicSettings(departures, 1, "source")])
    with pytest.raises(StartRefusedError, match=aircraft) as caught:
        trial.run()
    assert caught.value.code == "TOPIC_MISSING"
    topics.create([TopicSettings(aircraft, 1, "log")])
    with pytest.raises(StartRefusedError, match=r"cleanup.policy=compact") as caught:
        trial.run()
    assert caught.value.code == "TABLE_NOT_COMPACTED"
    assert topics.partitions(trial.product) is None
