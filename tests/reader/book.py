"""Orders that change and go in a compacted log, their snapshots, and a product that reads both."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from tests.reader.opened import KnownSchemas, opened
from tests.snapshot.lake import SCHEMA_ID, SCHEMAS, TOPIC, lookup
from tests.snapshot.ledger import PARTITIONS, Ledger

from headwater.contract import Contract
from headwater.model import Partition
from headwater.ports import TopicSettings
from headwater.reader.product import Product

RETENTION_S = 1_000.0  # of deletions
State = dict[tuple[int, str], tuple[int, float]]
"""Offset and amount, by partition and order."""


@dataclass
class Book(Ledger):
    """A ledger whose log drops what a broker drops, when it may."""

    policy: str = "compact"

    def __post_init__(self) -> None:
        config = {
            "cleanup.policy": self.policy,
            "delete.retention.ms": str(int(RETENTION_S * 1_000)),
        }
        self.broker.create(TopicSettings(TOPIC, PARTITIONS, "log", config))
        self.clock = self.broker.clock

    def product(self, contract: Contract = SCHEMAS[SCHEMA_ID]) -> Product:
        """The product as a consumer opens it."""
        return opened(self, lambda: contract, KnownSchemas(lookup), self.clock)

    def clean(self) -> None:
        """What a broker's cleaner drops: replaced records, and tombstones that were kept enough."""
        self.fold()
        self.compact()
        kept_ms = self.clock.wall_ms() - RETENTION_S * 1_000
        for index in range(PARTITIONS):
            log = self.broker.partition(Partition(TOPIC, index))
            for offset, entry in enumerate(log._entries):
                record = entry.record
                if record and record.value is None and record.timestamp_ms <= kept_ms:
                    log._entries[offset] = replace(entry, record=None)

    def state(self) -> State:
        """What everything published makes, whatever the log dropped of it."""
        self.fold()
        return {(index, key): (offset, amount) for index, offset, key, amount in self.expected()}


def folded(frames: Iterable[pl.DataFrame], state: State | None = None) -> State:
    """What frames make of a state, row by row."""
    held: State = {} if state is None else state
    for frame in frames:
        for row in frame.iter_rows(named=True):
            fold_row(row, held)
    return held


def fold_row(row: dict[str, Any], state: State) -> None:
    """A row replaces those of its key that came before it, or deletes them."""
    key = row["_partition"], row["id"]
    if row["_deleted"]:
        state.pop(key, None)
    else:
        state[key] = row["_offset"], row["amount"]
