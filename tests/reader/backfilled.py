"""A product whose input lost the beginning of its log, which a snapshot still holds."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self, TypeVar

import polars as pl
from tests.engine.conftest import GROUP, INPUT, Process, World
from tests.engine.counting import CountingWorld

from headwater.adapters.memory import (
    MemoryRangeReader,
    MemorySource,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.contract import Encoder, parse_contract, registered_contract
from headwater.model import RawRecord
from headwater.ports import RecordSource, Table
from headwater.reader.backfill import Backfill, backfill_of
from headwater.reader.backfill_source import BackfillSource
from headwater.snapshot.latest import LatestSnapshotter
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.writer import Snapshotter

Mode = Literal["append", "latest"]
PATH = Path("v1.avsc")
TEXT = json.dumps(
    {
        "type": "record",
        "name": "Call",
        "doc": "One call.",
        "key": "caller",
        "fields": [
            {"name": "caller", "type": "string", "doc": "Who called."},
            {"name": "tariff", "type": ["null", "double"], "doc": "What it costs."},
            {"name": "said", "type": "string", "doc": "What was said, with its number."},
        ],
    }
)


class Calls(World):
    """Calls of five callers on three partitions; processes read them through their snapshot."""

    def __init__(self, mode: Mode = "append") -> None:
        super().__init__()
        self.mode = mode
        self.registry = MemoryRegistry()
        found = self.registry.register("in-value", TEXT, compatibility="FULL_TRANSITIVE")
        self.schema_id = found.schema_id
        self.contract = parse_contract(TEXT, topic=INPUT, version=1, path=PATH)
        self.rows = MemoryStorage()
        self.backfill: Backfill | None = None
        self._upstream = MemoryTransactionalLog(self.broker, transactional_id="upstream")
        self._upstream.initialise()

    def call(self, calls: int, *, is_aborted: bool = False) -> None:
        """So many calls in one transaction, which leaves control records behind."""
        numbers = range(self._fed + 1, self._fed + calls + 1)
        self._fed += calls
        frame = pl.DataFrame(
            {
                "caller": [f"k{n % 5}" for n in numbers],
                "tariff": [None if n % 3 == 0 else n / 8 for n in numbers],
                "said": [f"a#{n}" for n in numbers],
            }
        )
        encoded = Encoder(self.contract, self.schema_id).encode(frame.with_row_index("_row"))
        self.broker.clock.advance(0.001)
        self._upstream.begin()
        self._upstream.produce(INPUT, encoded.keys, encoded.values)
        if is_aborted:
            self._upstream.abort()
        else:
            self._upstream.commit()

    def hang_up(self, caller: str) -> None:
        """A tombstone."""
        self.broker.append(INPUT, None, key=caller.encode())

    def table(self) -> Table:
        """One more handle."""
        return MemoryTable(self.rows)

    def take(self) -> None:
        """Take a snapshot."""
        snapshotter = LatestSnapshotter if self.mode == "latest" else Snapshotter
        snapshotter(
            product=INPUT,
            topic=INPUT,
            topics=self.topics,
            reader=MemoryRangeReader(self.broker),
            table=self.table(),
            codec=RowCodec(self.contract, self.schema_id, lookup=self.registry.schema),
            clock=self.broker.clock,
        ).take()

    def forget(self, chance: random.Random) -> None:
        """Retention: the log begins anywhere up to the cut."""
        cut = self.table().offsets(self.topics.topic_id(INPUT))
        self.topics.delete_before(
            {p: chance.randint(cut[p.index] // 2, cut[p.index]) for p in self.topics.ends(INPUT)}
        )

    def open(self) -> Backfill:
        """What the command opens."""
        return backfill_of(INPUT, GROUP, self.table(), self.topics, self._encoder)

    def fill(self) -> Self:
        """Processes begin in the snapshot from here on."""
        self.backfill = self.open()
        self.start = replace(self.start, backfilled=self.backfill.starts)
        return self

    def around(self, source: MemorySource) -> RecordSource:
        """The member with the snapshot below."""
        return source if self.backfill is None else BackfillSource(source, self.backfill)

    def ended(self, process: Process) -> None:
        """The files of a process that is gone are closed."""
        process.read.close()

    def readable(self) -> Sequence[RawRecord]:
        """Everything that was published; of "latest" the newest of each caller below the cut."""
        records = [r for log in self.broker.topic(INPUT).logs for r in log.committed()]
        if self.mode == "append" or self.backfill is None:
            return records
        cut = self.backfill.cut
        below = {(r.partition, r.key): r for r in records if r.offset < cut[r.partition]}
        kept = [r for r in below.values() if r.value is not None]
        return sorted(
            [*kept, *(r for r in records if r.offset >= cut[r.partition])],
            key=lambda r: (r.partition, r.offset),
        )

    def check_complete(self) -> None:
        """Everything that can be read is read, once; a process may end before control records."""
        self.check()
        positions = self.positions()
        assert all(each.offset < positions[each.partition] for each in self.readable())

    def _encoder(self, schema_id: int) -> Encoder:
        text = self.registry.schema(schema_id)
        contract = registered_contract(text, topic=INPUT, version=0, path=PATH)
        return Encoder(contract, schema_id)


class CountedCalls(Calls, CountingWorld):
    """Calls to a product with state, which counts those of each caller."""

    def ended(self, process: Process) -> None:
        Calls.ended(self, process)
        CountingWorld.ended(self, process)


C = TypeVar("C", bound=Calls)


def cut_short(mode: Mode = "append", seed: int = 0) -> Calls:
    """Calls in several commits of a table, whose log begins somewhere below the cut."""
    return shortened(Calls(mode), seed)


def shortened(calls: C, seed: int = 0) -> C:
    """Such calls to a product of any kind."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        calls.call(chance.randint(1, 30))
        calls.call(chance.randint(1, 5), is_aborted=True)
        calls.call(chance.randint(1, 9))
        if calls.mode == "latest":
            calls.hang_up(f"k{chance.randrange(5)}")
        calls.take()
    calls.forget(chance)
    calls.call(chance.randint(1, 20))
    return calls
