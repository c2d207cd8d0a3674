"""`verify` proves a table of any format, and names what was done to it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import Lake, told

from headwater.ports import Change, NewFile


@pytest.fixture(params=FORMATS)
def any_lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A verified snapshot of two commits."""
    lake = Lake(tmp_path / "orders", request.param)
    verdict = lake.verify()
    assert (verdict.outcome, verdict.commits, verdict.rows) == ("equal", 2, 300)
    return lake


def flip(path: Path) -> None:
    """One bit rots in the first page."""
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, flip], ids=["deleted", "bit flipped"])
def test_a_file_that_cannot_be_read_is_named(any_lake: Lake, harm: Callable[[Path], None]) -> None:
    """File and partition in one difference, and nothing else is told."""
    path = any_lake.file(1)
    harm(path)
    verdict = any_lake.verify()
    assert [(found.kind, found.partition) for found in verdict.differences] == [("damaged", 1)]
    assert path.name in told(verdict)[0]


def changed(rows: pa.Table) -> pa.Table:
    """Every amount is one more."""
    place = rows.schema.get_field_index("amount")
    return rows.set_column(place, "amount", pc.add(rows["amount"], 1.0))


@pytest.mark.parametrize(
    ("meddle", "kind"),
    [
        (lambda rows: rows.slice(1), "missing"),
        (lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]), "extra"),
        (changed, "changed"),
    ],
    ids=["a row less", "a row twice", "other values"],
)
def test_rows_that_were_changed_through_the_table_are_named(
    any_lake: Lake, meddle: Callable[[pa.Table], pa.Table], kind: str
) -> None:
    """Whoever writes by the table's own means cannot make it another snapshot."""
    table = any_lake.table()
    file = next(each for each in table.files() if each.partitions == (2, 2))
    rows = pa.Table.from_batches(table.scan(file.name))
    table.commit(Change([NewFile("meddled", meddle(rows))], None, removed=[file.name]))
    verdict = any_lake.verify()
    assert {found.kind for found in verdict.differences} == {kind}
    assert {found.partition for found in verdict.differences} == {2}


def test_a_file_replaced_by_another_is_found(any_lake: Lake) -> None:
    """Behind the table's back, with checksums that are right."""
    path = any_lake.file(0)
    pq.write_table(changed(pq.read_table(path)), path)
    verdict = any_lake.verify()
    assert verdict.outcome == "different"
    assert {found.partition for found in verdict.differences} == {0}


def test_a_snapshot_goes_on(any_lake: Lake) -> None:
    """The next one takes what is new and nothing twice."""
    any_lake.publish(300, 320)
    assert any_lake.take().rows == 20
    assert any_lake.take().version is None
    verdict = any_lake.verify()
    assert (verdict.outcome, verdict.rows) == ("equal", 320)
