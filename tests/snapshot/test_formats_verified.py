"""`verify` proves a table of any format, and names what was done to it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import KEEP_MS, TARGET_BYTES, Lake, told

from headwater.ports import Change, NewFile
from headwater.snapshot.upkeep import Upkeep


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


def test_a_table_is_proved_through_upkeep(any_lake: Lake) -> None:
    """What was merged and swept is what the log holds, and one who reads meanwhile goes on."""
    for begin in range(300, 360, 6):
        any_lake.publish(begin, begin + 6)
        any_lake.take()
    reader = any_lake.table()
    version = reader.version()
    before = [file.name for file in reader.files(version)]
    done = Upkeep(any_lake.table(), TARGET_BYTES, KEEP_MS).run()
    assert done.merged == len(before)
    assert done.into == len(any_lake.table().files()) == 3
    verdict = any_lake.verify()
    assert (verdict.outcome, verdict.commits, verdict.rows) == ("equal", 12, 360)
    read = sum(batch.num_rows for name in before for batch in reader.scan(name))
    assert read == sum(file.rows or 0 for file in reader.files(version)) == 360
    any_lake.publish(360, 370)
    any_lake.take()
    assert any_lake.verify().outcome == "equal"


def test_merged_files_are_named_by_what_they_hold(any_lake: Lake) -> None:
    """As those of a commit: partition, first offset and the one behind the last."""
    for begin in range(300, 400, 10):
        any_lake.publish(begin, begin + 10)
        any_lake.take()
    Upkeep(any_lake.table(), TARGET_BYTES, KEEP_MS).run()
    for file in any_lake.table().files():
        assert file.partitions is not None
        assert file.offsets is not None
        start = f"part-{file.partitions[0]}-{file.offsets[0]}-{file.offsets[1] + 1}-"
        assert Path(file.name).name.startswith(start)
