"""Tables that a column divides: by the day of the event, or by a column of the contract."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.snapshot import processes
from tests.snapshot.formats import FORMATS

from headwater.adapters.memory import MemoryBroker
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.assembly.snapshot_modes import mode_mistakes
from headwater.clock import ManualClock
from headwater.contract import Contract, Encoder, parse_contract
from headwater.errors import StartRefusedError
from headwater.ports import Change, NewFile, Table, TopicSettings
from headwater.product import DataProduct, Snapshot
from headwater.snapshot.division import event_dates, folder_of, runs
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.schema import snapshot_schema
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.writer import Taken

TOPIC = "shop.sales"
SCHEMA_ID = 11
PARTITIONS = 2
KINDS: dict[str, Any] = {
    "id": "string",
    "at": ["null", {"type": "long", "logicalType": "timestamp-millis"}],
    "shop": ["null", "string"],
    "size": {"type": "enum", "name": "Size", "symbols": ["S", "L"]},
    "day": {"type": "int", "logicalType": "date"},
    "number": "long",
    "is_paid": "boolean",
    "amount": "double",
    "tags": {"type": "array", "items": "string"},
    "raw": "bytes",
    "noted": {"type": "long", "logicalType": "timestamp-millis"},
    "price": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
}


def contract(*names: str, **more: Any) -> Contract:
    """A contract of sales with these fields."""
    fields = [{"name": name, "type": KINDS[name], "doc": "A field."} for name in names]
    schema = {"type": "record", "name": "Sale", "namespace": "shop", "doc": "One sale."}
    text = json.dumps({**schema, "key": "id", "fields": fields, **more})
    return parse_contract(text, topic=TOPIC, version=1, path=Path("v1.avsc"))


SALES = contract("id", "at", "shop", eventTime="at")

Sale = tuple[str, datetime | None, str | None]
"""Id, event time and shop."""


@dataclass
class Sales:
    """A log of sales and the table of it, in memory or on disk."""

    by: str | None
    mode: str = "append"
    directory: Path | None = None
    format: str = "delta"
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    published: list[Sale] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = TopicSettings(TOPIC, PARTITIONS, "log", {"cleanup.policy": "delete"})
        self.broker.create(settings)

    def publish(self, *sales: Sale) -> None:
        """Sales, as the engine would publish them."""
        self.published += sales
        frame = pl.DataFrame(sales, schema=SALES.columns, orient="row")
        encoded = Encoder(SALES, SCHEMA_ID).encode(frame.with_row_index("_row"))
        for key, value in zip(encoded.keys, encoded.values, strict=True):
            self.broker.append(TOPIC, value, key=key)

    def table(self) -> Table:
        """A new handle."""
        if self.directory is None:
            return MemoryTable(self.storage)
        return FORMATS[self.format](self.directory, product=TOPIC, topic=TOPIC)

    def codec(self, _schema_id: int = SCHEMA_ID) -> RowCodec:
        """The codec of the contract, of a table that is not divided."""
        return RowCodec(SALES, SCHEMA_ID, lookup=lambda _id: SALES.text)

    def take(self) -> Taken:
        """Take a snapshot, as a process of its own would."""
        divided, clock = self.codec().divided(self.by), ManualClock(at_s=100)
        return processes.take(self, divided, mode=self.mode, clock=clock)

    def verify(self) -> Verdict:
        """Verify it."""
        clock = ManualClock(at_s=100)
        return processes.verifier(self, TOPIC, self.codec, full=True, clock=clock).verify()

    def rows(self) -> list[dict[str, Any]]:
        """All rows, in the order of the log."""
        table = self.table()
        found = [
            row
            for file in table.files()
            for batch in table.scan(file.name)
            for row in batch.to_pylist()
        ]
        return sorted(found, key=lambda row: (row["_partition"], row["_offset"]))

    def expected(self) -> list[tuple[Any, ...]]:
        """What the table should hold: every sale, or the last of each id."""
        if self.mode == "latest":
            return sorted({sale[0]: sale for sale in self.published}.values(), key=str)
        return sorted(self.published, key=str)


def at(day: int, hour: int = 12) -> datetime:
    """A time in January."""
    return datetime(2026, 1, day, hour, tzinfo=UTC)


def assert_whole(sales: Sales) -> None:
    """Every row there should be, in a file of its value, and verified."""
    rows = sales.rows()
    found = [(row["id"], row["at"], row["shop"]) for row in rows]
    assert sorted(found, key=str) == sales.expected()
    if sales.by == "_date":
        assert all(row["_date"] == (row["at"] and row["at"].date()) for row in rows)
    table = sales.table()
    for file in table.files():
        held = {row[sales.by] for batch in table.scan(file.name) for row in batch.to_pylist()}
        assert {None if each is None else str(each) for each in held} == {file.value}
    assert sales.verify().outcome == "equal"


SALE = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "e"]),
    st.none() | st.sampled_from([at(1, 0), at(1, 23), at(2), datetime(1969, 7, 20, 1, tzinfo=UTC)]),
    st.none() | st.sampled_from(["north/south", "50%", "Ærø", "x"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(st.lists(SALE, min_size=1, max_size=8), min_size=1, max_size=4),
    mode=st.sampled_from(["append", "latest"]),
    by=st.sampled_from(["_date", "shop", "id"]),
)
def test_any_history_is_divided_and_whole(parts: list[list[Sale]], mode: str, by: str) -> None:
    """Out of order, with nulls, with keys that move from value to value: verify says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.snapshot.writer.READ_RECORDS", 3)
        patch.setattr("headwater.snapshot.writer.COMMIT_ROWS", 5)
        patch.setattr("headwater.snapshot.buckets.BUCKET_BYTES", 150)
        sales = Sales(by, mode)
        for part in parts:
            sales.publish(*part)
            sales.take()
            assert_whole(sales)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("mode", ["append", "latest"])
