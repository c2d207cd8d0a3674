"""Snapshots and their proof, over a log in memory and tables in memory and on disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.clock import ManualClock
from headwater.contract import Contract, Encoder, parse_contract
from headwater.errors import AbortableError, FatalError, StartRefusedError, UnknownSchemaError
from headwater.model import Partition, SchemaRef
from headwater.ports import LogReader, Table, TopicSettings
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter, Taken

TOPIC = "shop.orders"
SCHEMA_ID = 7
SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "doc": "One order.",
    "key": "id",
    "fields": [
        {"name": "id", "type": "string", "doc": "The order."},
        {"name": "amount", "type": "double", "doc": "What it costs."},
        {"name": "note", "type": ["null", "string"], "default": None, "doc": "What was said."},
        {
            "name": "at",
            "type": {"type": "long", "logicalType": "timestamp-millis"},
            "doc": "When it was placed.",
        },
        {"name": "tags", "type": {"type": "map", "values": "double"}, "doc": "Weights."},
    ],
}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def contract() -> Contract:
    """The contract of the orders."""
    return parse_contract(json.dumps(SCHEMA), topic=TOPIC, version=1, path=Path("v1.avsc"))


def lookup(schema_id: SchemaRef) -> str:
    """The registry's schemas."""
    if schema_id != SCHEMA_ID:
        raise UnknownSchemaError("no such schema")
    return json.dumps(SCHEMA)


def orders(numbers: Sequence[int]) -> pl.DataFrame:
    """Orders with a few awkward values."""
    amounts = [float("nan") if n % 5 == 0 else -0.0 if n % 5 == 1 else n / 3 for n in numbers]
    return pl.DataFrame(
        {
            "id": [f"order-{n}" for n in numbers],
            "amount": amounts,
            "note": [None if n % 2 else "grüße" for n in numbers],
            "at": [BEGIN + timedelta(minutes=n) for n in numbers],
            "tags": [[{"key": "w", "value": -0.0}] if n % 3 else [] for n in numbers],
            "_row": range(len(numbers)),
        },
        schema={**contract().columns, "_row": pl.UInt32},
    )


@dataclass
class Shop:
    """A broker with one topic, and how to snapshot and verify it."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    directory: Path | None = None
    reader: LogReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = MemoryRangeReader(self.broker)
        self.recreate()

    def recreate(self, *, policy: str = "delete") -> None:
        """Make the topic, anew when there is one."""
        self.broker.create(TopicSettings(TOPIC, 3, "log", {"cleanup.policy": policy}))

    def publish(self, numbers: Sequence[int]) -> None:
        """Orders, as the engine would publish them."""
        encoded = Encoder(contract(), SCHEMA_ID).encode(orders(numbers))
        assert not encoded.quarantined
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(TOPIC, value, key=key)
            self.broker.clock.advance(1)

    def table(self) -> Table:
        """A new handle on the snapshot."""
        if self.directory is None:
            return MemoryTable(self.storage)
        return DeltaSnapshotTable(DirectoryFiles(self.directory), product=TOPIC, topic=TOPIC)

    def snapshotter(self, table: Table | None = None) -> Snapshotter:
        """One that could be a process of its own."""
        return Snapshotter(
            product=TOPIC,
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=self.reader,
            table=table or self.table(),
            codec=self.codec(SCHEMA_ID),
            clock=ManualClock(at_s=100),
        )

    def take(self) -> Taken:
        """Take a snapshot."""
        return self.snapshotter().take()

    def verify(self, *, full: bool = False) -> Verdict:
        """Verify it."""
        return Verifier(
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=self.reader,
            open_table=self.table,
            codecs=self.codec,
            full=full,
        ).verify()

    def codec(self, schema_id: int) -> RowCodec:
        """The codec of the one contract."""
        return RowCodec(contract(), schema_id, lookup=lookup)

    def ids(self) -> list[str]:
        """The orders in the snapshot, sorted."""
        found: list[str] = []
        table = self.table()
        for file in table.files():
            for batch in table.scan(file.name):
                found += batch["id"].to_pylist()
        return sorted(found)


@pytest.fixture(params=["memory", "delta"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """A shop whose snapshot is in memory, then one on disk."""
    return Shop(directory=tmp_path / "orders" if request.param == "delta" else None)


@pytest.fixture
def lake(tmp_path: Path) -> Shop:
    """A shop of thirty orders with a verified snapshot on disk, for others to meddle with."""
    shop = Shop(directory=tmp_path / "orders")
    for begin in (0, 10, 20):
        shop.publish(range(begin, begin + 10))
        shop.take()
    assert shop.verify().outcome == "equal"
    return shop


def place(shop: Shop, order: str) -> tuple[int, int]:
    """Partition and offset of an order."""
    for record in shop.broker.visible(TOPIC):
        if record.key == order.encode():
            return record.partition.index, record.offset
    raise AssertionError(order)


def told(verdict: Verdict) -> set[tuple[str, int | None, int | None]]:
    """The differences of a verdict."""
    return {(d.kind, d.partition, d.offset) for d in verdict.differences}


# -- taking ----------------------------------------------------------------------------------------


def test_a_snapshot_holds_every_published_row_once(shop: Shop) -> None:
    """Cut after cut, the table is the log so far, and verification agrees."""
    shop.publish(range(20))
    assert shop.take().rows == 20
    shop.publish(range(20, 30))
    taken = shop.take()
    assert (taken.rows, taken.rows_total, taken.commits) == (10, 30, 1)
    assert shop.ids() == sorted(f"order-{n}" for n in range(30))
    assert shop.verify(full=True).outcome == "equal"
    assert shop.verify(full=True).sampled == 30


def test_nothing_new_is_no_commit(shop: Shop) -> None:
    """A run without new rows leaves the table at its version."""
    shop.publish(range(5))
    version = shop.take().version
    again = shop.take()
    assert (again.version, again.rows, again.rows_total) == (None, 0, 5)
    assert [v for v, _ in shop.table().commits()] == [version]


def test_a_log_without_rows_makes_no_table(shop: Shop) -> None:
    """An empty log is no snapshot yet, which verification says."""
    assert shop.take().version is None
    verdict = shop.verify()
    assert verdict.outcome == "unverifiable"
    assert "no snapshot" in verdict.undecided[0]


def test_a_long_range_becomes_several_cuts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by the commit, and each commit is a cut that verifies."""
    monkeypatch.setattr("headwater.snapshot.writer.COMMIT_ROWS", 7)
    monkeypatch.setattr("headwater.snapshot.writer.READ_RECORDS", 4)
    shop.publish(range(40))
    taken = shop.take()
    assert taken.commits > 3
    assert taken.rows == 40
    assert shop.ids() == sorted(f"order-{n}" for n in range(40))
    assert shop.verify().outcome == "equal"


