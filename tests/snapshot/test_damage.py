"""What `verify` makes of a snapshot that was damaged or changed behind its log, file by file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.memory import MemoryBroker, MemoryRangeReader, MemoryTopics
from headwater.clock import ManualClock
from headwater.contract import Contract, Encoder, parse_contract
from headwater.errors import DamagedError, StartRefusedError, UnknownSchemaError
from headwater.ports import TopicSettings
from headwater.snapshot.rows import RowCodec
from headwater.snapshot.verdict import Verdict
from headwater.snapshot.verifier import Verifier
from headwater.snapshot.writer import Snapshotter, Taken

TOPIC = "shop.orders"
SCHEMA_ID = 7
OTHER_ID = 8
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


SCHEMAS = {SCHEMA_ID: contract(FIELDS), OTHER_ID: contract([*FIELDS, NOTE])}


def lookup(schema_id: int) -> str:
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

    def __init__(self, directory: Path) -> None:
        self.directory = directory
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
        return Snapshotter(
            product=TOPIC,
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            table=self.table(),
            codec=rows or codec(SCHEMA_ID),
            clock=ManualClock(at_s=100),
        ).take()

    def verify(self) -> Verdict:
        """Verify it, as a process of its own would."""
        return Verifier(
            topic=TOPIC,
            topics=MemoryTopics(self.broker),
            reader=MemoryRangeReader(self.broker),
            open_table=self.table,
            codecs=codec,
        ).verify()

    def table(self) -> DeltaSnapshotTable:
        """A new handle."""
        return DeltaSnapshotTable(self.directory, product=TOPIC, topic=TOPIC)

    def file(self, partition: int) -> Path:
        """The first data file of a partition."""
        return min(self.directory.glob(f"part-{partition}-0-*.parquet"))

    def entry(self, version: int) -> Path:
        """An entry of the Delta log."""
        return self.directory / "_delta_log" / f"{version:020}.json"

    def rewrite(self, partition: int, change: Callable[[pa.Table], pa.Table]) -> Path:
        """Change a file's rows, and its size in the Delta log: readers open it without complaint.

        Its statistics in the log stay those of the rows that were written.
        """
        path = self.file(partition)
        pq.write_table(change(pq.read_table(path)), path)
        self.edit(1, lambda line: line.get("add", {}).get("path") == path.name, _sized(path))
        return path

    def edit_record(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change what the first commit says of itself."""

        def changed(line: dict[str, Any]) -> None:
            record = change(json.loads(line["commitInfo"]["headwater"]))
            text = record if isinstance(record, str) else json.dumps(record)
            line["commitInfo"]["headwater"] = text

        self.edit(1, lambda line: "commitInfo" in line, changed)

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


