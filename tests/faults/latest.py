"""A product with state, `.latest`, its input, and what must come of it."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import polars as pl
from tests.faults.harness import START_S, Bench, until

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.contract import StateRows
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

KEYS: Final = 20_000
EVENTS: Final = 400_000
PARTITIONS: Final = 4
TEXT: Final = """
import polars as pl

from headwater import DataProduct


def halves(frame):
    if (frame["n"] % 50_000 == 7).any():
        raise ValueError
    return frame.with_columns(n=frame["n"] // 2)


product = DataProduct("{product}", owner="me")
flow = product.stream("{source}", contract=1).latest("id", by="at").map(halves)
product.publish(flow, contract=1)
"""
FIELDS: Final = [
    {"name": "id", "type": "string", "doc": "The key."},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When."},
    {"name": "n", "type": "long", "doc": "The number of the event."},
]
Row = tuple[str, int, int]
"""Key, time in milliseconds, number."""


def write_contract(bench: Bench, topic: str) -> None:
    """Write the contract of a topic, keyed by `id`, with event times."""
    file = bench.folder / "schemas" / folder_of(topic) / "v1.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    schema = {
        "type": "record",
        "name": "Seen",
        "namespace": topic.partition(".")[0],
        "doc": "Something seen.",
        "owner": "me",
        "key": "id",
        "eventTime": "at",
        "compatibility": "FULL_TRANSITIVE",
        "fields": FIELDS,
    }
    file.write_text(json.dumps(schema))


class Feed:
    """Writes events of keys at times that go on, and jump back every other time."""

    def __init__(self, bench: Bench, topic: str, chance: random.Random) -> None:
        write_contract(bench, topic)
        bench.topics.create([TopicSettings(topic, PARTITIONS, "log")])
        self._topic = topic
        self._encoder, self._writer = bench.encoder(topic), BulkWriter(bench.kafka)
        self._chance = chance
        self.fed = 0

    def write(self, events: int) -> None:
        """Write this many more, and wait until the broker has them."""
        numbers = range(self.fed, self.fed + events)
        frame = pl.DataFrame(
            {
                "id": [f"key-{self._chance.randrange(KEYS)}" for _ in numbers],
                "at": [1_357_000_000_000 + n - self._chance.randrange(EVENTS) for n in numbers],
                "n": numbers,
            }
        ).cast({"at": pl.Datetime("ms", "UTC")})
        encoded = self._encoder.encode(frame.with_row_index("_row"))
        self._writer.write(self._topic, encoded.keys, encoded.values)
        self._writer.flush()
        self.fed += events


def declare(bench: Bench, product: str, source: str, text: str = TEXT) -> Path:
    """Write the product; the directory of its local state."""
    write_contract(bench, product)
    file = bench.folder / "products" / folder_of(product) / "product.py"
    file.parent.mkdir(parents=True)
    file.write_text(text.format(product=product, source=source))
    return bench.folder / ".headwater/state" / product / "latest-1"


def check(bench: Bench, product: str, source: str) -> None:
    """Outputs, changelog and local stores are those of one pass over the input, event by event."""
    until(lambda: bench.is_settled(product), START_S, "every transaction ended")
    outputs, states = _expected(_rows(bench, source))
    for index, (found, wanted) in enumerate(zip(_rows(bench, product), outputs, strict=True)):
        for place, (one, other) in enumerate(zip(found, wanted, strict=False)):
            assert one == other, f"output {place} of partition {index}"
        assert len(found) == len(wanted)
    assert _changelog(bench, product) == states
    assert _local(bench.folder / ".headwater/state" / product / "latest-1") == states
    assert bench.has_read(product, source)


def _rows(bench: Bench, topic: str) -> list[list[Row]]:
    """The rows of each partition, in log order."""
    found = bench.visible(topic).sort("_partition", "_offset")
    found = found.with_columns(pl.col("at").dt.epoch("ms"))
    return [
        found.filter(pl.col("_partition") == index).select("id", "at", "n").rows()
        for index in range(PARTITIONS)
    ]


def _expected(source: list[list[Row]]) -> tuple[list[list[Row]], list[dict[str, int]]]:
    """Output and state per partition, computed one event at a time; refused ones never were."""
    outputs, states = [], []
    for rows in source:
        best: dict[str, int] = {}
        output = []
        for key, at, number in rows:
            if at >= best.get(key, at) and number % 50_000 != 7:
                best[key] = at
                output.append((key, at, number // 2))
        outputs.append(output)
        states.append(best)
    return outputs, states


def _named(entries: Iterator[tuple[bytes, bytes]]) -> dict[str, int]:
    """Entries of a store or changelog, read."""
    keys, values = zip(*entries, strict=True)
    key, by = {"id": pl.String()}, {"at": pl.Datetime("ms", "UTC")}
    ids = StateRows(key).decode(keys)["id"]
    rows = StateRows(by, keys=key, meaning={"step": "latest"})
    times = rows.decode(values)["at"].dt.epoch("ms")
    return dict(zip(ids, times, strict=True))


def _changelog(bench: Bench, product: str) -> list[dict[str, int]]:
    """The fold of each partition of the changelog."""
    folds: list[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)]
    for record in bench.records(f"{product}.latest-1.changelog"):
        assert record.key is not None
        assert record.value is not None
        folds[record.partition.index][record.key] = record.value
    return [_named(iter(fold.items())) for fold in folds]


def _local(directory: Path) -> list[dict[str, int]]:
    """What the local store of each task holds."""
    stores, found = RocksDbStores(directory, RocksDbMemory(8 << 20)), []
    for task in range(PARTITIONS):
        with closing(stores.open(task)) as store:
            found.append(_named(zip(*store.scan(b"", KEYS), strict=True)))
    return found
