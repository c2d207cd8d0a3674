"""A product with a flow for each step with state, and what is left of it beside a calm twin."""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Literal

import polars as pl
from tests.faults.harness import START_S, Bench, until

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

PARTITIONS: Final = 4
KEYS: Final = 500
BACK_MS: Final = 300  # times jump back by up to so much
BEGIN_MS: Final = 1_357_000_000_000
ALL_ENTRIES: Final = 100_000  # more than any store here holds
TEXT: Final = """
from dataclasses import dataclass
from datetime import datetime, timedelta

from headwater import DataProduct, ProcessContext, aggregates, session, tumbling


@dataclass
class Seen:
    n: int = 0


def seen(event: dict, state: Seen, context: ProcessContext) -> dict:
    state.n += 1
    context.set_timer(event["at"] + timedelta(seconds=1))
    return {{**event, "n": state.n}}


def over(state: Seen, at: datetime, context: ProcessContext) -> dict:
    seen = state.n
    if seen % 5 == 0:
        context.forget()
    return {{"id": context.key["id"], "at": at, "n": -seen}}


product = DataProduct("{product}", owner="me")
orders = product.stream("{orders}", contract=1)
payments = product.stream("{payments}", contract=1)
names = product.table("{names}", contract=1)

product.publish(orders.dedupe("id", within="400ms"), contract=1)
product.publish(orders.process(seen, state=Seen, on_timer=over), contract=1, port="process")
product.publish(orders.join(names, on="id", columns={{"n": "m"}}), contract=1, port="table")
paid = orders.join(payments, within="200ms", columns={{"n": "m"}}, allowed_lateness="1s")
product.publish(paid, contract=1, port="streams")
sums = {{"n": aggregates.count(), "m": aggregates.sum("n")}}
sessions = orders.group_by("id").window(session(gap="700ms"), allowed_lateness="100ms")
product.publish(
    sessions.agg(**sums).select("id", "n", "m", at="window_start"), contract=1, port="sessions"
)
changes = orders.group_by("id").window(tumbling("2s"), emit="on_change")
product.publish(
    changes.agg(**sums).select("id", "n", "m", at="window_start"), contract=1, port="changes"
)
"""
STEPS: Final = {
    "": "dedupe-1",
    ".process": "process-1",
    ".table": None,
    ".streams": "stream-join-1",
    ".sessions": "window-1",
    ".changes": "window-1",
}
"""The step with state of each port, if it has a store."""
UNORDERED: Final = {".streams"}  # how two topics take turns is arrival order
FADING: Final = {""}  # when rows that are over are deleted depends on batches, and is never seen
_EVENT: Final[Sequence[Mapping[str, Any]]] = [
    {"name": "id", "type": "string", "doc": "The key."},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When."},
    {"name": "n", "type": "long", "doc": "A number."},
]
_SECOND: Final[Mapping[str, Any]] = {
    "name": "m",
    "type": ["null", "long"],
    "default": None,
    "doc": "Another one.",
}


def _write_contract(bench: Bench, topic: str, fields: Sequence[Mapping[str, Any]] = _EVENT) -> None:
    schema = {
        "type": "record",
        "name": "Event",
        "namespace": topic.partition(".")[0],
        "doc": "Something that happened.",
        "owner": "me",
        "key": "id",
        "eventTime": "at",
        "compatibility": "FULL_TRANSITIVE",
        "fields": list(fields),
    }
    file = bench.folder / "schemas" / folder_of(topic) / "v1.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema))