def _sized(path: Path) -> Callable[[dict[str, Any]], None]:
    def change(line: dict[str, Any]) -> None:
        line["add"]["size"] = path.stat().st_size

    return change


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A verified snapshot, for others to meddle with."""
    lake = Lake(tmp_path / "orders")
    assert lake.verify().outcome == "equal"
    return lake


def told(verdict: Verdict) -> list[str]:
    """What is said of the differences."""
    return [str(difference) for difference in verdict.differences]


# -- rows behind the statistics --------------------------------------------------------------------


def with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """A column of place replaced; nulls are allowed in it."""
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, pa.field(name, values.type), values)


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("_partition", lambda column: pa.array([99] * len(column), pa.int32())),
        ("_partition", lambda column: pa.nulls(len(column), pa.int32())),
        ("_offset", lambda column: pc.add(column, 10_000_000).combine_chunks()),
        ("_offset", lambda column: pa.nulls(len(column), pa.int64())),
    ],
    ids=["another partition", "no partition", "far offsets", "no offset"],
)
def test_rows_outside_a_files_own_statistics_are_found(
    lake: Lake, place: str, values: Callable[[pa.ChunkedArray], pa.Array]
) -> None:
    """A reader sees every row of a file, so verification looks at every row."""

    def add(rows: pa.Table) -> pa.Table:
        more = rows.slice(0, 10)
        whole = with_column(rows, place, rows[place].combine_chunks())
        return pa.concat_tables([whole, with_column(more, place, values(more[place]))])

    before = DeltaTable(lake.directory).to_pyarrow_table().num_rows
    path = lake.rewrite(0, add)
    assert DeltaTable(lake.directory).to_pyarrow_dataset().to_table().num_rows == before + 10
    verdict = lake.verify()
    assert verdict.outcome == "different"
    assert any("10 rows" in line and path.name in line for line in told(verdict))
    assert {d.kind for d in verdict.differences} == {"unaccounted", "recorded"}


def test_rows_of_another_partition_in_a_file_are_found_one_by_one(lake: Lake) -> None:
    """Copies of rows that the log has elsewhere stand twice."""
    copies = pq.read_table(lake.file(1)).slice(0, 5)
    lake.rewrite(0, lambda rows: pa.concat_tables([rows, copies]))
    verdict = lake.verify()
    found = {(d.partition, d.offset) for d in verdict.differences if d.kind == "extra"}
    assert found == {(1, offset) for offset in copies["_offset"].to_pylist()}


def test_statistics_that_hide_rows_are_a_difference(lake: Lake) -> None:
    """A reader that skips files by what the Delta log says of them would miss rows."""

    def shrink(line: dict[str, Any]) -> None:
        stats = json.loads(line["add"]["stats"])
        stats["maxValues"]["_offset"] = stats["minValues"]["_offset"]
        line["add"]["stats"] = json.dumps(stats)

    lake.edit(1, lambda line: "add" in line, shrink)
    verdict = lake.verify()
    assert {d.kind for d in verdict.differences} == {"recorded"}
    assert verdict.difference_count == 3


def test_a_count_that_is_not_the_rows_is_a_difference(lake: Lake) -> None:
    """`count()` of a Delta reader believes the log of the table."""

    def grow(line: dict[str, Any]) -> None:
        stats = json.loads(line["add"]["stats"])
        stats["numRecords"] += 1
        line["add"]["stats"] = json.dumps(stats)

    lake.edit(1, lambda line: "add" in line, grow)
    verdict = lake.verify()
    assert verdict.difference_count == 3
    assert "rows" in told(verdict)[0]


def test_compacted_files_are_equal(lake: Lake) -> None:
    """A file of many partitions and commits holds the same rows."""
    DeltaTable(lake.directory).optimize.compact()
    assert len(lake.table().files()) == 1
    assert lake.verify().outcome == "equal"


def test_a_row_without_publish_time_is_a_change(lake: Lake) -> None:
    """Null stands for no time of the log."""

    def forget(rows: pa.Table) -> pa.Table:
        stamps = rows["_timestamp"].to_pylist()
        return with_column(rows, "_timestamp", pa.array([None, *stamps[1:]], pa.timestamp("us")))

    lake.rewrite(0, forget)
    assert [(d.kind, d.partition) for d in lake.verify().differences] == [("changed", 0)]


# -- files that cannot be read ---------------------------------------------------------------------


def flip(path: Path) -> None:
    """One bit rots in the first page."""
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [Path.unlink, lambda path: os.truncate(path, 500), lambda path: os.truncate(path, 0), flip],
    ids=["deleted", "truncated", "emptied", "bit flipped"],
)
def test_a_file_that_cannot_be_read_is_named_with_its_place(
    lake: Lake, harm: Callable[[Path], None]
) -> None:
    """File, partition and offsets in one difference; every other range is compared as ever."""
    path = lake.file(1)
    offsets = pq.read_table(path)["_offset"].to_pylist()
    harm(path)
    lake.rewrite(2, lambda rows: rows.slice(1))
    verdict = lake.verify()
    (damaged,) = [d for d in verdict.differences if d.kind == "damaged"]
    assert (damaged.partition, damaged.offset) == (1, offsets[0])
    assert path.name in damaged.detail
    assert str(offsets[-1]) in damaged.detail
    others = {(d.kind, d.partition) for d in verdict.differences if d.kind != "damaged"}
    assert others == {("missing", 2), ("recorded", 2)}


def test_whatever_bit_of_a_file_rots_there_is_a_verdict(lake: Lake) -> None:
    """Never an error; and equal only when a reader gets the very rows that were written."""
    path = lake.file(0)
    content, rows = path.read_bytes(), pq.read_table(path)
    kinds: list[str] = []
    for place in range(0, len(content), 61):
        rotten = bytearray(content)
        rotten[place] ^= 1 << (place % 8)
        path.write_bytes(rotten)
        verdict = lake.verify()
        kinds += {difference.kind for difference in verdict.differences}
        if verdict.outcome == "equal":
            assert pq.read_table(path).equals(rows)
    assert kinds.count("damaged") > kinds.count("changed")


# -- a log that cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "told_of"),
    [
        (lambda lake: lake.entry(1).unlink(), "lacks version 1"),
        (lambda lake: lake.entry(0).unlink(), "metadata"),
        (lambda lake: lake.entry(1).write_text("{"), "Truncated"),
        (lambda lake: lake.entry(0).write_bytes(b"\xff\xfe\0"), "unexpected"),
    ],
    ids=["entry gone", "first entry gone", "entry cut short", "entry garbled"],
)
def test_a_log_of_the_table_that_cannot_be_read_is_a_difference(
    lake: Lake, harm: Callable[[Lake], None], told_of: str
) -> None:
    """One sentence, without a stack; and the writer refuses to go on."""
    harm(lake)
    verdict = lake.verify()
    assert verdict.outcome == "different"
    (line,) = told(verdict)
    assert told_of in line
    assert "\n" not in line
    with pytest.raises(DamagedError) as refused:
        lake.take()
    assert (refused.value.code, refused.value.exit_code) == ("SNAPSHOT_DAMAGED", 78)


def test_an_emptied_entry_is_a_gap(lake: Lake) -> None:
    """The rows and the record of the commit are gone together."""
    lake.publish(300, 400)
    lake.take()
    lake.entry(2).write_text("")
    assert {d.kind for d in lake.verify().differences} == {"gap"}


def test_a_table_cut_back_to_an_older_snapshot_is_equal(lake: Lake) -> None:
    """Verification proves what the table holds; that it is the newest it cannot know."""
    lake.entry(2).unlink()
    verdict = lake.verify()
    assert (verdict.outcome, verdict.commits) == ("equal", 1)


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    """A record that lacks a field."""
    return {key: value for key, value in record.items() if key != name}


def first_range(**fields: object) -> Callable[[dict[str, Any]], object]:
    """A record whose first range says otherwise."""

    def change(record: dict[str, Any]) -> object:
        record["ranges"][0].update(fields)
        return record

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda record: "{",
        lambda record: "[]",
        lambda record: without(record, "ranges"),
        lambda record: without(record, "schema_id"),
        lambda record: record | {"ranges": 3},
        first_range(start="0"),
        first_range(hash=5),
    ],
    ids=["no json", "a list", "no ranges", "no schema", "one range", "text", "number"],
)
def test_a_record_that_cannot_be_read_is_a_difference(
    lake: Lake, change: Callable[[dict[str, Any]], object]
) -> None:
    """The commit is named, and so are its rows with file, partition and offsets."""
    lake.edit_record(change)
    verdict = lake.verify()
    assert any("damaged" in line and "version 1" in line for line in told(verdict))
    stray = [d for d in verdict.differences if d.kind == "unaccounted"]
    assert {(d.partition, d.offset) for d in stray} == {(0, 0), (1, 0), (2, 0)}
    with pytest.raises(DamagedError, match="version 1"):
        lake.take()


@pytest.mark.parametrize("text", ["zz", "", "0" * 32, "0x" + "1" * 30])
def test_a_hash_that_is_none_is_a_difference(lake: Lake, text: str) -> None:
    """Whatever stands in place of the hash is not the hash of the rows."""
    lake.edit_record(first_range(hash=text))
    verdict = lake.verify()
    assert [(d.kind, d.partition) for d in verdict.differences] == [("recorded", 0)]
    assert "[0, " in told(verdict)[0]


def test_what_a_newer_release_adds_to_a_record_is_ignored(lake: Lake) -> None:
    """Unknown keys are no damage."""
    lake.edit_record(lambda record: record | {"signature": "x"})
    lake.edit_record(first_range(bloom=[1, 2]))
    assert lake.verify().outcome == "equal"


def test_rows_recorded_for_an_empty_range_are_a_difference(lake: Lake) -> None:
    """A range without offsets has no rows."""
    lake.edit_record(lambda record: record | {"ranges": [*record["ranges"], EMPTY | {"rows": 1}]})
    assert [(d.kind, d.partition) for d in lake.verify().differences] == [("recorded", 5)]


EMPTY = {"partition": 5, "start": 3, "end": 3, "rows": 0, "hash": "0" * 32}


def test_an_unknown_schema_cannot_be_decided(lake: Lake) -> None:
    """Rows of a schema that the registry does not know are counted, not compared."""
    lake.edit_record(lambda record: record | {"schema_id": 9999})
    verdict = lake.verify()
    assert (verdict.outcome, verdict.undecided) == ("unverifiable", ("no schema 9999",))
    lake.rewrite(0, lambda rows: rows.slice(1))
    assert lake.verify().outcome == "different"


def test_a_record_that_names_another_contract_is_a_difference(lake: Lake) -> None:
    """The columns of the table are not those of the schema."""
    lake.edit_record(lambda record: record | {"schema_id": OTHER_ID})
    verdict = lake.verify()
    assert "note is not stored" in told(verdict)[0]


# -- a contract whose columns changed --------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ([*FIELDS, NOTE], "note is not stored"),
        (FIELDS[:1], "amount is only stored"),
        ([FIELDS[0], FIELDS[1] | {"type": "float"}], "amount is float, stored as double"),
        ([FIELDS[0], FIELDS[1] | {"type": "long"}], "amount is int64, stored as double"),
        (FIELDS[::-1], "another order"),
    ],
    ids=["added", "removed", "narrower", "other type", "moved"],
)
def test_a_changed_column_is_refused_at_once(
    lake: Lake, fields: list[dict[str, Any]], phrase: str
) -> None:
    """Before anything is read or written, with nothing new to take, and with the way on."""
    files = set(lake.directory.rglob("*"))
    for published in (0, 10):
        lake.publish(300, 300 + published)
        with pytest.raises(StartRefusedError, match=phrase) as refused:
            lake.take(RowCodec(contract(fields), OTHER_ID, lookup=lookup))
        assert refused.value.code == "SNAPSHOT_COLUMNS"
        assert "--to" in str(refused.value)
    assert set(lake.directory.rglob("*")) == files
    assert lake.verify().outcome == "equal"