@pytest.mark.parametrize("by", ["_date", "shop"])
def test_every_format_is_divided_and_whole(
    tmp_path: Path, format_: str, mode: str, by: str
) -> None:
    """Over two commits, the second with values that the first did not have."""
    sales = Sales(by, mode, tmp_path / "sales", format_)
    sales.publish(("a", at(1), "x"), ("b", at(2), "y/z"), ("c", None, None), ("d", at(1), "x"))
    sales.take()
    assert_whole(sales)
    sales.publish(("a", at(3), "50%"), ("e", at(1), "x"), ("c", at(1, 23), "Ærø"))
    taken = sales.take()
    assert taken.commits == 1
    assert sales.table().divided_by == by
    assert_whole(sales)
    assert sales.take().version is None


def test_a_key_whose_value_changes_moves(tmp_path: Path) -> None:
    """Of mode latest: the old row goes with its file, the new one stands under its value."""
    sales = Sales("shop", "latest", tmp_path / "sales")
    sales.publish(("a", at(1), "north"))
    sales.take()
    assert [file.value for file in sales.table().files()] == ["north"]
    sales.publish(("a", at(2), "south"))
    sales.take()
    assert [file.value for file in sales.table().files()] == ["south"]
    assert_whole(sales)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_filter_reads_only_the_files_of_a_value(tmp_path: Path, format_: str) -> None:
    """Datasets know it before a file is opened; so does a lazy frame over one."""
    sales = Sales("_date", directory=tmp_path / "sales", format=format_)
    sales.publish(*((f"s{n}", at(1 + n % 20), "x") for n in range(200)))
    version = sales.take().version
    assert version is not None
    dataset = sales.table().dataset(version)
    days = {file.value for file in sales.table().files()}
    assert len(days) == 20
    wanted = pc.field("_date") == date(2026, 1, 7)
    fragments = list(dataset.get_fragments(filter=wanted))
    assert {Path(each.path).parent.name for each in fragments} == {"_date=2026-01-07"}
    lazy = pl.scan_pyarrow_dataset(dataset).filter(pl.col("_date") == date(2026, 1, 7))
    assert lazy.collect()["at"].dt.date().unique().to_list() == [date(2026, 1, 7)]


