"""A snapshot of three hundred orders, for tests to meddle with."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS

from headwater.adapters.memory import MemoryBroker
from headwater.clock import ManualClock
from headwater.contract import Contract, Encoder, parse_contract
from headwater.errors import UnknownSchemaError
from headwater.model import SchemaRef
from headwater.ports import Table, TopicSettings
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Taken

TOPIC = "shop.orders"
SCHEMA_ID = 7
OTHER_ID = 8
TARGET_BYTES = 128 * 1024 * 1024
KEEP_MS = 7 * 86_400_000
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "doc": "The order."},
    {"name": "amount", "type": "double", "doc": "What it costs."},
]
NOTE = {"name": "note", "type": ["null", "string"], "default": None, "doc": "What was said."}


def contract(fields: list[dict[str, Any]]) -> Contract:
    """A contract of the orders."""
    schema = {"type": "record", "name": "Order", "namespace": "shop", "doc": "One order."}
    text = json.dumps({**schema, "key": "id", "fields": fields})
    return parse_contract(text, topic=TOPIC, version=1, path=Path("v1.avsc"))


SCHEMAS: dict[SchemaRef, Contract] = {
    SCHEMA_ID: contract(FIELDS),
    OTHER_ID: contract([*FIELDS, NOTE]),
}


def lookup(schema_id: SchemaRef) -> str:
    """The registry's schemas."""
    if schema_id not in SCHEMAS:
        raise UnknownSchemaError(f"no schema {schema_id}")
    return SCHEMAS[schema_id].text


def codec(schema_id: int) -> RowCodec:
    """The codec of a registered contract."""
    lookup(schema_id)
    return RowCodec(SCHEMAS[schema_id], schema_id, lookup=lookup)


class Lake:
    """Three hundred orders of three partitions, in a snapshot of two commits."""

    def __init__(self, directory: Path, format_: str = "delta") -> None:
        self.directory = directory
        self.format = format_
        self.broker = MemoryBroker()
        self.broker.create(TopicSettings(TOPIC, 3, "log", {"cleanup.policy": "delete"}))
        for begin in (0, 200):
            self.publish(begin, 200 if begin == 0 else 300)
            self.take()

    def publish(self, begin: int, end: int) -> None:
        """Orders, as the engine would publish them."""
        frame = {"id": [f"order-{n}" for n in range(begin, end)]}
        rows = pl.DataFrame({**frame, "amount": [n / 4 for n in range(begin, end)]})
        encoded = Encoder(SCHEMAS[SCHEMA_ID], SCHEMA_ID).encode(rows.with_row_index("_row"))
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(TOPIC, value, key=key)

    def take(self, rows: RowCodec | None = None) -> Taken:
        """Take a snapshot, under a contract."""
        return processes.take(self, rows or codec(SCHEMA_ID), clock=ManualClock(at_s=100))

    def verify(self) -> Verdict:
        """Verify it, as a process of its own would."""
        return processes.verifier(self, TOPIC, codec).verify()

    def table(self) -> Table:
        """A new handle."""
        return FORMATS[self.format](self.directory, product=TOPIC, topic=TOPIC)

    def file(self, partition: int) -> Path:
        """The first data file of a partition."""
        return min(self.directory.rglob(f"part-{partition}-0-*.parquet"))

    def entry(self, version: int) -> Path:
        """An entry of the Delta log."""
        return self.directory / "_delta_log" / f"{version:020}.json"

    def rewrite(self, partition: int, change: Callable[[pa.Table], pa.Table]) -> Path:
        """Change a file's rows, and what the Delta log says of it, as if they had been written so.

        Its name tells no digest, as those of other writers, so all readers open it without
        complaint. Its statistics in the log stay those of the rows that were written.
        """
        path = self.file(partition)
        place = path.name.rsplit("-", 2)[0]
        changed = path.with_name(f"{place}-{uuid.uuid4().hex}.parquet")
        pq.write_table(change(pq.read_table(path)), changed)
        path.unlink()
        self.edit(1, lambda line: line.get("add", {}).get("path") == path.name, _at(changed))
        return changed

    def edit_record(self, change: Callable[[dict[str, Any]], object], *, version: int = 1) -> None:
        """Change what a commit says of itself."""

        def changed(line: dict[str, Any]) -> None:
            record = change(json.loads(line["commitInfo"]["headwater"]))
            text = record if isinstance(record, str) else json.dumps(record)
            line["commitInfo"]["headwater"] = text

        self.edit(version, lambda line: "commitInfo" in line, changed)

    def edit(
        self,
        version: int,
        is_wanted: Callable[[dict[str, Any]], bool],
        change: Callable[[dict[str, Any]], None],
    ) -> None:
        """Change lines of an entry of the Delta log."""
        lines = [json.loads(line) for line in self.entry(version).read_text().splitlines()]
        for line in filter(is_wanted, lines):
            change(line)
        self.entry(version).write_text("\n".join(map(json.dumps, lines)) + "\n")


def _at(path: Path) -> Callable[[dict[str, Any]], None]:
    def change(line: dict[str, Any]) -> None:
        line["add"] |= {"path": path.name, "size": path.stat().st_size}

    return change


def told(verdict: Verdict) -> list[str]:
    """What is said of the differences."""
    return [str(difference) for difference in verdict.differences]
