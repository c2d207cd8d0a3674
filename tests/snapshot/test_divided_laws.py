"""Laws of tables that a column divides, which every adapter of the port Table obeys."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.snapshot.formats import FORMATS, IN_BUCKETS, opener
from tests.snapshot.test_table_laws import Opener, names, record, rows

from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.ports import Change, NewFile, Table
from headwater.snapshot.division import text_of


@pytest.fixture(params=["memory", *FORMATS, *IN_BUCKETS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one more handle on the same table."""
    if request.param == "memory":
        storage = MemoryStorage()
        return lambda: MemoryTable(storage)
    return opener(request, tmp_path / "snapshot", "shop.orders")


VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (
        pa.string(),
        ["CPH", "a/b", "50%", "%2F", "Ærø ✈", "a b=c", "null", "true", "..", "x" * 200, None],
    ),
    "int": (pa.int32(), [0, -7, 2**31 - 1, None]),
    "long": (pa.int64(), [0, -(2**63), 2**63 - 1, None]),
    "boolean": (pa.bool_(), [True, False, None]),
    "date": (pa.date32(), [date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31), None]),
}


def divided_change(kind: str, start: int = 0) -> Change:
    """A row for each value of a kind, in a file of its own."""
    type_, values = VALUES[kind]
    files = [
        NewFile(
            f"part-0-{start}-{start + len(values)}",
            rows((0, start + n)).append_column("by", pa.array([value], type_)),
            text_of(value),
        )
        for n, value in enumerate(values)
    ]
    return Change(files, record((0, start, start + len(values))), divided_by="by")


def by_offset(table: Table) -> dict[int, Any]:
    """The value of the dividing column in each row, as files hold it."""
    return {
        row["_offset"]: row["by"]
        for name in names(table)
        for batch in table.scan(name)
        for row in batch.to_pylist()
    }


@pytest.mark.parametrize("kind", VALUES)
def test_a_divided_table_gives_every_value_back(opened: Opener, kind: str) -> None:
    """Of each type, whatever a path makes of them, in files, scans and datasets alike."""
    type_, values = VALUES[kind]
    table = opened()
    assert table.divided_by is None
    version = table.commit(divided_change(kind))
    handle = opened()
    assert handle.divided_by == "by"
    assert {file.value for file in handle.files()} == set(map(text_of, values))
    assert by_offset(handle) == dict(enumerate(values))
    assert by_offset(opened()) == dict(enumerate(values))
    found = handle.dataset(version).to_table()
    assert found.schema.field("by").type == type_
    assert dict(zip(found["_offset"].to_pylist(), found["by"].to_pylist(), strict=True)) == dict(
        enumerate(values)
    )


@pytest.mark.parametrize("kind", VALUES)
def test_a_divided_table_is_read_by_value(opened: Opener, kind: str) -> None:
    """A filter on the column gives the rows of the value, and of null."""
    version = opened().commit(divided_change(kind))
    dataset = opened().dataset(version)
    for offset, value in enumerate(VALUES[kind][1]):
        wanted = pc.field("by").is_null() if value is None else pc.field("by") == value
        assert dataset.to_table(filter=wanted)["_offset"].to_pylist() == [offset]


def test_a_divided_table_goes_on_as_it_was_made(opened: Opener) -> None:
    """Files of later commits and of upkeep are told of by value too, and can be taken out."""
    table = opened()
    table.commit(divided_change("text"))
    table.offsets("one")
    count = len(VALUES["text"][1])
    table.commit(replace(divided_change("text", count), divided_by=None))
    of_slash = [file for file in table.files() if file.value == "a/b"]
    assert len(of_slash) == 2
    joined = rows((0, 1), (0, count + 1)).append_column("by", pa.array(["a/b"] * 2))
    merging = [NewFile("merged", joined, "a/b")]
    table.commit(Change(merging, None, removed=[file.name for file in of_slash]))
    again = opened()
    assert again.divided_by == "by"
    assert len([file for file in again.files() if file.value == "a/b"]) == 1
    assert by_offset(again) == dict(enumerate(VALUES["text"][1] * 2))


def test_an_old_version_of_a_divided_table_is_still_scanned(opened: Opener) -> None:
    """A reader that has listed it reads on after upkeep took its files out."""
    table = opened()
    first = table.commit(divided_change("date"))
    older = opened()
    held = [each.name for each in older.files(first)]
    table.commit(Change([], None, removed=held))
    assert sum(batch.num_rows for name in held for batch in older.scan(name)) == len(held)
    assert older.dataset(first).count_rows() == len(held)