class Feed:
    """Two logs whose times go on together, a millisecond an event, and jump back a little.

    And a table of half the keys, which stays as it is.
    """

    def __init__(self, bench: Bench, name: str) -> None:
        self.orders, self.payments, self.names = (
            f"faults.{name}-{each}" for each in ("orders", "payments", "names")
        )
        for topic in (self.orders, self.payments, self.names):
            _write_contract(bench, topic)
            kind: Literal["log", "table"] = "table" if topic == self.names else "log"
            bench.topics.create([TopicSettings(topic, PARTITIONS, kind)])
        self._writer = BulkWriter(bench.kafka)
        self._encoders = {topic: bench.encoder(topic) for topic in (self.orders, self.payments)}
        self._chance = random.Random(5)
        self.fed = 0
        frame = pl.DataFrame({"id": [f"key-{n}" for n in range(0, KEYS, 2)]}).select(
            "id", at=pl.lit(BEGIN_MS), n=pl.int_range(pl.len())
        )
        encoded = bench.encoder(self.names).encode(_timed(frame))
        self._writer.write(self.names, encoded.keys, encoded.values)
        self._writer.flush()

    def write(self, events: int) -> None:
        """Write this many more to each log, and wait until the broker has them."""
        draw = self._chance.randrange
        for topic, encoder in self._encoders.items():
            numbers = range(self.fed, self.fed + events)
            frame = pl.DataFrame(
                {
                    "id": [f"key-{draw(KEYS)}" for _ in numbers],
                    "at": [BEGIN_MS + number - draw(BACK_MS) for number in numbers],
                    "n": numbers,
                }
            )
            encoded = encoder.encode(_timed(frame))
            self._writer.write(topic, encoded.keys, encoded.values)
        self._writer.flush()
        self.fed += events


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    types = {"at": pl.Datetime("ms", "UTC"), "n": pl.Int64()}
    return frame.cast(pl.Schema(types)).with_row_index("_row")


def declare(bench: Bench, product: str, feed: Feed) -> None:
    """Write the product and the contracts of its ports."""
    for port in STEPS:
        _write_contract(bench, f"{product}{port}", [*_EVENT, _SECOND])
    file = bench.folder / "products" / folder_of(product) / "product.py"
    file.parent.mkdir(parents=True)
    text = TEXT.format(
        product=product, orders=feed.orders, payments=feed.payments, names=feed.names
    )
    file.write_text(text)


def loses_its_disk(bench: Bench, product: str) -> None:
    """All that is left is in the changelogs."""
    for kept in ("state", "checkpoints"):
        for port in STEPS:
            folder = bench.folder / ".headwater" / kept / f"{product}{port}"
            shutil.rmtree(folder, ignore_errors=True)


def check(bench: Bench, product: str, calm: str, feed: Feed) -> None:
    """Outputs in their order, changelogs and local stores are those of a calm twin."""
    for port, step in STEPS.items():
        found, wanted = (_rows(bench, f"{each}{port}", port) for each in (product, calm))
        assert wanted.height > feed.fed // 20, f"{port} says too little to be a proof"
        assert found.equals(wanted), f"outputs of {port or 'the product'}"
        if step is not None:
            held = _changelog(bench, f"{product}{port}.{step}.changelog")
            assert _stored(bench, f"{product}{port}/{step}") == held, f"local state of {port}"
            if port not in FADING:
                twin = _changelog(bench, f"{calm}{port}.{step}.changelog")
                assert held == twin, f"changelog of {port}"
    assert all(bench.has_read(product, each) for each in (feed.orders, feed.payments))


def _rows(bench: Bench, topic: str, port: str) -> pl.DataFrame:
    """What was published, by partition and in its order, where the order is that of one input."""
    until(lambda: bench.is_settled(topic), START_S, f"{topic} is settled")
    names = ["_partition", "id", "at", "n", "m"]
    found = bench.visible(topic).sort("_partition", "_offset").select(names)
    return found.sort(pl.all()) if port in UNORDERED else found


def _changelog(bench: Bench, topic: str) -> list[dict[bytes, bytes]]:
    """The fold of each partition."""
    folds: list[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)]
    for record in bench.records(topic):
        assert record.key is not None
        if record.value is None:
            folds[record.partition.index].pop(record.key, None)
        else:
            folds[record.partition.index][record.key] = record.value
    return folds


def _stored(bench: Bench, step: str) -> list[dict[bytes, bytes]]:
    """What the local store of each task holds."""
    stores = RocksDbStores(bench.folder / ".headwater/state" / step, RocksDbMemory(8 << 20))
    found = []
    for task in range(PARTITIONS):
        with closing(stores.open(task)) as store:
            found.append(dict(zip(*store.scan(b"", ALL_ENTRIES), strict=True)))
    return found
