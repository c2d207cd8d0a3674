"""`verify` in every format and mode, of tables that another program wrote to by its own means."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.table import Table as IcebergTable
from tests.snapshot.formats import FORMATS
from tests.snapshot.lake import TOPIC, Lake, told
from tests.snapshot.ledger import Ledger

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.catalogue import identifier, open_catalogue

MEDDLED = "order-7"

Meddle = Callable[[Path], None]


def kept(mode: str, format_: str, directory: Path) -> Lake | Ledger:
    """A verified snapshot of three hundred orders in two commits."""
    made: Lake | Ledger
    if mode == "append":
        made = Lake(directory, format_)
    else:
        made = Ledger(directory, format=format_)
        for begin in (0, 100):
            made.publish({f"order-{n}": n / 4 for n in range(begin, begin + 200)})
            made.take()
    assert made.verify().outcome == "equal"
    return made


@pytest.fixture(params=["append", "latest"])
def mode(request: pytest.FixtureRequest) -> str:
    """A mode of snapshots."""
    return str(request.param)


def place(of: Lake | Ledger) -> tuple[int, int]:
    """Partition and offset of the order that is meddled with; of the newest of its records."""
    found = [r for r in of.broker.visible(TOPIC) if r.key == MEDDLED.encode()]
    return found[-1].partition.index, found[-1].offset


def iceberg(directory: Path) -> IcebergTable:
    """The table as pyiceberg has it."""
    return open_catalogue(DirectoryFiles(directory)).load_table(identifier(TOPIC))


def dearer(rows: pa.Table) -> pa.Table:
    """The amount of the one order is another."""
    at = rows.schema.get_field_index("amount")
    is_meddled = pc.equal(rows["id"], MEDDLED)
    amounts = pc.if_else(is_meddled, pc.add(rows["amount"], 1.0), rows["amount"])
    return rows.set_column(at, rows.schema.field(at), amounts)


def update_in_delta(directory: Path) -> None:
    """`UPDATE`, as deltalake does it."""
    DeltaTable(directory).update(predicate=f"id = '{MEDDLED}'", updates={"amount": "amount + 1"})


def overwrite_in_iceberg(directory: Path) -> None:
    """`overwrite` of one row, as pyiceberg does it."""
    table = iceberg(directory)
    only = f"id == '{MEDDLED}'"
    table.overwrite(dearer(table.scan(row_filter=only).to_arrow()), overwrite_filter=only)


def rewrite_parquet(directory: Path) -> None:
    """A file written anew, and the manifest as it was."""
    for path in directory.rglob("*.parquet"):
        rows = pq.read_table(path)
        if MEDDLED in rows["id"].to_pylist():
            pq.write_table(dearer(rows), path)


@pytest.mark.parametrize(
    ("format_", "change"), [("delta", update_in_delta), ("iceberg", overwrite_in_iceberg)]
)
def test_a_value_changed_by_the_formats_own_means_is_named(
    mode: str, format_: str, change: Meddle, tmp_path: Path
) -> None:
    """The very row, by partition and offset."""
    made = kept(mode, format_, tmp_path / "orders")
    change(tmp_path / "orders")
    verdict = made.verify()
    found = [(each.kind, each.partition, each.offset) for each in verdict.differences]
    assert found == [("changed", *place(made))]


def test_a_file_written_anew_under_its_manifest_is_named(mode: str, tmp_path: Path) -> None:
    """Whatever its own checksums say, it is not the file that the manifest has."""
    made = kept(mode, "parquet", tmp_path / "orders")
    rewrite_parquet(tmp_path / "orders")
    index, offset = place(made)
    (line,) = told(made.verify())
    files = [each for each in made.table().files() if each.partitions == (index, index)]
    assert any(each.name in line for each in files)
    assert line.startswith(f"[{index}]@")
    first, last = map(int, line.rpartition("offsets ")[2].rstrip(")").split(" to "))
    assert first <= offset <= last


def insert_in_delta(directory: Path, row: pa.Table) -> None:
    """One more row, as deltalake appends it."""
    write_deltalake(directory, row, mode="append")


def insert_in_iceberg(directory: Path, row: pa.Table) -> None:
    """One more row, as pyiceberg appends it."""
    iceberg(directory).append(row)


@pytest.mark.parametrize(
    ("format_", "insert"), [("delta", insert_in_delta), ("iceberg", insert_in_iceberg)]
)
@pytest.mark.parametrize("far", [False, True], ids=["a row twice", "a row of no commit"])
def test_a_row_of_another_writer_is_named(
    *,
    mode: str,
    format_: str,
    insert: Callable[[Path, pa.Table], None],
    far: bool,
    tmp_path: Path,
) -> None:
    """Where it claims to stand: at the place of another row, or behind the cut, with its file."""
    made = kept(mode, format_, tmp_path / "orders")
    table = made.table()
    before = {each.name for each in table.files()}
    rows = pa.concat_tables([pa.Table.from_batches(table.scan(name)) for name in sorted(before)])
    row = rows.filter(pc.equal(rows["id"], MEDDLED)).slice(0, 1)
    index, offset = row["_partition"][0].as_py(), row["_offset"][0].as_py()
    if far:
        offset = 1_000_000
        at = row.schema.get_field_index("_offset")
        row = row.set_column(at, row.schema.field(at), pa.array([offset], pa.int64()))
    insert(tmp_path / "orders", row)
    verdict = made.verify()
    found = [(each.kind, each.partition, each.offset) for each in verdict.differences]
    assert found == [("unaccounted" if far else "extra", index, offset)]
    if far:
        (file,) = {each.name for each in made.table().files()} - before
        assert file in told(verdict)[0]


def flip(path: Path) -> None:
    """One bit rots in the first page."""
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, flip], ids=["dropped", "bit flipped"])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_harmed_file_is_named_with_its_place(
    mode: str, format_: str, harm: Meddle, tmp_path: Path
) -> None:
    """File, partition and offsets, in one difference."""
    made = kept(mode, format_, tmp_path / "orders")
    file = next(each for each in made.table().files() if each.partitions == (1, 1))
    assert file.offsets is not None
    harm(next((tmp_path / "orders").rglob(Path(file.name).name)))
    (line,) = told(made.verify())
    assert line.startswith(f"[1]@{file.offsets[0]} damaged: ")
    assert Path(file.name).name in line
    assert line.endswith(f"it should hold offsets {file.offsets[0]} to {file.offsets[1]})")


def test_a_file_that_no_manifest_names_is_no_part_of_the_table(mode: str, tmp_path: Path) -> None:
    """A writer who only puts a file there has changed nothing that a reader sees."""
    made = kept(mode, "parquet", tmp_path / "orders")
    file = next((tmp_path / "orders").rglob("*.parquet"))
    file.with_stem("another").write_bytes(file.read_bytes())
    assert made.verify().outcome == "equal"
