"""What the sandbox and its child tell each other: JSON, and the records as columns. No pickles."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, Final
from uuid import UUID

import polars as pl

from headwater.adapters.memory.reader import MemoryRecords
from headwater.engine.screening import screen
from headwater.model import Partition, RawRecord, SchemaRef
from headwater.ports import Records, RegisteredSchema

OUT_OF_MEMORY: Final = 99  # exit code of a child whose memory ran out; steps rarely take it
TOO_LITTLE_MEMORY: Final = 98  # exit code of a child that was left too little to begin with
RECORDS: Final = pl.Schema(
    {
        "partition": pl.Int32(),
        "offset": pl.Int64(),
        "timestamp_ms": pl.Int64(),
        "key": pl.Binary(),
        "value": pl.Binary(),
        "headers": pl.List(pl.Struct({"name": pl.String(), "text": pl.Binary()})),
    }
)


def send(to: Connection, **message: object) -> None:
    """Send one message."""
    to.send_bytes(json.dumps(message).encode())


def receive(of: Connection) -> Mapping[str, Any]:
    """Receive one message. Raises EOFError when the other side is gone."""
    found: Mapping[str, Any] = json.loads(of.recv_bytes())
    return found


def table(records: Records) -> pl.DataFrame:
    """Records as columns.

    Of those that are screened off before they are looked into, nothing that could be too large.
    """
    held = records.headers()
    keys, values = list(records.keys()), list(records.values)
    headers: list[list[dict[str, object]]] = [[] for _ in range(len(records))]
    for row, found in held.items():
        headers[row] = [{"name": name, "text": text} for name, text in found]
    for each in screen(records, held):
        keys[each.row], values[each.row], headers[each.row] = None, None, []
    columns = {
        "partition": records.partitions(),
        "offset": records.offsets(),
        "timestamp_ms": records.timestamps_ms(),
        "key": keys,
        "value": values,
        "headers": headers,
    }
    return pl.DataFrame(columns, schema=RECORDS)


def packed(rows: pl.DataFrame) -> bytes:
    """Rows of a `table`, or of a table that is joined, as bytes."""
    written = io.BytesIO()
    rows.write_ipc_stream(written)
    return written.getvalue()


def unpacked(topic: str, content: bytes) -> MemoryRecords:
    """The records again."""
    return MemoryRecords(
        topic, [_record(topic, row) for row in pl.read_ipc_stream(content).iter_rows()]
    )


def unpacked_rows(content: bytes) -> pl.DataFrame:
    """Rows of a table that is joined, packed as rows of a `table` are."""
    return pl.read_ipc_stream(content)


def _record(topic: str, row: Sequence[Any]) -> RawRecord:
    index, offset, timestamp_ms, key, value, headers = row
    pairs = tuple((each["name"], each["text"]) for each in headers)
    return RawRecord(Partition(topic, index), offset, timestamp_ms, key, value, pairs)


def reference_text(reference: SchemaRef) -> int | str:
    """A schema's id or GUID, for JSON."""
    return reference if isinstance(reference, int) else str(reference)


def reference_of(text: int | str) -> SchemaRef:
    """The schema's id or GUID again."""
    return text if isinstance(text, int) else UUID(text)


def schema_text(schema: RegisteredSchema) -> Mapping[str, object]:
    """A registered schema, for JSON."""
    guid = None if schema.guid is None else str(schema.guid)
    return {**asdict(schema), "guid": guid}


def schema_of(text: Mapping[str, Any]) -> RegisteredSchema:
    """The registered schema again."""
    guid = None if text["guid"] is None else UUID(text["guid"])
    return RegisteredSchema(**{**text, "guid": guid})
