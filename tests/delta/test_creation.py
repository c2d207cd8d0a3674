"""How a table begins: entry 0 is ours, as deltalake would have made it for columns it can begin."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from tests.contract.test_types import EXAMPLES, ROWS, contract, name_of
from tests.snapshot.changes import change
from tests.snapshot.formats import FAILS_BEFORE, LOSES_THE_ANSWER
from tests.snapshot.storage import TOPIC, record, rows
from tests.snapshot.test_tables_in_buckets import lost, puts, refused

from headwater.adapters.delta.log import entry
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.objects.files import BucketFiles
from headwater.adapters.tables.files import TableFiles
from headwater.clock import ManualClock
from headwater.contract import from_arrow, to_arrow
from headwater.errors import OvertakenError, RetriableError, StartRefusedError
from headwater.ports import Change, NewFile


def opened(files: TableFiles) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(files, product="shop", topic=TOPIC, clock=ManualClock(at_s=100))


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> TableFiles:
    """The files of a table that is not there yet."""
    if request.param == "directory":
        return DirectoryFiles(tmp_path / "table")
    return BucketFiles(request.getfixturevalue("bucket"))


def loaded(files: TableFiles) -> DeltaTable:
    """As deltalake reads it."""
    return DeltaTable(files.location, storage_options=dict(files.options))


# -- columns of every type -------------------------------------------------------------------------

WITHIN: Final[Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "a column": (lambda type_: type_, lambda value: value),
    "a list": (lambda type_: {"type": "array", "items": type_}, lambda value: [value]),
    "a map": (
        lambda type_: {"type": "map", "values": type_},
        lambda value: [{"key": "k", "value": value}],
    ),
    "a record": (
        lambda type_: {
            "type": "record",
            "name": "Within",
            "fields": [{"name": "y", "type": type_, "doc": "d"}],
        },
        lambda value: {"y": value},
    ),
    "a list of maps": (
        lambda type_: {"type": "array", "items": {"type": "map", "values": type_}},
        lambda value: [[{"key": "k", "value": value}]],
    ),
}
"""Where a type may stand: the type around it, and the value around its own."""


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("row", ROWS, ids=list(EXAMPLES))
def test_a_table_whose_only_column_has_any_type_begins_and_is_read(
    tmp_path: Path, row: Sequence[str], within: str
) -> None:
    """By deltalake, by Polars, and by DuckDB over deltalake's dataset; values are what they were.

    Alone, since another column may bring the feature of Delta that this one needs.
    """
    type_ = json.loads(row[0])
    around, holding = WITHIN[within]
    tried = contract(around(type_))
    frame = pl.DataFrame({"c": [holding(EXAMPLES[name_of(type_)][1])]}, schema=dict(tried.columns))
    stored = beside_places(to_arrow(frame, tried))
    opened(DirectoryFiles(tmp_path)).commit(change(stored, record(0, 1)))
    found = DeltaTable(tmp_path)
    assert from_arrow(found.to_pyarrow_table().select(["c"]), tried).equals(frame)
    by_polars = pl.scan_delta(str(tmp_path)).select("c").collect()
    assert from_arrow(by_polars.to_arrow().cast(stored.select(["c"]).schema), tried).equals(frame)
    with duckdb.connect() as connection:
        connection.register("found", found.to_pyarrow_dataset())
        assert len(connection.execute("SELECT c::TEXT FROM found").fetchall()) == 1


def beside_places(columns: pa.Table) -> pa.Table:
    """One row with what a table has of its place in the log."""
    row = rows(0, 1).drop_columns("id")
    for name, column in zip(row.column_names, row.columns, strict=True):
        columns = columns.append_column(name, column)
    return columns


LOCAL: Final = pa.timestamp("us")
IN_A_MAP: Final = pa.map_(pa.string(), LOCAL)


def with_times(kind: pa.DataType, start: int, end: int) -> pa.Table:
    """Rows with a column `at` of times."""
    return rows(start, end).append_column("at", pa.nulls(end - start, kind))


@pytest.mark.parametrize("by", [None, "id"])
def test_times_without_a_zone_in_a_map_begin_a_table(place: TableFiles, by: str | None) -> None:
    """In a directory and in a bucket, divided or not; the next commit goes on from it."""
    for start in (0, 1):
        table = opened(place)
        assert table.offsets("one") == ({0: start} if start else {})
        file = NewFile(f"part-0-{start}-{start + 1}", with_times(IN_A_MAP, start, start + 1))
        table.commit(Change([file], record(start, start + 1), divided_by=by))
    assert opened(place).rows() == 2
    found = loaded(place)
    assert found.protocol().writer_features == ["timestampNtz"]
    assert sorted(found.to_pyarrow_dataset().to_table()["_offset"].to_pylist()) == [0, 1]


@pytest.mark.parametrize("by", [None, "id"])
@pytest.mark.parametrize("kind", [pa.timestamp("ms", "UTC"), LOCAL, pa.list_(LOCAL)], ids=str)
def test_entry_0_says_what_deltalake_would(
    place: TableFiles, tmp_path: Path, kind: pa.DataType, by: str | None
) -> None:
    """Versions and features, columns, what divides the table, its name and our marks."""
    made = with_times(kind, 0, 1)
    opened(place).commit(Change([NewFile("part-0-0-1", made)], record(0, 1), divided_by=by))
    DeltaTable.create(
        tmp_path / "other",
        schema=made.schema,
        name=TOPIC,
        configuration={
            "delta.enableExpiredLogCleanup": "false",
            "headwater.product": "shop",
            "headwater.topic": TOPIC,
        },
        partition_by=by,
        raise_if_key_not_exists=False,
    )
    ours, others = told(place), told(DirectoryFiles(tmp_path / "other"))
    assert list(ours) == list(others) == ["commitInfo", "protocol", "metaData"]
    assert ours["protocol"] == others["protocol"]
    assert UUID(ours["metaData"].pop("id")) != UUID(others["metaData"].pop("id"))
    assert ours["metaData"].pop("createdTime") == 100_000
    del others["metaData"]["createdTime"]
    assert ours["metaData"] == others["metaData"]
    assert ours["commitInfo"]["operation"] == others["commitInfo"]["operation"]


def told(files: TableFiles) -> dict[str, Any]:
    """The actions of entry 0."""
    lines = files.read(entry(0)).splitlines()
    return {name: said for line in lines for name, said in json.loads(line).items()}


# -- others, and storages that fail ----------------------------------------------------------------


def begins(place: TableFiles) -> None:
    """Two rows begin a table."""
    assert opened(place).commit(change(rows(0, 2), record(0, 2))) == 1
    assert opened(place).rows() == 2


def begins_in_vain(place: TableFiles, why: str) -> None:
    """No table is begun, for this reason."""
    with pytest.raises(RetriableError, match=why) as failed:
        begins(place)
    assert failed.value.code == "SNAPSHOT_STORAGE"
    assert opened(place).version() is None


def test_of_two_who_begin_a_table_the_second_is_told(place: TableFiles) -> None:
    """Both saw an empty place."""
    other = opened(place)
    begins(place)
    with pytest.raises(OvertakenError):
        other.commit(change(rows(0, 2), record(0, 2)))
    assert opened(place).rows() == 2


def test_rows_never_go_into_a_table_of_another_topic_that_began_meanwhile(
    place: TableFiles,
) -> None:
    """Its cuts are no cuts of ours, so only entry 0 tells that it is another's."""
    table = opened(place)
    other = DeltaSnapshotTable(place, product="shop", topic="shop.returns")
    other.commit(change(rows(0, 2), replace(record(0, 2), topic_id="two")))
    with pytest.raises(OvertakenError):
        table.commit(change(rows(0, 2), record(0, 2)))
    assert DeltaSnapshotTable(place, product="shop", topic="shop.returns").rows() == 2
    with pytest.raises(StartRefusedError, match=r"a table of shop\.returns"):
        opened(place)


