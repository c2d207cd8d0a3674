"""What `verify` makes of a snapshot that was damaged or changed behind its log, file by file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from tests.snapshot.lake import (
    Lake,
    told,
)

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
    """A reader that skips files by what a Delta log says of them would miss rows."""

    def shrink(line: dict[str, Any]) -> None:
        stats = json.loads(line["add"]["stats"])
        place = {"_partition": int(line["add"]["path"].split("-")[1]), "_offset": 0}
        line["add"]["stats"] = json.dumps({**stats, "minValues": place, "maxValues": place})

    lake.edit(1, lambda line: "add" in line, shrink)
    verdict = lake.verify()
    assert {d.kind for d in verdict.differences} == {"recorded"}
    assert verdict.difference_count == 3


def test_a_name_that_hides_rows_is_a_difference(lake: Lake) -> None:
    """Our own reader skips files by their names."""
    path = lake.file(1)
    renamed = path.with_name(path.name.replace("part-1-", "part-2-"))
    path.rename(renamed)
    lake.edit(
        1,
        lambda line: line.get("add", {}).get("path") == path.name,
        lambda line: line["add"].update(path=renamed.name),
    )
    assert [(d.kind, d.partition) for d in lake.verify().differences] == [("recorded", 2)]


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


def test_whatever_bit_of_a_file_without_a_digest_rots_there_is_a_verdict(lake: Lake) -> None:
    """Never an error; and equal only when a reader gets the very rows that were written."""
    path = lake.rewrite(0, lambda rows: rows)
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
