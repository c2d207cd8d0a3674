"""Event time that went on without records: what closed by it stays closed after a `kill -9`."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import pytest
from confluent_kafka import Consumer, TopicPartition
from tests.faults.harness import END_S, START_S, Bench, until
from tests.faults.latest import write_contract

from headwater.adapters.kafka.bulk import BulkWriter
from headwater.model import Code
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

pytestmark = pytest.mark.kafka

BEGIN_MS: Final = 1_357_000_000_000
TEXT: Final = """
from headwater import DataProduct, aggregates, tumbling

product = DataProduct("{product}", owner="me")
rows = product.stream("{source}", contract=1, idle_after="100ms").group_by("id")
counted = rows.window(tumbling("10s"), late="dead-letter").agg(n=aggregates.count())
product.publish(counted.select("id", "n", at="window_start"), contract=1)
"""


class _Source:
    """Two partitions, and a key for each."""

    def __init__(self, bench: Bench, topic: str) -> None:
        write_contract(bench, topic)
        bench.topics.create([TopicSettings(topic, 2, "log")])
        self._bench, self._topic = bench, topic
        self._encoder, self._writer = bench.encoder(topic), BulkWriter(bench.kafka)
        self.write(*((f"key-{n}", 0) for n in range(20)))
        found = bench.visible(topic)
        self.slow, self.fast = (found.filter(_partition=n)["id"][0] for n in (0, 1))

    def write(self, *events: tuple[str, int]) -> None:
        """Events of keys, at so many seconds."""
        ids, seconds = zip(*events, strict=True)
        frame = pl.DataFrame({"id": ids, "at": [BEGIN_MS + 1000 * each for each in seconds]})
        timed = frame.with_columns(n=pl.lit(1)).cast({"at": pl.Datetime("ms", "UTC")})
        encoded = self._encoder.encode(timed.with_row_index("_row"))
        self._writer.write(self._topic, encoded.keys, encoded.values)
        self._writer.flush()

    def note(self, product: str, partition: int) -> dict[str, Any]:
        """What stands beside the committed position."""
        settings = {**self._bench.kafka, "group.id": product, "log_level": 2}
        with closing(Consumer(settings)) as consumer:
            (found,) = consumer.committed([TopicPartition(self._topic, partition)], START_S)
        note: dict[str, Any] = json.loads(found.metadata or "{}")
        return note


def _closed(bench: Bench, product: str, key: str) -> list[tuple[int, int]]:
    """The windows of a key that were told: start in seconds, and how many it had."""
    exists = bench.topics.partitions(product) is not None
    found = bench.visible(product) if exists else pl.DataFrame()
    if not found.height:
        return []
    mine = found.filter(id=key).sort("at")
    begin = datetime.fromtimestamp(BEGIN_MS / 1000, UTC)
    return [(int((at - begin).total_seconds()), n) for at, n in mine.select("at", "n").rows()]


@pytest.mark.timeout(180)
def test_windows_that_idleness_closed_stay_closed(bench: Bench) -> None:
    """Killed behind it: the watermark is in the note, none closes twice, what comes is late."""
    source, product = _Source(bench, "faults.idle-in"), "faults.idle"
    write_contract(bench, product)
    file = bench.folder / "products" / folder_of(product) / "product.py"
    file.parent.mkdir(parents=True)
    file.write_text(TEXT.format(product=product, source="faults.idle-in"))
    source.write((source.slow, 31), (source.fast, 99))
    with bench.run(product, until_end=False) as run:
        until(lambda: (30, 1) in _closed(bench, product, source.slow), END_S, "idleness closes")
        run.kill()
    told = {"watermark": BEGIN_MS + 99_000, "idle": True}
    assert source.note(product, 0).items() >= told.items()
    source.write((source.slow, 32), (source.slow, 121), (source.fast, 101))
    with bench.run(product) as run:
        assert run.exit_code() == 0, run.errors()
    assert _closed(bench, product, source.slow) == [(0, 1), (30, 1)]
    assert _closed(bench, product, source.fast) == [(0, 1), (90, 1)]
    (letter,) = bench.records(f"{product}.dead-letters")
    assert dict(letter.headers)["headwater.error.code"] == Code.LATE.encode()
    note = source.note(product, 0)
    assert (note["watermark"], "idle" in note) == (BEGIN_MS + 121_000, False)
