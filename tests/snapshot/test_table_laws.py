"""Laws that every adapter of the port Table obeys."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from tests.snapshot.changes import change, columns_of
from tests.snapshot.formats import FORMATS, IN_BUCKETS, opener

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg.table import IcebergSnapshotTable
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.errors import AbortableError, DamagedError, StartRefusedError
from headwater.ports import Change, CommitRecord, CutRange, NewFile, Table
from headwater.snapshot.columns import differing
from headwater.snapshot.cut import commit_id

Opener = Callable[[], Table]


KINDS = ["memory", *FORMATS, "iceberg in postgres", *IN_BUCKETS]


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one more handle on the same table."""
    if request.param == "memory":
        storage = MemoryStorage()
        return lambda: MemoryTable(storage)
    directory, names = tmp_path / "snapshot", {"product": "shop.orders", "topic": "shop.orders"}
    if request.param == "iceberg in postgres":
        url = request.getfixturevalue("catalogue_url")
        return lambda: IcebergSnapshotTable(DirectoryFiles(directory), **names, catalogue=url)
    return opener(request, directory, "shop.orders")


def rows(*places: tuple[int, int]) -> pa.Table:
    """One row per (partition, offset)."""
    return pa.table(
        {
            "id": pa.array([f"{p}-{o}" for p, o in places], pa.string()),
            "_partition": pa.array([p for p, _ in places], pa.int32()),
            "_offset": pa.array([o for _, o in places], pa.int64()),
            "_timestamp": pa.array([o for _, o in places], pa.timestamp("ms", "UTC")),
        },
        schema=pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("_partition", pa.int32(), nullable=False),
                pa.field("_offset", pa.int64(), nullable=False),
                pa.field("_timestamp", pa.timestamp("ms", "UTC"), nullable=False),
            ]
        ),
    )


def record(*ranges: tuple[int, int, int], topic_id: str = "one") -> CommitRecord:
    """A commit of `(partition, start, end)` ranges, each full of rows."""
    taken = tuple(CutRange(p, start, end, end - start, "0" * 32) for p, start, end in ranges)
    return CommitRecord(
        commit_id=commit_id("shop.orders", topic_id, taken),
        product="shop.orders",
        topic="shop.orders",
        topic_id=topic_id,
        schema_id=7,
        ranges=taken,
        committed_at_ms=1_000,
    )


def everything(table: Table, partition: int) -> list[int]:
    """All offsets of a partition, as its files hold them."""
    return sorted(
        row["_offset"]
        for file in table.files()
        for batch in table.scan(file.name)
        for row in batch.to_pylist()
        if row["_partition"] == partition
    )


def test_a_new_table_holds_nothing(opened: Opener) -> None:
    """Before the first commit every question has an empty answer."""
    table = opened()
    assert table.offsets("one") == {}
    assert list(table.commits()) == []
    assert table.last_commit() is None
    assert table.rows() == 0
    assert everything(table, 0) == []


def test_a_commit_moves_the_offsets_and_is_read_back_as_recorded(opened: Opener) -> None:
    """Rows, ends and the record of a commit appear together, for every handle."""
    wanted = record((0, 0, 2), (1, 5, 6))
    version = opened().commit(change(rows((0, 0), (0, 1), (1, 5)), wanted))
    table = opened()
    assert table.offsets("one") == {0: 2, 1: 6}
    assert list(table.commits()) == [(version, wanted)]
    assert table.rows() == 3
    assert table.last_commit() == (version, wanted)


def test_offsets_of_another_incarnation_are_its_own(opened: Opener) -> None:
    """A recreated topic has no offsets, so it cannot run backwards."""
    opened().commit(change(rows((0, 0)), record((0, 0, 1))))
    assert opened().offsets("two") == {}


