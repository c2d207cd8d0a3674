"""A product that counts by another key, so far and by windows, and its input."""

import json
import random
from collections.abc import Mapping
from typing import Final

import polars as pl
from confluent_kafka import Producer
from tests.faults.harness import START_S, Bench

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

KEYS: Final = 20_000  # that are counted by
IDS: Final = 2_000  # that events come with
PARTITIONS: Final = 4
WINDOW_MS: Final = 10_000
LATENESS_MS: Final = 1_000
BACK_MS: Final = 3_000  # times jump back by up to so much: some events are late
OFTEN: Final = {
    "HEADWATER_POLL_SIZE": "1000",
    "HEADWATER_COMMIT_INTERVAL": "5ms",  # each batch is a transaction
    "HEADWATER_CHECKPOINT_EVERY": "1s",
    # little is fetched ahead of the rows between the tasks: each life counts some of them
    "HEADWATER_KAFKA__QUEUED_MIN_MESSAGES": "1000",
    "HEADWATER_KAFKA__MAX_PARTITION_FETCH_BYTES": "32768",
}
"""Settings with many small transactions in which rows are moved and counted."""
BEGIN_MS: Final = 1_357_000_000_000
TEXT: Final = """
from headwater import DataProduct, aggregates, tumbling
from headwater.engine import purging

purging.PURGE_S = float("inf")  # what was moved is kept for the witness
product = DataProduct("{product}", owner="me")
rows = product.stream("{source}", contract=1).rekey("label").group_by("label")
counted = {{
    "seen": aggregates.count(),
    "total": aggregates.sum("n"),
    "least": aggregates.min("n"),
    "most": aggregates.max("n"),
}}
product.publish(rows.agg(**counted), contract=1)
windows = rows.window(tumbling("10s"), allowed_lateness="1s")
product.publish(windows.agg(**counted), contract=1, port="windows")
"""
_TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}
_RESULTS: Final = {
    "seen": "long",
    "total": ["null", "long"],
    "least": ["null", "long"],
    "most": ["null", "long"],
}


def _write_contract(
    bench: Bench, topic: str, key: str, time: str | None, fields: Mapping[str, object]
) -> None:
    described = [
        {"name": name, "type": kind, "doc": "."}
        | ({"default": None} if isinstance(kind, list) else {})
        for name, kind in fields.items()
    ]
    schema = {
        "type": "record",
        "name": "Counted",
        "namespace": topic.partition(".")[0],
        "doc": "Something counted.",
        "owner": "me",
        "key": key,
        "compatibility": "FULL_TRANSITIVE",
        "fields": described,
        **({} if time is None else {"eventTime": time}),
    }
    file = bench.folder / "schemas" / folder_of(topic) / "v1.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema))


class Feed:
    """Writes events at times that go on, a millisecond each, and jump back a little."""

    def __init__(self, bench: Bench, topic: str, chance: random.Random) -> None:
        _write_contract(
            bench, topic, "id", "at", {"id": "string", "label": "string", "at": _TIME, "n": "long"}
        )
        bench.topics.create([TopicSettings(topic, PARTITIONS, "log")])
        self._topic = topic
        self._encoder, self._writer = bench.encoder(topic), BulkWriter(bench.kafka)
        self._chance = chance
        self.fed = 0

    def write(self, events: int) -> None:
        """Write this many more, and wait until the broker has them."""
        numbers, draw = range(self.fed, self.fed + events), self._chance.randrange
        frame = pl.DataFrame(
            {
                "id": [f"id-{draw(IDS)}" for _ in numbers],
                "label": [f"label-{draw(KEYS)}" for _ in numbers],
                "at": [BEGIN_MS + number - draw(BACK_MS) for number in numbers],
                "n": [draw(-1_000_000, 1_000_000) for _ in numbers],
            }
        ).cast({"at": pl.Datetime("ms", "UTC")})
        encoded = self._encoder.encode(frame.with_row_index("_row"))
        self._writer.write(self._topic, encoded.keys, encoded.values)
        self._writer.flush()
        self.fed += events


def declare(bench: Bench, product: str, source: str, text: str = TEXT) -> None:
    """Write the product and its contracts."""
    _write_contract(bench, product, "label", None, {"label": "string", **_RESULTS})
    bounds = {"label": "string", "window_start": _TIME, "window_end": _TIME}
    _write_contract(bench, f"{product}.windows", "label", "window_start", {**bounds, **_RESULTS})
    file = bench.folder / "products" / folder_of(product) / "product.py"
    file.parent.mkdir(parents=True)
    file.write_text(text.format(product=product, source=source))


def fence(bench: Bench, product: str, instance: str = "k", workers: int = 2) -> None:
    """End what processes that are no more left open, as the next ones of their ids would."""
    for number in range(workers):
        settings = {**bench.kafka, "transactional.id": f"{product}.{instance}.{number}"}
        Producer(settings).init_transactions(START_S)
