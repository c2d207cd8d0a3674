"""The demo: real events through two products to logs and verified snapshots, on one machine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Final

from headwater.adapters.kafka.topics import KafkaTopics
from headwater.assembly.project import LoadedProduct, load_product
from headwater.assembly.running import RunOptions, run_product
from headwater.assembly.snapshots import Snapshots
from headwater.clock import SYSTEM
from headwater.config import Settings
from headwater.snapshot.verdict import Verdict

MARKERS_S: Final = 10.0  # transaction.timeout.ms: then no transaction of ours is open
PRODUCTS: Final = ("operations.departure-delays", "operations.cancellations")

Told = Callable[[int, int], None]
Bar = Callable[[str], AbstractContextManager[Told]]
"""A progress bar of this name: told what is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Visited:
    """One product after the tour. `rate` is input records a second of this run, None for none."""

    product: str
    read: int
    records: int
    dead_letters: int
    rate: float | None
    lag: int
    snapshot_rows: int
    snapshot: str
    verdict: Verdict


def visit(settings: Settings, bar: Bar) -> Iterator[Visited]:
    """Run each product to the end of now, snapshot it and verify the snapshot.

    Raises what `run_product`, `Snapshots.take` and `Snapshots.verify` raise, and KeyboardInterrupt
    when a run was stopped.
    """
    for name in PRODUCTS:
        loaded = load_product(name)
        with bar(f"run {name}") as told:
            summary = run_product(loaded, settings, RunOptions(until_end=True), told)
        if summary.was_stopped:  # it drained, and whoever stopped it meant the tour
            raise KeyboardInterrupt
        topics = KafkaTopics(settings.kafka)
        _await_markers(topics, name)
        with closing(Snapshots(loaded, settings)) as snapshots:
            with bar(f"snapshot {name}") as told:
                taken = snapshots.take(name, told)
            with bar(f"verify {name}") as told:
                verdict = snapshots.verify(name, told, full=False)
        yield Visited(
            product=name,
            read=summary.read,
            records=taken.rows_total,
            dead_letters=sum(summary.codes.values()),
            rate=summary.read / summary.seconds if summary.read else None,
            lag=_lag(topics, loaded),
            snapshot_rows=taken.rows_total,
            snapshot=taken.location,
            verdict=verdict,
        )


def _await_markers(topics: KafkaTopics, topic: str) -> None:
    """A commit is answered before its markers are written; until then readers do not see it."""
    deadline_s = SYSTEM.monotonic() + MARKERS_S
    while topics.ends(topic) != topics.high_watermarks(topic) and SYSTEM.monotonic() < deadline_s:
        pass


def _lag(topics: KafkaTopics, loaded: LoadedProduct) -> int:
    """Records of the inputs that the product's group has not committed yet."""
    lag = 0
    for stream in loaded.product.inputs:
        committed = topics.group_offsets(loaded.name, stream.topic)
        ends = topics.ends(stream.topic)
        lag += sum(end - committed.get(partition, 0) for partition, end in ends.items())
    return lag


def ways_to_read(settings: Settings) -> Mapping[str, str]:
    """How to read an output, as commands to copy: whatever format its snapshot has."""
    return {
        "Snapshot with Polars": f"""\
.venv/bin/python -c "
import headwater, polars as pl
delays = headwater.open('{PRODUCTS[0]}').snapshot().lazy()
print(delays.group_by('carrier').agg(pl.len(), pl.mean('delay_minutes')).sort('carrier').collect())
"\
""",
        "Snapshot with SQL": f"""\
.venv/bin/pip install --quiet duckdb && .venv/bin/headwater sql "
SELECT carrier, count(*), avg(delay_minutes) AS delay_minutes
FROM '{PRODUCTS[0]}' GROUP BY carrier ORDER BY carrier
"\
""",  # noqa: S608  # a command to copy, run by nobody here
        "Live log with a plain Kafka client": f"""\
.venv/bin/python -c "
from confluent_kafka import DeserializingConsumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
registry = SchemaRegistryClient({{'url': '{settings.registry["url"]}', 'timeout': 10}})
# by default it would first ask for associations, which the registry of `dev up` has no page for
by_topic = {{'subject.name.strategy.type': 'TOPIC'}}
consumer = DeserializingConsumer({{
    'bootstrap.servers': '{settings.kafka["bootstrap.servers"]}', 'group.id': 'me',
    'auto.offset.reset': 'earliest', 'isolation.level': 'read_committed',
    'value.deserializer': AvroDeserializer(registry, conf=by_topic)}})
consumer.subscribe(['{PRODUCTS[0]}'])
for _ in range(3):
    print(consumer.poll(10).value())
consumer.close()
"\
""",
    }
