"""What is of Delta alone: its log, its features, and other writers of it."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.snapshot.changes import change
from tests.snapshot.storage import TOPIC, parquet_files, record, rows

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.errors import StartRefusedError
from headwater.ports import CommitRecord


def opened(directory: Path) -> DeltaSnapshotTable:
    """A new handle."""
    return DeltaSnapshotTable(DirectoryFiles(directory), product=TOPIC, topic=TOPIC)


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A Delta table without our mark, or of another topic, is refused."""
    write_deltalake(tmp_path, pa.table({"id": [1]}))
    with pytest.raises(StartRefusedError, match="another table") as refused:
        opened(tmp_path)
    assert refused.value.code == "NOT_OUR_TABLE"
    assert DeltaTable(tmp_path).version() == 0


def test_a_crash_after_the_creation_leaves_a_table_that_goes_on(tmp_path: Path) -> None:
    """A table without rows, or a `_delta_log` without a version, is no obstacle."""
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    (tmp_path / "a" / "_delta_log" / f"{1:020}.json").unlink()
    opened(tmp_path / "a").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "a").rows() == 10
    (tmp_path / "b" / "_delta_log").mkdir(parents=True)
    opened(tmp_path / "b").commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path / "b").rows() == 10


def test_compaction_keeps_offsets_and_cuts(tmp_path: Path) -> None:
    """Delta's own maintenance neither moves a cut nor hides a commit record."""
    table = opened(tmp_path)
    for start in range(0, 50, 10):
        table.commit(change(rows(start, start + 10), record(start, start + 10)))
        table.offsets("one")
    DeltaTable(tmp_path).optimize.compact()
    DeltaTable(tmp_path).create_checkpoint()
    DeltaTable(tmp_path).cleanup_metadata()
    again = opened(tmp_path)
    assert again.offsets("one") == {0: 50}
    ends = [r.ranges[0].end for _, r in again.commits() if isinstance(r, CommitRecord)]
    assert ends == [10, 20, 30, 40, 50]
    assert again.rows() == 50


def test_the_record_of_a_cut_stands_in_the_delta_log(tmp_path: Path) -> None:
    """Any reader of Delta can see what a commit says of itself."""
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    entry = DeltaTable(tmp_path).history(1)[0]
    assert json.loads(entry["headwater"])["ranges"][0] == {
        "partition": 0,
        "start": 0,
        "end": 10,
        "rows": 10,
        "hash": "0" * 32,
    }
    assert DeltaTable(tmp_path).transaction_version("one/0") == 10


def test_a_table_with_features_that_are_not_kept_is_left_alone(tmp_path: Path) -> None:
    """Another writer may ask of all writers what we do not do: then nothing is written."""
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    DeltaTable(tmp_path).alter.add_constraint({"known": "_offset >= 0"})
    before = parquet_files(tmp_path)
    table = opened(tmp_path)
    table.offsets("one")
    with pytest.raises(StartRefusedError) as refused:
        table.commit(change(rows(10, 20), record(10, 20)))
    assert refused.value.code == "TABLE_FEATURE"
    assert parquet_files(tmp_path) == before


def test_a_commit_goes_behind_what_another_tool_wrote(tmp_path: Path) -> None:
    """A table may be compacted by any Delta writer between two snapshots."""
    table = opened(tmp_path)
    for start in (0, 10):
        table.offsets("one")
        table.commit(change(rows(start, start + 10), record(start, start + 10)))
    table.offsets("one")
    DeltaTable(tmp_path).optimize.compact()
    table.commit(change(rows(20, 30), record(20, 30)))
    found = DeltaTable(tmp_path).to_pyarrow_table()["_offset"].to_pylist()
    assert sorted(found) == list(range(30))
    assert opened(tmp_path).rows() == 30
    assert opened(tmp_path).offsets("one") == {0: 30}


# -- what other readers find -----------------------------------------------------------------------