def test_of_two_snapshotters_exactly_one_takes_a_range(shop: Shop) -> None:
    """The loser is told so, and nothing stands in the table twice."""
    shop.publish(range(10))
    slow, quick = shop.table(), shop.table()
    original = slow.offsets

    def overtaken(topic_id: str) -> object:
        seen = original(topic_id)
        if not quick.commits():
            shop.snapshotter(quick).take()
        return seen

    slow.offsets = overtaken  # type: ignore[assignment, method-assign]  # the race, at its worst moment
    with pytest.raises(AbortableError) as lost:
        shop.snapshotter(slow).take()
    assert lost.value.code == "SNAPSHOT_TAKEN"
    assert shop.ids() == sorted(f"order-{n}" for n in range(10))
    assert shop.verify().outcome == "equal"


def test_a_recreated_topic_is_refused(shop: Shop) -> None:
    """Offsets of another incarnation mean other records; ids are told as Kafka shows them."""
    shop.publish(range(5))
    shop.broker.topic(TOPIC).topic_id = "/q+Q#1"
    shop.take()
    shop.recreate()
    shop.broker.topic(TOPIC).topic_id = "+w/w#2"
    shop.publish(range(5))
    with pytest.raises(StartRefusedError, match=r"now -w_w#2, .* holds _q-Q#1\)") as refused:
        shop.take()
    assert refused.value.code == "SOURCE_RECREATED"
    assert shop.verify().outcome == "unverifiable"


def test_a_range_that_left_the_log_is_refused(shop: Shop) -> None:
    """A gap is never papered over."""
    shop.publish(range(9))
    shop.take()
    shop.publish(range(9, 40))
    for index in range(3):
        log = shop.broker.partition(Partition(TOPIC, index))
        log.truncate(log.end)
    with pytest.raises(StartRefusedError) as refused:
        shop.take()
    assert refused.value.code == "RANGE_LOST"
    verdict = shop.verify()
    assert verdict.outcome == "unverifiable"
    assert TOPIC in verdict.undecided[0]


def test_a_compacted_log_is_refused(shop: Shop) -> None:
    """Append mode on a log that forgets would have gaps."""
    shop.publish(range(5))
    shop.take()
    shop.broker.topics[TOPIC].settings.config["cleanup.policy"] = "compact,delete"  # type: ignore[index]  # a dict
    with pytest.raises(StartRefusedError) as refused:
        shop.take()
    assert refused.value.code == "COMPACTED_TOPIC"
    assert shop.verify().outcome == "unverifiable"


