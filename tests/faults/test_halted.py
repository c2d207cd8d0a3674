"""Partitions that stand still on the real broker: incompatible writers and corrupt batches."""

import json
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import polars as pl
import pytest
from confluent_kafka.schema_registry import Schema
from tests.faults.damaging import damage, write_batch
from tests.faults.harness import START_S, Bench, Run, until
from tests.registry.confluent import registry_client

from headwater.adapters.kafka.consumer import KafkaSource
from headwater.model import Partition, RawRecord

pytestmark = pytest.mark.kafka

HALTED: Final = 65
INCOMPATIBLE: Final = {
    "type": "record",
    "name": "Departure",
    "namespace": "operations",
    "fields": [{"name": "gate", "type": "string"}],
}
SOUND: Final = 40  # records of each partition before, and as many behind


class Feed:
    """Writes departures where a test wants them, and knows what was written."""

    def __init__(self, bench: Bench, topic: str, flights: pl.DataFrame) -> None:
        self._bench = bench
        self.topic = topic
        self._flights = flights.filter(pl.col("dep_delay").is_not_null())
        self._taken = 0
        self.fed: dict[int, list[str]] = {0: [], 1: []}

    def sound(self, partition: int, records: int = SOUND, *, is_gzip: bool = True) -> None:
        """The next departures."""
        rows = self._flights.slice(self._taken, records)
        self._taken += records
        values = self._bench.encoder(self.topic).encode(rows.with_row_index("_row")).values
        self.raw(partition, values, is_gzip=is_gzip)
        self.fed[partition] += rows["flight_id"].to_list()

    def raw(self, partition: int, values: Sequence[bytes], *, is_gzip: bool = True) -> None:
        """Any bytes, as one batch."""
        write_batch(self._bench.kafka, Partition(self.topic, partition), values, is_gzip=is_gzip)


def _register_incompatible(bench: Bench, topic: str) -> int:
    """An upstream that switches the registry's check off and publishes what it likes."""
    with closing(registry_client(bench.addresses.registry)) as client:
        client.set_compatibility(f"{topic}-value", "NONE")
        return client.register_schema(f"{topic}-value", Schema(json.dumps(INCOMPATIBLE), "AVRO"))


