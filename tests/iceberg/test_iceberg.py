"""What is of Iceberg alone: its metadata, its catalogue, and other readers and writers of it."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.update.schema import UpdateSchema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import StringType
from tests.adapters.durability import watched_syncs
from tests.snapshot.changes import change, columns_of
from tests.snapshot.storage import TOPIC, parquet_files, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.errors import DamagedError, HeadwaterError, StartRefusedError, UnverifiableError
from headwater.ports import Change, CommitRecord, NewFile
from headwater.snapshot.columns import differing


def opened(directory: Path) -> IcebergSnapshotTable:
    """A new handle."""
    return IcebergSnapshotTable(DirectoryFiles(directory), product=TOPIC, topic=TOPIC)


def theirs(directory: Path) -> Table:
    """The table as any reader of Iceberg gets it."""
    return SqlCatalog("headwater", uri=f"sqlite:///{directory / 'catalog.db'}").load_table(TOPIC)


def commits(directory: Path, number: int) -> None:
    """So many commits of ten rows."""
    table = opened(directory)
    for start in range(0, 10 * number, 10):
        table.offsets("one")
        table.commit(change(rows(start, start + 10), record(start, start + 10)))


def ends(table: IcebergSnapshotTable) -> list[int]:
    """Where each commit ended."""
    return [r.ranges[0].end for _, r in table.commits() if isinstance(r, CommitRecord)]


def test_other_readers_of_iceberg_see_the_rows(tmp_path: Path) -> None:
    """By the ids of the fields, those of later columns and of fields inside structs too."""
    struct = pa.struct([("x", pa.int32())])
    old = rows(0, 1).append_column("one", pa.array([{"x": 1}], struct))
    table = opened(tmp_path)
    table.commit(change(old, record(0, 1)))
    table.offsets("one")
    new = rows(1, 2).append_column(
        "one", pa.array([{"x": 2, "y": 3}], pa.struct([("x", pa.int32()), ("y", pa.int64())]))
    )
    new = new.append_column("note", pa.array(["late"], pa.string()))
    table.commit(replace(change(new, record(1, 2)), columns=new.schema))
    found = theirs(tmp_path).scan().to_arrow().sort_by("_offset").to_pylist()
    assert [row["id"] for row in found] == [*old["id"].to_pylist(), *new["id"].to_pylist()]
    assert [row["one"] for row in found] == [{"x": 1, "y": None}, {"x": 2, "y": 3}]
    assert [row["note"] for row in found] == [None, "late"]
    assert theirs(tmp_path).scan("_offset == 1").to_arrow()["note"].to_pylist() == ["late"]


@pytest.mark.parametrize(
    ("stored", "wanted", "values"),
    [
        (pa.int32(), pa.int64(), (5, 2**40)),
        (pa.float32(), pa.float64(), (0.5, 1e300)),
        (pa.decimal128(4, 2), pa.decimal128(9, 2), (Decimal("0.50"), Decimal("12345.67"))),
    ],
    ids=["int", "float", "decimal"],
)
def test_a_column_widens_with_its_first_rows(
    tmp_path: Path, stored: pa.DataType, wanted: pa.DataType, values: tuple[object, object]
) -> None:
    """What the gate lets pass on Iceberg, the table takes; older rows are read as the wider."""
    table = opened(tmp_path)
    for place, (kind, value) in enumerate(zip((stored, wanted), values, strict=True)):
        table.offsets("one")
        more = rows(place, place + 1).append_column("n", pa.array([value], kind))
        table.commit(replace(change(more, record(place, place + 1)), columns=more.schema))
    assert differing(columns_of(table), table.evolved(more.schema)) == ""
    found = [
        row
        for file in table.files()
        for batch in table.scan(file.name)
        for row in batch.to_pylist()
    ]
    assert {row["_offset"]: row["n"] for row in found} == dict(enumerate(values))
    assert sorted(theirs(tmp_path).scan().to_arrow()["n"].to_pylist()) == list(values)


def test_a_change_that_iceberg_cannot_take_writes_nothing(tmp_path: Path) -> None:
    """A column of another kind, or one that went, is refused as it stands."""
    table = opened(tmp_path)
    table.commit(change(rows(0, 1).append_column("n", pa.array([1])), record(0, 1)))
    before = parquet_files(tmp_path)
    for other in (rows(1, 2).append_column("n", pa.array(["x"])), rows(1, 2)):
        table.offsets("one")
        with pytest.raises(StartRefusedError) as refused:
            table.commit(replace(change(other, record(1, 2)), columns=other.schema))
        assert refused.value.code == "SNAPSHOT_COLUMNS"
    assert parquet_files(tmp_path) == before
    assert opened(tmp_path).offsets("one") == {0: 1}


def test_the_record_of_a_cut_stands_in_summary_and_properties(tmp_path: Path) -> None:
    """Any reader of Iceberg can see what a commit says of itself."""
    commits(tmp_path, 2)
    table = theirs(tmp_path)
    newest = table.current_snapshot()
    assert newest is not None
    assert newest.summary is not None
    for told in (newest.summary.additional_properties, table.properties):
        assert json.loads(told["headwater"])["ranges"][0]["end"] == 20
        assert json.loads(told["headwater.offsets"]) == {"one": {"0": 20}}
    assert table.properties["headwater.newest"] == "2"
    assert table.properties["commit.retry.num-retries"] == "0"


def test_a_stale_append_is_never_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cut between our look and the catalogue's compare-and-swap is found."""
    commits(tmp_path, 1)
    table = opened(tmp_path)
    table.offsets("one")
    commit = SqlCatalog.commit_table
    following = change(rows(10, 20), record(10, 20))

    def overtaken(self: SqlCatalog, *given: object) -> object:
        monkeypatch.setattr(SqlCatalog, "commit_table", commit)
        opened(tmp_path).commit(following)
        return commit(self, *given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(SqlCatalog, "commit_table", overtaken)
    with pytest.raises(HeadwaterError) as refused:
        table.commit(following)
    assert refused.value.code == "SNAPSHOT_TAKEN"
    assert opened(tmp_path).rows() == 20
    assert len(parquet_files(tmp_path)) == 2


def add_theirs(update: UpdateSchema) -> None:
    """Another writer's column."""
    update.add_column("theirs", StringType())


def rename_to_ours(update: UpdateSchema) -> None:
    """That one goes, and one comes that is called as ours is."""
    update.delete_column("theirs").add_column("note", StringType())


@pytest.mark.parametrize(
    "meanwhile", [[add_theirs], [add_theirs, rename_to_ours]], ids=["another", "the same name"]
)
def test_columns_that_another_writer_added_in_between_are_not_confused_with_ours(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: list[Callable[[UpdateSchema], None]],
) -> None:
    """Data files name columns by ids, and that id was given to another column meanwhile."""
    commits(tmp_path, 1)
    table = opened(tmp_path)
    table.offsets("one")
    new = rows(10, 11).append_column("note", pa.array(["ours"]))
    commit = SqlCatalog.commit_table

    def overtaken(self: SqlCatalog, *given: object) -> object:
        monkeypatch.setattr(SqlCatalog, "commit_table", commit)
        for change_columns in meanwhile:
            with theirs(tmp_path).update_schema() as update:
                change_columns(update)
        return commit(self, *given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(SqlCatalog, "commit_table", overtaken)
    with pytest.raises(HeadwaterError) as refused:
        table.commit(replace(change(new, record(10, 11)), columns=new.schema))
    assert refused.value.code in {"SNAPSHOT_TAKEN", "SNAPSHOT_COLUMNS"}
    assert opened(tmp_path).rows() == 10
    assert len(parquet_files(tmp_path)) == 1


def test_rows_deleted_by_files_of_their_own_cannot_be_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another engine's way to delete: the data files alone are not the rows then."""
    commits(tmp_path, 1)
    deletes = property(lambda _: ManifestContent.DELETES)
    monkeypatch.setattr(ManifestFile, "content", deletes)
    with pytest.raises(UnverifiableError, match="deleted by files of their own"):
        opened(tmp_path).files()


def test_expired_snapshots_take_neither_offsets_nor_the_newest_record(tmp_path: Path) -> None:
    """Iceberg's own maintenance never makes a table begin anew."""
    commits(tmp_path, 3)
    keeper = opened(tmp_path)
    (first, *_) = [file.name for file in keeper.files()]
    keeper.commit(Change([NewFile("merged", rows(0, 10))], None, removed=[first]))
    table = theirs(tmp_path)
    newest = table.current_snapshot()
    assert newest is not None
    old = [each.snapshot_id for each in table.snapshots() if each != newest]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    again = opened(tmp_path)
    assert again.offsets("one") == {0: 30}
    assert ends(again) == [30]
    assert again.commits()[0][0] == 3
    again.commit(change(rows(30, 40), record(30, 40)))
    assert opened(tmp_path).rows() == 40


def test_a_table_that_was_rolled_back_goes_on_from_there(tmp_path: Path) -> None:
    """Its properties tell of later cuts, but its rows are those of the older snapshot."""
    commits(tmp_path, 3)
    table = theirs(tmp_path)
    second = sorted(table.snapshots(), key=lambda each: each.sequence_number or 0)[1]
    table.manage_snapshots().rollback_to_snapshot(second.snapshot_id).commit()
    again = opened(tmp_path)
    assert again.offsets("one") == {0: 20}
    assert ends(again) == [10, 20]
    again.commit(change(rows(20, 25), record(20, 25)))
    assert opened(tmp_path).rows() == 25
    assert ends(opened(tmp_path)) == [10, 20, 25]


def test_a_commit_goes_behind_what_another_tool_wrote(tmp_path: Path) -> None:
    """And neither offsets nor records are lost behind it."""
    commits(tmp_path, 1)
    table = opened(tmp_path)
    table.offsets("one")
    more = theirs(tmp_path)
    more.append(rows(500, 501).cast(more.schema().as_arrow()))
    table.commit(change(rows(10, 20), record(10, 20)))
    again = opened(tmp_path)
    assert again.offsets("one") == {0: 20}
    assert ends(again) == [10, 20]
    assert again.rows() == 21
    assert sum(b.num_rows for file in again.files() for b in again.scan(file.name)) == 21


def test_a_table_with_features_that_are_not_kept_is_left_alone(tmp_path: Path) -> None:
    """Another writer may ask of all writers what we do not do: then nothing is written."""
    commits(tmp_path, 1)
    with theirs(tmp_path).update_spec() as update:
        update.add_field("_partition", IdentityTransform(), "of")
    before = parquet_files(tmp_path)
    table = opened(tmp_path)
    table.offsets("one")
    with pytest.raises(StartRefusedError) as refused:
        table.commit(change(rows(10, 20), record(10, 20)))
    assert refused.value.code == "TABLE_FEATURE"
    assert parquet_files(tmp_path) == before


def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A table of that name without our mark is refused."""
    catalogue = SqlCatalog("headwater", uri=f"sqlite:///{tmp_path / 'catalog.db'}")
    catalogue.create_namespace("shop")
    catalogue.create_table(TOPIC, rows(0, 1).schema, location=str(tmp_path))
    with pytest.raises(StartRefusedError, match="another table") as refused:
        opened(tmp_path)
    assert refused.value.code == "NOT_OUR_TABLE"


def test_a_crash_in_the_creation_leaves_a_table_that_goes_on(tmp_path: Path) -> None:
    """An empty catalogue, or metadata that it does not name, is no obstacle."""
    (tmp_path / "catalog.db").write_bytes(b"")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "00000-lost.metadata.json").write_text("{")
    opened(tmp_path).commit(change(rows(0, 10), record(0, 10)))
    assert opened(tmp_path).rows() == 10


def newest(directory: Path, pattern: str) -> Path:
    """The newest file of the metadata of this kind."""
    return max((directory / "metadata").glob(pattern), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("pattern", ["*.metadata.json", "snap-*.avro", "*-m0.avro", "catalog.db"])
@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\0{" * 9),
    ],
    ids=["deleted", "emptied", "garbled"],
)
def test_metadata_that_cannot_be_read_is_damage(
    tmp_path: Path, pattern: str, harm: Callable[[Path], object]
) -> None:
    """One sentence, without a stack; and nothing is taken for an empty table."""
    commits(tmp_path, 2)
    harm(tmp_path / pattern if pattern == "catalog.db" else newest(tmp_path, pattern))
    with pytest.raises((DamagedError, StartRefusedError)) as refused:
        opened(tmp_path).files()
    assert "\n" not in str(refused.value)
    assert refused.value.code in {"SNAPSHOT_DAMAGED", "NOT_OUR_TABLE"}


@pytest.mark.parametrize("pattern", ["snap-*.avro", "*-m0.avro"])
def test_a_byte_that_rots_in_a_manifest_is_damage_or_told_otherwise(
    tmp_path: Path, pattern: str
) -> None:
    """Never an error of a library."""
    commits(tmp_path, 1)
    path = newest(tmp_path, pattern)
    content = path.read_bytes()
    told = 0
    for place in range(0, len(content), 97):
        rotten = bytearray(content)
        rotten[place] ^= 1 << (place % 8)
        path.write_bytes(rotten)
        try:
            opened(tmp_path).files()
        except HeadwaterError:
            told += 1
    assert told > 0


def test_what_is_committed_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of a commit was made durable before the catalogue named it."""
    synced = watched_syncs(monkeypatch)
    commits(tmp_path, 1)
    files = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db"}
    assert len(files) == 5  # two descriptions of the table, a list of manifests, one, a data file
    assert {path.stat().st_ino for path in files} <= synced
    assert {path.parent.stat().st_ino for path in files} <= synced


def test_the_catalogue_is_a_plain_sql_catalogue(tmp_path: Path) -> None:
    """Its rows are those that Iceberg's catalogues in SQL have."""
    commits(tmp_path, 1)
    with sqlite3.connect(tmp_path / "catalog.db") as connection:
        (found,) = connection.execute(
            "SELECT catalog_name, table_namespace, table_name FROM iceberg_tables"
        ).fetchall()
    connection.close()
    assert found == ("headwater", "shop", "orders")