@pytest.mark.parametrize(
    ("value", "key", "code"),
    [
        (b"not avro", b"order-3", "BAD_MAGIC"),
        (None, None, "BAD_KEY"),
        (None, b"order-2", "BAD_KEY"),
    ],
)
def test_a_record_that_is_no_row_stops_the_snapshot_and_is_named(
    shop: Shop, value: bytes | None, key: bytes | None, code: str
) -> None:
    """What cannot be read is not skipped; a table has no keys but those its columns make."""
    shop.publish(range(2))
    shop.take()
    sound = next(iter(shop.broker.visible(TOPIC))).value
    shop.broker.append(TOPIC, value or sound, key=key)
    with pytest.raises(FatalError, match=rf"shop\.orders\[\d\]@\d+ .*{code}") as stopped:
        shop.take()
    assert stopped.value.code == "UNREADABLE_RECORD"
    assert shop.verify().outcome == "equal"


# -- meddling --------------------------------------------------------------------------------------


def test_a_changed_value_is_named(lake: Shop) -> None:
    """`verify` finds one value changed through the table's own interface."""
    DeltaTable(lake.directory or "").update(predicate="id = 'order-7'", updates={"amount": "7.5"})
    assert told(lake.verify()) == {("changed", *place(lake, "order-7"))}


def test_a_changed_publish_time_is_named(lake: Shop) -> None:
    """The columns beside the contract's are proved too."""
    DeltaTable(lake.directory or "").update(
        predicate="id = 'order-7'", updates={"_timestamp": "_timestamp + INTERVAL '1' SECOND"}
    )
    assert told(lake.verify()) == {("changed", *place(lake, "order-7"))}


def test_dropped_rows_are_named(lake: Shop) -> None:
    """Rows that are gone."""
    DeltaTable(lake.directory or "").delete("id in ('order-3', 'order-23')")
    assert told(lake.verify()) == {
        ("missing", *place(lake, "order-3")),
        ("missing", *place(lake, "order-23")),
    }


def test_a_row_that_stands_twice_is_named(lake: Shop) -> None:
    """Duplicates are extra rows."""
    table = DeltaTable(lake.directory or "")
    rows = table.to_pyarrow_table()
    partition, offset = place(lake, "order-3")
    twice = rows.filter(
        (rows["_partition"].to_numpy() == partition) & (rows["_offset"].to_numpy() == offset)
    )
    write_deltalake(table, twice, mode="append")
    assert told(lake.verify()) == {("extra", partition, offset)}


def test_a_row_beyond_every_commit_is_named(lake: Shop) -> None:
    """Rows no commit accounts for, in a known partition and in one there never was."""
    table = DeltaTable(lake.directory or "")
    rows = table.to_pyarrow_table()
    (row,) = rows.slice(0, 1).to_pylist()
    for partition, offset in ((1, 999), (77, 0)):
        added = {**row, "_partition": partition, "_offset": offset}
        write_deltalake(table, pa.Table.from_pylist([added], rows.schema), mode="append")
    assert told(lake.verify()) == {("unaccounted", 1, 999), ("unaccounted", 77, 0)}


def test_a_value_finer_than_the_contract_is_a_change(lake: Shop) -> None:
    """The contract's timestamps have milliseconds, the table's column has room for more."""
    DeltaTable(lake.directory or "").update(
        predicate="id in ('order-7', 'order-8')", updates={"at": "at + INTERVAL '1' MICROSECOND"}
    )
    places = (place(lake, "order-7"), place(lake, "order-8"))
    assert told(lake.verify()) == {("changed", *each) for each in places}


def test_a_required_value_set_to_null_is_a_change(lake: Shop) -> None:
    """A row that the contract cannot encode is no row of the log."""
    DeltaTable(lake.directory or "").update(predicate="id = 'order-7'", updates={"amount": "NULL"})
    assert told(lake.verify()) == {("changed", *place(lake, "order-7"))}


def test_a_changed_table_is_found_when_the_log_is_gone(lake: Shop) -> None:
    """What the commit recorded is enough to see that the rows are others."""
    partition, _ = place(lake, "order-7")
    for index in range(3):
        log = lake.broker.partition(Partition(TOPIC, index))
        log.truncate(log.end)
    assert lake.verify().outcome == "unverifiable"
    DeltaTable(lake.directory or "").update(predicate="id = 'order-7'", updates={"amount": "7.5"})
    verdict = lake.verify()
    assert verdict.outcome == "different"
    assert told(verdict) == {("recorded", partition, None)}


def test_an_unreadable_record_in_the_log_is_a_difference(lake: Shop) -> None:
    """A log that changed under the snapshot is found from the log's side."""
    partition, offset = place(lake, "order-12")
    log = lake.broker.partition(Partition(TOPIC, partition))
    entry = log._entries[offset]
    assert entry.record is not None
    log._entries[offset] = replace(entry, record=replace(entry.record, value=b"\0\0\0\0\7"))
    assert told(lake.verify()) == {("unreadable", partition, offset), ("extra", partition, offset)}


def test_many_differences_are_counted_and_the_first_are_told(lake: Shop) -> None:
    """A verdict stays readable."""
    DeltaTable(lake.directory or "").update(updates={"amount": "0.25"})
    verdict = lake.verify()
    assert verdict.difference_count == 30
    assert len(verdict.differences) == 20