def _framed(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + b"\x04A1"


def _published(bench: Bench, product: str) -> set[str]:
    return set(bench.visible(product)["flight_id"].to_list())


def _body(run: Run, path: str) -> tuple[int, str]:
    return run._get(path)


@pytest.fixture
def scene(bench: Bench, flights: pl.DataFrame, request: pytest.FixtureRequest) -> tuple[Feed, str]:
    """A product that ran before, on a topic of two partitions of sound records."""
    name = "halted-" + str(abs(hash(request.node.name)))[:8]
    feed = Feed(bench, bench.source(f"{name}-in", partitions=2), flights)
    product = bench.product(name, feed.topic)
    feed.sound(0)
    feed.sound(1)
    with bench.run(product) as run:
        assert run.exit_code() == 0
    return feed, product


def _feed_incompatible(bench: Bench, feed: Feed) -> int:
    """Five sound ones, three that no reader can read, and sound ones behind, here and elsewhere."""
    schema_id = _register_incompatible(bench, feed.topic)
    feed.sound(0, 5)
    feed.raw(0, [_framed(schema_id)] * 3)
    return schema_id


def test_an_incompatible_writer_halts_its_partition_and_no_other(
    bench: Bench, scene: tuple[Feed, str]
) -> None:
    """Up to there all is out; the others go on; it is told everywhere; a restart tells it again."""
    feed, product = scene
    schema_id = _feed_incompatible(bench, feed)
    expected = {*feed.fed[0], *feed.fed[1]}
    with closing(bench.gauge(product, feed.topic)) as gauge:
        with bench.run(product, until_end=False) as run:
            until(
                lambda: run.metric("headwater_partition_halted") == 1, START_S, "the alert's metric"
            )
            feed.sound(1, 10)
            feed.sound(0, 7)
            expected |= {*feed.fed[1]}
            until(lambda: gauge.positions()[1] == SOUND + 10, START_S, "the other goes on")
            assert gauge.positions()[0] == SOUND + 5
            status, body = _body(run, "/readyz")
            assert status == 200
            assert f"halted: {feed.topic}[0]@{SOUND + 5} INCOMPATIBLE_SCHEMA" in body
            until(lambda: run.metric("headwater_lag_records") == 3 + 7, START_S, "the lag tells")
            run.send(signal.SIGTERM)
            assert run.exit_code() == 0
            lines = [json.loads(x) for x in run.errors().splitlines() if "partition_halted" in x]
            assert len(lines) == 1
            assert lines[0]["partition"] == 0
            assert lines[0]["offset"] == SOUND + 5
            assert f"schema {schema_id}" in lines[0]["reason"]
            assert "--on-incompatible dead-letter" in lines[0]["advice"]
        assert _published(bench, product) == expected
        with bench.run(product) as again:
            assert again.exit_code() == HALTED
            assert "INCOMPATIBLE_SCHEMA" in again.errors()
            assert "Traceback" not in again.errors()
        assert gauge.positions() == {0: SOUND + 5, 1: SOUND + 10}
    assert bench.records(f"{product}.dead-letters") == []


def _starts_in_vain(bench: Bench, product: str, partition: Partition) -> int:
    """As the group's offsets say, which outlive the process."""
    with closing(KafkaSource(bench.kafka, group=product, member="looker")) as source:
        note: dict[str, int] = json.loads(source.metadata([partition])[partition])
    return note.get("attempts", 0)


@pytest.mark.faults
def test_clean_stops_at_a_halt_are_no_starts_in_vain(bench: Bench, scene: tuple[Feed, str]) -> None:
    """A start is noted while it runs; who is killed leaves the note, who drains takes it back."""
    feed, product = scene
    _feed_incompatible(bench, feed)
    here = Partition(feed.topic, 0)
    with bench.run(product) as halted:
        assert halted.exit_code() == HALTED
    for is_killed, left in ((False, 0), (True, 1), (False, 1)):
        with bench.run(product, until_end=False) as run:
            until(lambda run=run: run.metric("headwater_partition_halted") == 1, START_S, "a halt")  # type: ignore[misc]  # bound at once
            assert _starts_in_vain(bench, product, here) == left + (not is_killed)
            run.send(signal.SIGKILL if is_killed else signal.SIGTERM)
            assert run.exit_code() == (-signal.SIGKILL if is_killed else 0)
        assert _starts_in_vain(bench, product, here) == left


def test_an_operator_may_set_incompatible_records_aside(
    bench: Bench, scene: tuple[Feed, str]
) -> None:
    """With --on-incompatible dead-letter they are bad records like others, in order."""
    feed, product = scene
    _feed_incompatible(bench, feed)
    feed.sound(0, 7)
    with bench.run(product) as halted:
        assert halted.exit_code() == HALTED
    with bench.run(product, "--on-incompatible", "dead-letter") as run:
        assert run.exit_code() == 0
    letters = bench.records(f"{product}.dead-letters")
    codes = [dict(letter.headers)["headwater.error.code"] for letter in letters]
    assert codes == [b"INCOMPATIBLE_SCHEMA"] * 3
    assert _published(bench, product) == {*feed.fed[0], *feed.fed[1]}


def test_an_operator_may_have_the_product_stop(bench: Bench, scene: tuple[Feed, str]) -> None:
    """Exit 65 at once, what came before committed."""
    feed, product = scene
    # refused at the door when the registry knew before, so the process has to run already
    with (
        closing(bench.gauge(product, feed.topic)) as gauge,
        bench.run(product, "--on-incompatible", "stop", until_end=False) as run,
    ):
        until(lambda: run.probe("/readyz") == 200, START_S, "ready")
        _feed_incompatible(bench, feed)
        assert run.exit_code() == HALTED
        assert "INCOMPATIBLE_SCHEMA" in run.errors()
        assert gauge.positions()[0] == SOUND + 5
    with bench.run(product, "--on-incompatible", "stop") as again:
        assert again.exit_code() == 78
    assert bench.records(f"{product}.dead-letters") == []


# -- corrupt batches ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "is_resealed",
    [
        pytest.param(False, id="checksum"),
        pytest.param(True, id="compression", marks=pytest.mark.faults),
    ],
)
def test_a_corrupt_batch_halts_its_partition_and_no_other(
    bench: Bench, scene: tuple[Feed, str], session_home: Path, is_resealed: bool
) -> None:
    """Nothing of it is published; it is fetched anew once; the position stays before it."""
    feed, product = scene
    feed.sound(0, 6)
    expected = {*feed.fed[0]}
    feed.sound(0, 9, is_gzip=is_resealed)
    feed.sound(0, 4)
    feed.sound(1, 8)
    expected |= {*feed.fed[1]}
    broken = Partition(feed.topic, 0)
    last = damage(session_home, broken, SOUND + 6, is_resealed=is_resealed)
    assert last == SOUND + 6 + 8
    with closing(bench.gauge(product, feed.topic)) as gauge:
        for _ in range(2):
            with bench.run(product) as run:
                assert run.exit_code() == HALTED
                assert "CORRUPT_RECORD" in run.errors()
                assert "headwater dead-letters skip" in run.errors()
                assert "Traceback" not in run.errors()
            assert gauge.positions() == {0: SOUND + 6, 1: SOUND + 8}
    assert _published(bench, product) == expected
    letters: list[RawRecord] = bench.records(f"{product}.dead-letters")
    assert letters == []