def test_every_row_stands_in_one_file(opened: Opener) -> None:
    """The files of the newest version hold the rows of all commits, and are counted right."""
    table = opened()
    table.commit(change(rows((0, 0), (0, 1), (1, 0)), record((0, 0, 2), (1, 0, 1))))
    table.offsets("one")
    table.commit(change(rows((0, 2), (0, 3)), record((0, 2, 4), (1, 1, 1))))
    assert everything(opened(), 0) == [0, 1, 2, 3]
    assert everything(opened(), 1) == [0]
    assert sum(file.rows or 0 for file in opened().files()) == opened().rows() == 5


def test_other_columns_than_the_stored_ones_are_refused(opened: Opener) -> None:
    """Name or type: what would be narrowed or dropped is never written."""
    table = opened()
    first = rows((0, 0))
    assert table.columns() is None
    table.commit(change(first, record((0, 0, 1))))
    table.offsets("one")
    assert differing(columns_of(table), table.evolved(first.schema)) == ""
    for other in (
        first.set_column(0, "id", pa.array([1], pa.int32())),
        first.rename_columns(["name", "_partition", "_offset", "_timestamp"]),
        first.append_column("note", pa.array(["x"])),
    ):
        with pytest.raises(StartRefusedError) as refused:
            table.commit(change(other, record((0, 1, 2))))
        assert refused.value.code == "SNAPSHOT_COLUMNS"
    assert opened().rows() == 1


def test_a_writer_that_did_not_see_the_newest_commit_writes_nothing(opened: Opener) -> None:
    """Of two writers that looked at the same moment exactly one commits."""
    first = record((0, 0, 2))
    opened().commit(change(rows((0, 0), (0, 1)), first))
    one, other = opened(), opened()
    assert one.offsets("one") == other.offsets("one") == {0: 2}
    following = record((0, 2, 3))
    one.commit(change(rows((0, 2)), following))
    with pytest.raises(AbortableError) as refused:
        other.commit(change(rows((0, 2)), following))
    assert refused.value.code == "SNAPSHOT_TAKEN"
    assert refused.value.exit_code == 75
    assert everything(opened(), 0) == [0, 1, 2]
    assert [r for _, r in opened().commits()] == [first, following]


def test_two_writers_of_a_first_commit_make_one_table(opened: Opener) -> None:
    """The race for the first commit has one winner too."""
    one, other = opened(), opened()
    one.offsets("one")
    other.offsets("one")
    one.commit(change(rows((0, 0)), record((0, 0, 1))))
    with pytest.raises(AbortableError):
        other.commit(change(rows((0, 0)), record((0, 0, 1))))
    assert everything(opened(), 0) == [0]


def test_the_same_commit_is_not_taken_twice_in_sequence(opened: Opener) -> None:
    """A replay with fresh eyes is refused: its start is not the table's end."""
    opened().commit(change(rows((0, 0)), record((0, 0, 1))))
    again = opened()
    again.offsets("one")
    with pytest.raises(AbortableError):
        again.commit(change(rows((0, 0)), record((0, 0, 1))))
    assert opened().rows() == 1


def test_a_loser_goes_on_after_it_looked_again(opened: Opener) -> None:
    """Losing a race leaves a usable handle."""
    one, other = opened(), opened()
    one.offsets("one")
    other.offsets("one")
    one.commit(change(rows((0, 0)), record((0, 0, 1))))
    with pytest.raises(AbortableError):
        other.commit(change(rows((0, 0)), record((0, 0, 1))))
    assert other.offsets("one") == {0: 1}
    other.commit(change(rows((0, 1)), record((0, 1, 2))))
    assert everything(opened(), 0) == [0, 1]


def names(table: Table) -> list[str]:
    """The files of the newest version."""
    return [file.name for file in table.files()]


def merged(table: Table, *ranges: tuple[int, int]) -> Change:
    """All files of a table as one, with the rows at these places."""
    return Change([NewFile("merged", rows(*ranges))], None, removed=names(table))