def test_other_engines_read_a_divided_delta_table_by_value(tmp_path: Path) -> None:
    """Polars' own reader of Delta opens the files of the value, as its plan says."""
    sales = Sales("shop", directory=tmp_path / "sales")
    sales.publish(*((f"s{n}", at(1), ["a/b", "50%", "Ærø", None][n % 4]) for n in range(40)))
    sales.take()
    lazy = pl.scan_delta(str(tmp_path / "sales"))
    assert lazy.collect()["shop"].value_counts().sort("shop")["count"].to_list() == [10] * 4
    one = lazy.filter(pl.col("shop") == "a/b")
    assert one.collect().height == 10
    assert one.explain().count(".parquet") <= PARTITIONS


def test_hive_readers_read_a_divided_parquet_table(tmp_path: Path) -> None:
    """Without the manifest, by folders alone, they see the same values."""
    sales = Sales("shop", directory=tmp_path / "sales", format="parquet")
    sales.publish(*((f"s{n}", at(1), ["a/b", "50%", "Ærø", None][n % 4]) for n in range(40)))
    sales.take()
    found = pl.read_parquet(tmp_path / "sales" / "**" / "*.parquet", hive_partitioning=True)
    assert found["shop"].value_counts().sort("shop")["count"].to_list() == [10] * 4


def test_a_wrong_day_in_a_file_is_found(tmp_path: Path) -> None:
    """`_date` is no part of the log, and is proved all the same."""
    sales = Sales("_date", directory=tmp_path / "sales", format="parquet")
    sales.publish(("a", at(1), "x"), ("b", at(2), "x"))
    sales.take()
    table = sales.table()
    file = next(each for each in table.files() if each.value == "2026-01-02")
    rows = pa.Table.from_batches(table.scan(file.name))
    place = rows.schema.get_field_index("_date")
    wrong = rows.set_column(place, "_date", pa.array([date(2026, 1, 1)], pa.date32()))
    table.commit(Change([NewFile("x", wrong, "2026-01-01")], None, removed=[file.name]))
    assert {found.kind for found in sales.verify().differences} == {"changed"}


@pytest.mark.parametrize("format_", ["iceberg", "parquet"])
def test_a_value_told_wrong_of_a_file_is_found(tmp_path: Path, format_: str) -> None:
    """Readers would pass the file by: what its rows hold is not what is told of them."""
    sales = Sales("shop", directory=tmp_path / "sales", format=format_)
    sales.publish(("a", at(1), "x"), ("b", at(2), "y"))
    sales.take()
    table = sales.table()
    told = [replace(file, value="z") for file in table.files()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(table), "files", lambda _table, _version=None: told)
        verdict = sales.verify()
    assert {found.kind for found in verdict.differences} == {"recorded"}
    assert "holds other shop than its commit says" in str(verdict.differences[0])


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "__HIVE_DEFAULT_PARTITION__", "x" * 201, "Ø" * 40])
def test_a_value_that_no_path_tells_is_refused(value: str) -> None:
    """Before anything is written; the sentence does not tell the value."""
    sales = Sales("shop")
    sales.publish(("a", at(1), value))
    with pytest.raises(StartRefusedError, match="a value of shop") as refused:
        sales.take()
    assert refused.value.code == "SNAPSHOT_DIVISION"
    assert value == "" or value not in str(refused.value)
    assert sales.storage.versions == []


