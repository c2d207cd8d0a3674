"""A log of orders that change and go, the table of their latest, and what it should hold."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC, codec

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.clock import ManualClock
from headwater.contract import Encoder
from headwater.model import Partition
from headwater.ports import CommitRecord, Table, TopicSettings
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Taken

PARTITIONS = 2


@dataclass
class Ledger:
    """Orders by key, with a table in memory, or on disk where there is a directory."""

    directory: Path | None = None
    policy: str = "delete"
    format: str = "delta"
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    clock: ManualClock = field(default_factory=lambda: ManualClock(at_s=100))
    _expected: dict[tuple[int, bytes], tuple[int, float]] = field(default_factory=dict)
    _seen: list[int] = field(default_factory=lambda: [0] * PARTITIONS)

    def __post_init__(self) -> None:
        settings = TopicSettings(TOPIC, PARTITIONS, "log", {"cleanup.policy": self.policy})
        self.broker.create(settings)

    def publish(self, amounts: Mapping[str, float]) -> None:
        """Orders with what they cost now."""
        frame = pl.DataFrame({"id": list(amounts), "amount": list(amounts.values())})
        encoded = Encoder(SCHEMAS[SCHEMA_ID], SCHEMA_ID).encode(frame.with_row_index("_row"))
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(TOPIC, value, key=key)

    def delete(self, orders: Sequence[str]) -> None:
        """Tombstones."""
        for order in orders:
            self.broker.append(TOPIC, None, key=order.encode())

    def compact(self, *, with_tombstones: bool = False) -> None:
        """Drop records that a newer one of their key replaced, as a broker may at any time."""
        for index in range(PARTITIONS):
            log = self.broker.partition(Partition(TOPIC, index))
            newest = {e.record.key: e.record.offset for e in log._entries if e.record}
            for offset, entry in enumerate(log._entries):
                record = entry.record
                if record is None:
                    continue
                is_gone = with_tombstones and record.value is None
                if is_gone or newest[record.key] != offset:
                    log._entries[offset] = replace(entry, record=None)

    def table(self) -> Table:
        """A new handle."""
        if self.directory is None:
            return MemoryTable(self.storage)
        return FORMATS[self.format](self.directory, product=TOPIC, topic=TOPIC)

    def snapshotter(self, table: Table | None = None) -> LatestSnapshotter:
        """One that could be a process of its own."""
        return LatestSnapshotter(
            product=TOPIC,
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            table=table or self.table(),
            codec=codec(SCHEMA_ID),
            clock=self.clock,
        )

    def take(self) -> Taken:
        """Take a snapshot."""
        self.fold()
        return self.snapshotter().take()

    def verify(self, *, full: bool = True) -> Verdict:
        """Verify it, as a process of its own would."""
        return processes.verifier(self, TOPIC, codec, full=full, clock=self.clock).verify()

    def fold(self) -> None:
        """What the table should hold, one record after the other."""
        for index in range(PARTITIONS):
            log = self.broker.partition(Partition(TOPIC, index))
            records, self._seen[index] = log.read(self._seen[index], log.end)
            for record in records:
                assert record.key is not None
                self._expected.pop((index, record.key), None)
                if record.value is not None:
                    (amount,) = struct.unpack("<d", record.value[-8:])  # the last of its fields
                    self._expected[index, record.key] = (record.offset, amount)

    def expected(self) -> list[tuple[int, int, str, float]]:
        """Partition, offset, order and amount of every row there should be."""
        return sorted(
            (index, offset, key.decode(), amount)
            for (index, key), (offset, amount) in self._expected.items()
        )

    def rows(self) -> list[tuple[int, int, str, float]]:
        """Those that there are."""
        table = self.table()
        return sorted(
            (row["_partition"], row["_offset"], row["id"], row["amount"])
            for file in table.files()
            for batch in table.scan(file.name)
            for row in batch.to_pylist()
        )

    def last(self) -> CommitRecord:
        """What the newest commit says."""
        _, record = self.table().commits()[-1]
        assert isinstance(record, CommitRecord)
        return record