def test_upkeep_takes_files_out_and_moves_no_cut(opened: Opener) -> None:
    """Rows, offsets and records are what they were, in other files."""
    table = opened()
    first, second = record((0, 0, 1)), record((0, 1, 2))
    table.commit(change(rows((0, 0)), first))
    table.offsets("one")
    table.commit(change(rows((0, 1)), second))
    table.commit(merged(table, (0, 0), (0, 1)))
    again = opened()
    assert len(names(again)) == 1
    assert everything(again, 0) == [0, 1]
    assert again.offsets("one") == {0: 2}
    assert [found for _, found in again.commits()] == [first, second]


def test_a_file_is_taken_out_once(opened: Opener) -> None:
    """Of two who replace the same file the second is told, and doubles no row."""
    opened().commit(change(rows((0, 0)), record((0, 0, 1))))
    one, other = opened(), opened()
    to_one, to_other = merged(one, (0, 0)), merged(other, (0, 0))
    one.commit(to_one)
    with pytest.raises(AbortableError) as refused:
        other.commit(to_other)
    assert refused.value.code == "SNAPSHOT_TAKEN"
    assert everything(opened(), 0) == [0]


def test_a_cut_goes_behind_upkeep_that_came_between(opened: Opener) -> None:
    """Upkeep changes no row, so whoever writes beside it has lost nothing."""
    opened().commit(change(rows((0, 0)), record((0, 0, 1))))
    writer, keeper = opened(), opened()
    writer.offsets("one")
    keeper.commit(merged(keeper, (0, 0)))
    writer.commit(change(rows((0, 1)), record((0, 1, 2))))
    assert everything(opened(), 0) == [0, 1]


def test_new_columns_come_with_their_first_rows(opened: Opener) -> None:
    """In one commit; in the rows before it they are null."""
    table = opened()
    old = rows((0, 0))
    table.commit(change(old, record((0, 0, 1))))
    table.offsets("one")
    new = rows((0, 1)).append_column("note", pa.array(["x"], pa.string()))
    table.commit(replace(change(new, record((0, 1, 2))), columns=new.schema))
    again = opened()
    assert differing(columns_of(again), again.evolved(new.schema)) == ""
    assert "note is only stored" in differing(columns_of(again), old.schema)
    found = [
        row for name in names(again) for batch in again.scan(name) for row in batch.to_pylist()
    ]
    assert {row["_offset"]: row["note"] for row in found} == {0: None, 1: "x"}


def test_statistics_are_kept_under_the_name_of_the_record(opened: Opener) -> None:
    """With the commit that names them, for every handle; what nobody named is not there."""
    wanted = replace(record((0, 0, 1)), statistics="one")
    opened().commit(replace(change(rows((0, 0)), wanted), statistics=b"first"))
    table = opened()
    assert [found for _, found in table.commits()] == [wanted]
    assert table.statistics("one") == b"first"
    assert table.statistics("two") is None


def test_statistics_of_a_commit_that_lost_are_not_kept(opened: Opener) -> None:
    """Those of the winner stay."""
    one, other = opened(), opened()
    one.offsets("one")
    other.offsets("one")
    first = replace(record((0, 0, 1)), statistics="one")
    one.commit(replace(change(rows((0, 0)), first), statistics=b"first"))
    lost = replace(first, statistics="other")
    with pytest.raises(AbortableError):
        other.commit(replace(change(rows((0, 0)), lost), statistics=b"second"))
    assert opened().statistics("one") == b"first"
    assert opened().statistics("other") is None


