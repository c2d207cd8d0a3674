"""Steps with state under `kill -9`: outputs, changelog and local store are those of one pass."""

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, START_S, Bench, Run, until

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.contract import StateRows
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

pytestmark = pytest.mark.kafka

KEYS: Final = 20_000
EVENTS: Final = 400_000
PARTITIONS: Final = 4
PIECE: Final = 20_000
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


def _contract(bench: Bench, topic: str) -> None:
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


def _source(bench: Bench, topic: str, events: int) -> None:
    """Events of keys at times that go on, and jump back every other time."""
    chance = random.Random(5)
    _contract(bench, topic)
    bench.topics.create([TopicSettings(topic, PARTITIONS, "log")])
    encoder, writer = bench.encoder(topic), BulkWriter(bench.kafka)
    for first in range(0, events, PIECE):
        numbers = range(first, first + PIECE)
        frame = pl.DataFrame(
            {
                "id": [f"key-{chance.randrange(KEYS)}" for _ in numbers],
                "at": [1_357_000_000_000 + n - chance.randrange(events) for n in numbers],
                "n": numbers,
            }
        ).cast({"at": pl.Datetime("ms", "UTC")})
        encoded = encoder.encode(frame.with_row_index("_row"))
        writer.write(topic, encoded.keys, encoded.values)
    writer.flush()


def _product(bench: Bench, product: str, source: str) -> None:
    _contract(bench, product)
    file = bench.folder / "products" / folder_of(product) / "product.py"
    file.parent.mkdir(parents=True)
    file.write_text(TEXT.format(product=product, source=source))


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
    ids = StateRows({"id": pl.String()}).decode(keys)["id"]
    times = StateRows({"at": pl.Datetime("ms", "UTC")}).decode(values)["at"].dt.epoch("ms")
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


def _dies(bench: Bench, run: Run, product: str, source: str, lives: int) -> None:
    """Wait until the process is killed, at a named place or by us after some commits."""
    with closing(bench.gauge(product, source)) as gauge:
        for _ in range(lives):
            gauge.wait_beyond(gauge.total(), run)
        run.kill()
        assert 0 < gauge.total() < EVENTS, "this kill does not count"


@pytest.mark.timeout(300)
def test_kills_change_no_output_and_no_state(bench: Bench) -> None:
    """Killed in three places, once with its disk lost: all is as if nothing had happened."""
    source, product = "faults.seen", "faults.latest"
    _source(bench, source, EVENTS)
    _product(bench, product, source)
    local = bench.folder / ".headwater/state" / product / "latest-1"
    for point in ("after_produce", "during_commit"):
        fail = {"HEADWATER_FAIL": f"{point}:kill@25"}
        with bench.run(product, settings={**BUSY, **fail}) as run:
            assert run.exit_code(START_S) == -9
        with closing(bench.gauge(product, source)) as gauge:
            assert 0 < gauge.total() < EVENTS, "this kill does not count"
    with bench.run(product, settings=BUSY) as run:
        _dies(bench, run, product, source, 3)
    shutil.rmtree(local)
    with bench.run(product) as run:
        assert run.exit_code() == 0
    until(lambda: bench.is_settled(product), START_S, "every transaction ended")
    outputs, states = _expected(_rows(bench, source))
    for index, (found, wanted) in enumerate(zip(_rows(bench, product), outputs, strict=True)):
        for place, (one, other) in enumerate(zip(found, wanted, strict=False)):
            assert one == other, f"output {place} of partition {index}"
        assert len(found) == len(wanted)
    assert _changelog(bench, product) == states
    assert _local(local) == states
    assert bench.has_read(product, source)