def test_a_lost_answer_to_the_creation_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entry 0 is there and says whose it is; so does the entry of the commit."""
    place = DirectoryFiles(tmp_path)
    with monkeypatch.context() as patch:
        answers = LOSES_THE_ANSWER["delta"](patch)
        begins(place)
    assert answers == ["lost", "lost"]


def test_a_lost_answer_of_a_bucket_to_the_creation_is_recognised(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what stands there."""
    place = BucketFiles(bucket)
    with puts(monkeypatch, lost) as names:
        begins(place)
    assert names == [entry(0), entry(1)]


def test_a_disk_that_fails_at_the_creation_is_told_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never as another process, where there is none; the next run begins the table."""
    place = DirectoryFiles(tmp_path)
    with monkeypatch.context() as patch:
        FAILS_BEFORE["delta"](patch)
        begins_in_vain(place, "Input/output error")
    begins(place)


def test_a_store_that_refuses_the_creation_is_told_as_itself(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likewise."""
    place = BucketFiles(bucket)
    with puts(monkeypatch, refused):
        begins_in_vain(place, r"403 Forbidden \(AccessDenied\)")
    begins(place)


def test_an_error_beside_the_creation_of_another_is_told_as_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails while somebody else begins the table."""
    place = DirectoryFiles(tmp_path)
    table = opened(place)

    def overtaken(self: DirectoryFiles, *_given: Any) -> bool:
        monkeypatch.undo()
        begins(self)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DirectoryFiles, "put_if_absent", overtaken)
    with pytest.raises(OvertakenError):
        table.commit(change(rows(0, 2), record(0, 2)))
    assert opened(place).rows() == 2