KINDS: Final[dict[str, tuple[pa.DataType, list[Any]]]] = {
    "text": (pa.string(), [f"{'long' * 20}{n:02}" for n in range(20)]),  # longer than bounds are
    "flag": (pa.bool_(), [n >= 13 for n in range(20)]),
    "number": (pa.float64(), [n / 4 for n in range(20)]),
    "price": (pa.decimal128(9, 2), [Decimal(n) / 4 for n in range(20)]),
    "day": (pa.date32(), [date(2026, 1, 1 + n) for n in range(20)]),
    "at": (pa.timestamp("us", "UTC"), [datetime(2026, 1, 1, n, tzinfo=UTC) for n in range(20)]),
    "sparse": (pa.int64(), [n if n >= 13 else None for n in range(20)]),
    "place": (pa.struct([("x", pa.int32())]), [{"x": n} for n in range(20)]),
    "tags": (pa.list_(pa.string()), [[f"t{n}"] for n in range(20)]),
}
LAST: Final = 13  # so many of the twenty rows lie before the one that filters begin at


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    """Twenty rows of many types in two files."""
    table = opened(tmp_path)
    for start in (0, 10):
        made = rows(start, start + 10)
        for name, (kind, values) in KINDS.items():
            made = made.append_column(name, pa.array(values[start : start + 10], kind))
        table.offsets("one")
        table.commit(change(made, record(start, start + 10)))
    return tmp_path


def deltalakes_own(directory: Path, name: str, first: Any) -> int:
    """As deltalake's own dataset finds them."""
    kind = KINDS[name][0]
    wanted = pc.field(name) >= pa.scalar(first, kind) if kind != pa.bool_() else pc.field(name)
    return int(DeltaTable(directory).to_pyarrow_dataset().to_table(filter=wanted).num_rows)


def by_polars(directory: Path, name: str, first: Any) -> int:
    """As a lazy frame of Polars finds them."""
    return pl.scan_delta(str(directory)).filter(pl.col(name) >= first).collect().height


def by_duckdb(directory: Path, name: str, first: Any) -> int:
    """As DuckDB finds them, over deltalake's dataset."""
    found = DeltaTable(directory).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("found", found)
        query = f'SELECT count(*) FROM found WHERE "{name}" >= ?'  # noqa: S608  # names of this test
        return int(connection.execute(query, [first]).fetchall()[0][0])


@pytest.mark.parametrize("find", [deltalakes_own, by_polars, by_duckdb])
@pytest.mark.parametrize("name", [each for each in KINDS if each not in {"place", "tags"}])
def test_other_readers_find_rows_by_any_column(
    kinds: Path, find: Callable[[Path, str, Any], int], name: str
) -> None:
    """Each skips files by what the log says of them, and misses none."""
    assert find(kinds, name, KINDS[name][1][LAST]) == 20 - LAST


def test_other_readers_find_rows_by_what_is_nested_and_by_nulls(kinds: Path) -> None:
    """Fields of structs, items of lists; rows without a value, and with one."""
    found = DeltaTable(kinds).to_pyarrow_dataset()
    assert found.count_rows(filter=pc.field("place", "x") >= LAST) == 20 - LAST
    assert found.count_rows(filter=pc.field("sparse").is_null()) == LAST
    assert found.count_rows(filter=pc.field("sparse").is_valid()) == 20 - LAST
    lazy = pl.scan_delta(str(kinds))
    assert lazy.filter(pl.col("place").struct.field("x") >= LAST).collect().height == 20 - LAST
    assert lazy.filter(pl.col("tags").list.contains("t3")).collect().height == 1
    assert lazy.filter(pl.col("sparse").is_null()).collect().height == LAST


def test_places_of_rows_are_known_from_the_names_of_files(kinds: Path) -> None:
    """The log tells how many rows there are, and no bounds."""
    (first, second) = sorted(opened(kinds).files(), key=lambda each: each.offsets or (0, 0))
    assert [(each.partitions, each.offsets) for each in (first, second)] == [
        ((0, 0), (0, 9)),
        ((0, 0), (10, 19)),
    ]
    assert pa.table(DeltaTable(kinds).get_add_actions(flatten=True))["num_records"].to_pylist() == [
        10,
        10,
    ]


def test_a_file_of_another_writer_says_nothing_by_its_name(kinds: Path) -> None:
    """It holds what the log says of it."""
    DeltaTable(kinds).optimize.compact()
    (file,) = opened(kinds).files()
    assert (file.partitions, file.offsets) == ((0, 0), (0, 19))
