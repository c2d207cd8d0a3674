"""Tables that take the columns of new contract versions, held against the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tests.snapshot.formats import FORMATS
from tests.snapshot.versions import TOPIC, Versions

from headwater.adapters.memory import MemoryBroker, MemoryFollower, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.contract import Contract
from headwater.ports import Table, TopicSettings
from headwater.reader.product import Product, Sources
from headwater.snapshot.evolution import Format
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.rows import RowCodec, contract_of
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter, Taken

PLACE = ["_partition", "_offset"]


@dataclass
class World:
    """A topic of two partitions, a registry, and one table of a mode and a format."""

    mode: str
    format: str
    directory: Path
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    storage: MemoryStorage = field(default_factory=MemoryStorage)

    def __post_init__(self) -> None:
        self.broker.create(TopicSettings(TOPIC, 2, "log", {"cleanup.policy": "delete"}))

    def publish(self, contract: Contract, events: list[tuple[bytes, bytes | None]]) -> None:
        """Events under a version, which is registered."""
        framed = b"\0" + self.schema_id(contract).to_bytes(4, "big")
        for key, body in events:
            self.broker.append(TOPIC, None if body is None else framed + body, key=key)

    def schema_id(self, contract: Contract) -> int:
        """Of a version, which is registered by that."""
        found = self.registry.register(f"{TOPIC}-value", contract.text, compatibility="NONE")
        return found.schema_id

    def table(self) -> Table:
        """A new handle."""
        if self.format == "memory":
            return MemoryTable(self.storage)
        return FORMATS[self.format](self.directory / "table", product=TOPIC, topic=TOPIC)

    def codec(self, schema_id: int) -> RowCodec:
        """Of a registered schema."""
        text = self.registry.schema(schema_id)
        contract = contract_of(text, schema_id, TOPIC)
        return RowCodec(contract, schema_id, lookup=self.registry.schema)

    def take(self, contract: Contract) -> Taken:
        """Take a snapshot under a version."""
        kind = LatestSnapshotter if self.mode == "latest" else Snapshotter
        return kind(
            product=TOPIC,
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            table=self.table(),
            codec=self.codec(self.schema_id(contract)),
            clock=self.broker.clock,
        ).take()

    def verify(self) -> Verdict:
        """Verify it, as a process of its own would."""
        return Verifier(
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            open_table=self.table,
            codecs=self.codec,
            full=True,
            clock=self.broker.clock,
        ).verify()

    def product(self, contract: Contract) -> Product:
        """As a consumer opens it, under the newest version."""
        sources = Sources(
            topics=MemoryTopics(self.broker),
            registry=self.registry,
            open_table=self.table,
            open_range_reader=lambda: MemoryRangeReader(self.broker),
            open_follower=lambda: MemoryFollower(self.broker),
            clock=self.broker.clock,
        )
        return Product(contract_of(contract.text, 0, TOPIC), sources)

    def expected(self, contract: Contract) -> pl.DataFrame:
        """The rows there should be, as the log gives them under a version."""
        rows = pl.concat(list(self.product(contract).events("beginning", "now")))
        if self.mode == "latest":
            rows = rows.filter(pl.col("_offset") == pl.col("_offset").max().over(*contract.key))
        return rows.sort(PLACE)

    def held(self) -> dict[tuple[int, int], dict[str, object]]:
        """Every row of the table as it is stored, by its place."""
        table = self.table()
        rows = [
            row
            for file in table.files()
            for batch in table.scan(file.name)
            for row in batch.to_pylist()
        ]
        return {(row["_partition"], row["_offset"]): row for row in rows}


@contextmanager
def world(mode: str, format_: str) -> Iterator[World]:
    """One in a directory of its own."""
    with TemporaryDirectory() as directory:
        yield World(mode, format_, Path(directory))


def assert_reads_as_the_log(made: World, contract: Contract) -> None:
    """The snapshot gives what the log gives for the same events, in every way it is read."""
    expected = made.expected(contract)
    snapshot = made.product(contract).snapshot()
    frames = [frame for frame, _, _ in snapshot.frames()]
    assert_frame_equal(pl.concat(frames).sort(PLACE), expected)
    stored = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(snapshot.batches())))
    assert_frame_equal(snapshot.lazy().collect().sort(PLACE), stored.sort(PLACE))
    assert stored.columns == expected.columns
    one = expected.columns[-4]
    assert_frame_equal(snapshot.lazy().select(one).collect(), stored.select(one))


@pytest.mark.parametrize("mode", ["append", "latest"])
@pytest.mark.parametrize("format_", ["memory", *FORMATS])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_a_table_follows_every_change_that_the_gate_lets_through(
    mode: str, format_: str, seed: int
) -> None:
    """After each version verification is green, and the snapshot reads as the log."""
    gate: Format = "iceberg" if format_ == "iceberg" else "parquet"
    versions = Versions(seed, gate, 3)
    event(f"{len(versions.contracts)} versions")
    with world(mode, format_) as made:
        for number, contract in enumerate(versions.contracts):
            if number:  # producers that have not moved yet
                made.publish(versions.contracts[number - 1], versions.events(number - 1, 2))
            made.publish(contract, versions.events(number, 5))
            made.take(contract)
            verdict = made.verify()
            assert (verdict.outcome, verdict.differences) == ("equal", ())
            assert_reads_as_the_log(made, contract)