@pytest.mark.parametrize("mode", ["append", "latest"])
def test_too_many_values_are_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for each would be a table of nothing but files."""
    monkeypatch.setattr("headwater.snapshot.division.MAX_VALUES", 10)
    sales = Sales("id", mode)
    sales.publish(*((f"s{n}", at(1), "x") for n in range(11)))
    with pytest.raises(StartRefusedError, match="11 values of id") as refused:
        sales.take()
    assert refused.value.code == "SNAPSHOT_DIVISION"
    assert sales.storage.versions == []


@pytest.mark.parametrize(("before", "after"), [(None, "shop"), ("shop", None), ("shop", "_date")])
@pytest.mark.parametrize("mode", ["append", "latest"])
def test_a_table_stays_divided_as_it_began(
    mode: str, before: str | None, after: str | None
) -> None:
    """Another column asks for another table."""
    sales = Sales(before, mode)
    sales.publish(("a", at(1), "x"))
    sales.take()
    sales.by = after
    with pytest.raises(StartRefusedError) as refused:
        sales.take()
    assert refused.value.code == "SNAPSHOT_DIVISION"


def test_a_day_that_no_path_has_is_null() -> None:
    """One clock gone mad, past the year 9999, does not stop the snapshot."""
    frame = pl.DataFrame({"at": [253_402_300_800_000, 0]}).select(
        pl.col("at").cast(pl.Datetime("ms", "UTC"))
    )
    assert event_dates(frame, SALES).to_list() == [None, date(1970, 1, 1)]


@pytest.mark.parametrize(
    ("by", "more", "why"),
    [
        ("amount", {}, "neither a text"),
        ("tags", {}, "neither a text"),
        ("raw", {}, "neither a text"),
        ("noted", {}, "neither a text"),
        ("price", {}, "neither a text"),
        ("nothing", {}, "no column nothing"),
        ("_date", {}, 'no "eventTime"'),
        ("_date", {"eventTime": "noted"}, None),
        *((name, {}, None) for name in ("id", "shop", "size", "day", "number", "is_paid")),
    ],
)
def test_what_cannot_divide_a_table_is_told_before_anything_is_read(
    by: str, more: dict[str, Any], why: str | None
) -> None:
    """By the contract of the output, whatever the mode."""
    found = declared(by, contract(*(name for name in KINDS if name != "at"), **more))
    assert [problem.code for problem in found] == ([] if why is None else ["SNAPSHOT_DIVISION"])
    assert why is None or why in found[0].message


def test_what_people_may_not_see_divides_no_table() -> None:
    """Values of the column stand in paths, which nobody masks."""
    fields = [{"name": "id", "type": "string", "doc": "Who.", "sensitivity": "personal"}]
    assert "paths" in declared("id", contract("id", fields=fields))[0].message


def declared(by: str, of: Contract) -> list[Any]:
    """What is wrong with a product whose snapshots are divided so."""
    product = DataProduct(TOPIC, owner="shop@example.org", snapshot=Snapshot("1h", by=by))
    product.publish(product.stream("shop.carts", contract=1), contract=1)
    assert not product.problems
    return list(mode_mistakes(product, {TOPIC: of}, {}))


def test_the_registered_schema_has_the_day() -> None:
    """Where the table has it, and nowhere else."""
    fields = [each["name"] for each in json.loads(registered_schema("_date"))["fields"]]
    assert fields == ["id", "at", "shop", "_partition", "_offset", "_timestamp", "_date"]
    assert registered_schema("shop") == registered_schema(None)


def registered_schema(by: str | None) -> str:
    """The schema of rows of a table that is divided so."""
    return snapshot_schema(SALES, log_subject="shop.sales-value", divided_by=by)


def test_a_value_has_less_room_in_a_path_beside_a_long_name() -> None:
    """No file system takes a folder of more than 255 bytes, however often it is tried."""
    by = "c" * 80
    (fits,) = runs(pa.table({by: ["x" * 174]}), by, "here")
    assert len(folder_of(by, fits[0])) == 255
    with pytest.raises(StartRefusedError, match="more than 174 bytes") as refused:
        list(runs(pa.table({by: ["x" * 175]}), by, "here"))
    assert refused.value.code == "SNAPSHOT_DIVISION"