def test_a_struct_gets_new_fields_with_their_first_rows(opened: Opener) -> None:
    """Inside a struct too; in the rows before they are null, in lists and maps of structs alike."""

    def nested(*inside: tuple[str, pa.DataType]) -> pa.Schema:
        struct = pa.struct(inside)
        added = {"one": struct, "some": pa.list_(struct), "named": pa.map_(pa.string(), struct)}
        return pa.schema([*rows().schema, *(pa.field(name, kind) for name, kind in added.items())])

    def shaped(place: int, held: dict[str, int], columns: pa.Schema) -> pa.Table:
        values = [rows((0, place)).to_pylist()[0]]
        values[0] |= {"one": held, "some": [held], "named": [("n", held)]}
        return pa.Table.from_pylist(values, schema=columns)

    table = opened()
    old, new = nested(("x", pa.int32())), nested(("x", pa.int32()), ("y", pa.int64()))
    table.commit(change(shaped(0, {"x": 1}, old), record((0, 0, 1))))
    table.offsets("one")
    grown = shaped(1, {"x": 2, "y": 3}, new)
    table.commit(replace(change(grown, record((0, 1, 2))), columns=new))
    again = opened()
    assert differing(columns_of(again), again.evolved(new)) == ""
    found = {
        row["_offset"]: row
        for name in names(again)
        for batch in again.scan(name)
        for row in batch.to_pylist()
    }
    for offset, held in enumerate([{"x": 1, "y": None}, {"x": 2, "y": 3}]):
        assert found[offset]["one"] == held
        assert found[offset]["some"] == [held]
        assert found[offset]["named"] == [("n", held)]


def test_the_newest_version_may_replace_every_row(opened: Opener) -> None:
    """A cut that takes all files out and brings their successors, in one commit."""
    table = opened()
    table.commit(change(rows((0, 0), (0, 1)), record((0, 0, 2))))
    table.offsets("one")
    following = replace(change(rows((0, 1), (0, 2)), record((0, 2, 3))), removed=names(table))
    table.commit(following)
    again = opened()
    assert everything(again, 0) == [1, 2]
    assert again.offsets("one") == {0: 3}
    assert again.rows() == 2


def test_files_may_go_without_successors(opened: Opener) -> None:
    """A change without new files is a commit too."""
    table = opened()
    table.commit(change(rows((0, 0)), record((0, 0, 1))))
    version = table.commit(Change([], None, removed=names(table)))
    again = opened()
    assert names(again) == []
    assert again.rows() == 0
    assert again.offsets("one") == {0: 1}
    assert version > again.commits()[-1][0]


def test_a_later_commit_has_a_greater_version(opened: Opener) -> None:
    """And both are told as they were returned."""
    table = opened()
    first = table.commit(change(rows((0, 0)), record((0, 0, 1))))
    table.offsets("one")
    second = table.commit(change(rows((0, 1)), record((0, 1, 2))))
    assert first < second
    assert [version for version, _ in opened().commits()] == [first, second]


def test_an_older_version_is_still_read_after_upkeep(opened: Opener) -> None:
    """Its files, their rows and its dataset stay what they were, as long as they are kept."""
    table = opened()
    assert table.version() is None
    first = table.commit(change(rows((0, 0), (0, 1)), record((0, 0, 2))))
    table.offsets("one")
    second = table.commit(change(rows((0, 2)), record((0, 2, 3))))
    older = [each.name for each in table.files(first)]
    names = [each.name for each in table.files()]
    third = table.commit(
        Change([NewFile("part-0-0-3", rows((0, 0), (0, 1), (0, 2)))], None, removed=names)
    )
    handle = opened()
    assert handle.version() == third
    assert [each.name for each in handle.files(first)] == older
    assert {each.name for each in handle.files(second)} == set(names)
    assert len(handle.files(third)) == 1
    assert [batch.num_rows for batch in handle.scan(older[0])] == [2]
    counts = [handle.dataset(each).count_rows() for each in (first, second, third)]
    assert counts == [2, 3, 3]


def test_a_version_that_is_not_kept_is_told_as_gone(opened: Opener) -> None:
    """Neither its files nor its rows are guessed, nor is a file that nobody has."""
    table = opened()
    table.commit(change(rows((0, 0)), record((0, 0, 1))))
    for ask in (
        lambda: table.files(77),
        lambda: table.dataset(77),
        lambda: list(table.scan("part-of-nothing.parquet")),
    ):
        with pytest.raises(DamagedError) as gone:
            ask()
        assert gone.value.code == "FILE_GONE"
