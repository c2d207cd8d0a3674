"""What a table's record becomes: a row, since when, and in which task."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Decoder, Encoder, KeyReader, parse_contract
from headwater.engine import TableTask
from headwater.flow import TASK, TIME, VersionedRows
from headwater.model import Code, Partition, RawRecord

TIME_KIND: dict[str, Any] = {"type": "long", "logicalType": "timestamp-micros"}
PRICE: dict[str, Any] = {
    "type": "record",
    "name": "Price",
    "key": "item",
    "eventTime": "since",
    "doc": "A price.",
    "owner": "shop@example.com",
    "fields": [
        {"name": "item", "type": "string", "doc": "Of what."},
        {"name": "since", "type": ["null", TIME_KIND], "default": None, "doc": "When."},
        {"name": "price", "type": "int", "doc": "How much."},
    ],
}
CONTRACT: Final = parse_contract(
    json.dumps(PRICE), topic="shop.prices", version=1, path=Path("v1.avsc")
)
BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)
BEGIN_MS: Final = int(BEGIN.timestamp() * 1000)


def record(offset: int, price: int | None, since: datetime | None, *, task: int = 0) -> RawRecord:
    """A price of tea; without one it ends, an hour after the begin."""
    value = None
    if price is not None:
        kinds = {"item": pl.String(), "since": pl.Datetime("us", "UTC"), "price": pl.Int32()}
        row = pl.DataFrame({"item": ["tea"], "since": [since], "price": [price]}, schema=kinds)
        (value,) = Encoder(CONTRACT, 7).encode(row.with_row_index("_row")).values
    at_ms = BEGIN_MS + 3_600_000
    return RawRecord(Partition("shop.prices", task), offset, at_ms, b"tea", value)


def made(*, by_task: bool = False) -> TableTask:
    """The task of a versioned table, without rows."""
    lookup = {7: json.dumps(PRICE)}.__getitem__
    rows = VersionedRows("item", {"item": pl.String(), "price": pl.Int32()}, by_task=by_task)
    return TableTask(
        Decoder(CONTRACT, lambda reference: lookup(int(str(reference)))),
        KeyReader(CONTRACT, lambda reference: lookup(int(str(reference)))),
        rows,
    )


def prices(task: TableTask, *minutes: int) -> list[int | None]:
    """What tea costs at these minutes."""
    times = pl.Series([BEGIN_MS + each * 60_000 for each in minutes])
    assert isinstance(task.rows, VersionedRows)
    found: list[int | None] = task.rows.find(pl.Series(["tea"] * len(minutes)), times, 10**9)[
        "price"
    ].to_list()
    return found


def test_a_row_is_valid_since_its_event_time_and_ends_at_a_publish_time() -> None:
    """A null value has no event time; the millisecond is the finest there is."""
    task = made()
    late = BEGIN + timedelta(minutes=10, microseconds=999)
    task.take(
        MemoryRecords(
            "shop.prices", [record(0, 1, BEGIN), record(1, None, None), record(2, 2, late)]
        )
    )
    assert prices(task, -1, 0, 9, 10, 59, 60, 600) == [None, 1, 1, 2, 2, None, None]


def test_a_row_without_an_event_time_is_refused() -> None:
    """It is valid since nobody knows when: counted, and the others stay."""
    task = made()
    (taken,) = task.take(MemoryRecords("shop.prices", [record(0, 1, BEGIN), record(1, 2, None)]))
    assert [(each.code, each.offset) for each in taken.refused] == [(Code.BAD_TEMPORAL, 1)]
    assert prices(task, 5) == [1]


def test_a_row_belongs_to_the_task_of_its_partition() -> None:
    """Of a co-partitioned table."""
    task = made(by_task=True)
    records = [record(0, 1, BEGIN), record(0, 2, BEGIN, task=3)]
    task.take(MemoryRecords("shop.prices", records))
    rows = task.rows.frame().sort(TASK)
    assert rows.select(TASK, "price", TIME).rows() == [(0, 1, BEGIN_MS), (3, 2, BEGIN_MS)]
