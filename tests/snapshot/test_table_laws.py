"""Laws that every adapter of the port Table obeys."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.errors import AbortableError, StartRefusedError
from headwater.ports import CommitRecord, CutRange, Table
from headwater.snapshot.cut import commit_id

Opener = Callable[[], Table]


@pytest.fixture(params=["memory", "delta"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one more handle on the same table."""
    if request.param == "memory":
        storage = MemoryStorage()
        return lambda: MemoryTable(storage)
    directory = tmp_path / "snapshot"
    return lambda: DeltaSnapshotTable(directory, product="shop.orders", topic="shop.orders")


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
    assert table.topic_ids() == frozenset()
    assert list(table.commits()) == []
    assert table.rows() == 0
    assert everything(table, 0) == []


def test_a_commit_moves_the_offsets_and_is_read_back_as_recorded(opened: Opener) -> None:
    """Rows, ends and the record of a commit appear together, for every handle."""
    wanted = record((0, 0, 2), (1, 5, 6))
    version = opened().append(rows((0, 0), (0, 1), (1, 5)), wanted)
    table = opened()
    assert table.offsets("one") == {0: 2, 1: 6}
    assert list(table.commits()) == [(version, wanted)]
    assert table.rows() == 3
    assert table.topic_ids() == {"one"}


def test_offsets_of_another_incarnation_are_its_own(opened: Opener) -> None:
    """A recreated topic has no offsets, so it cannot run backwards."""
    opened().append(rows((0, 0)), record((0, 0, 1)))
    assert opened().offsets("two") == {}


def test_every_row_stands_in_one_file(opened: Opener) -> None:
    """The files of the newest version hold the rows of all commits, and are counted right."""
    table = opened()
    table.append(rows((0, 0), (0, 1), (1, 0)), record((0, 0, 2), (1, 0, 1)))
    table.offsets("one")
    table.append(rows((0, 2), (0, 3)), record((0, 2, 4), (1, 1, 1)))
    assert everything(opened(), 0) == [0, 1, 2, 3]
    assert everything(opened(), 1) == [0]
    assert sum(file.rows or 0 for file in opened().files()) == opened().rows() == 5


def test_other_columns_than_the_stored_ones_are_refused(opened: Opener) -> None:
    """Name or type: what would be narrowed or dropped is never written."""
    table = opened()
    first = rows((0, 0))
    assert table.differing_columns(first.schema) == ""
    table.append(first, record((0, 0, 1)))
    table.offsets("one")
    assert table.differing_columns(first.schema) == ""
    for other in (
        first.set_column(0, "id", pa.array([1], pa.int32())),
        first.rename_columns(["name", "_partition", "_offset", "_timestamp"]),
        first.append_column("note", pa.array(["x"])),
    ):
        with pytest.raises(StartRefusedError) as refused:
            table.append(other, record((0, 1, 2)))
        assert refused.value.code == "SNAPSHOT_COLUMNS"
    assert opened().rows() == 1


def test_a_writer_that_did_not_see_the_newest_commit_writes_nothing(opened: Opener) -> None:
    """Of two writers that looked at the same moment exactly one commits."""
    first = record((0, 0, 2))
    opened().append(rows((0, 0), (0, 1)), first)
    one, other = opened(), opened()
    assert one.offsets("one") == other.offsets("one") == {0: 2}
    following = record((0, 2, 3))
    one.append(rows((0, 2)), following)
    with pytest.raises(AbortableError) as refused:
        other.append(rows((0, 2)), following)
    assert refused.value.code == "SNAPSHOT_TAKEN"
    assert refused.value.exit_code == 75
    assert everything(opened(), 0) == [0, 1, 2]
    assert [r for _, r in opened().commits()] == [first, following]


def test_two_writers_of_a_first_commit_make_one_table(opened: Opener) -> None:
    """The race for the first commit has one winner too."""
    one, other = opened(), opened()
    one.offsets("one")
    other.offsets("one")
    one.append(rows((0, 0)), record((0, 0, 1)))
    with pytest.raises(AbortableError):
        other.append(rows((0, 0)), record((0, 0, 1)))
    assert everything(opened(), 0) == [0]


def test_the_same_commit_is_not_taken_twice_in_sequence(opened: Opener) -> None:
    """A replay with fresh eyes is refused: its start is not the table's end."""
    opened().append(rows((0, 0)), record((0, 0, 1)))
    again = opened()
    again.offsets("one")
    with pytest.raises(AbortableError):
        again.append(rows((0, 0)), record((0, 0, 1)))
    assert opened().rows() == 1


def test_a_loser_goes_on_after_it_looked_again(opened: Opener) -> None:
    """Losing a race leaves a usable handle."""
    one, other = opened(), opened()
    one.offsets("one")
    other.offsets("one")
    one.append(rows((0, 0)), record((0, 0, 1)))
    with pytest.raises(AbortableError):
        other.append(rows((0, 0)), record((0, 0, 1)))
    assert other.offsets("one") == {0: 1}
    other.append(rows((0, 1)), record((0, 1, 2)))
    assert everything(opened(), 0) == [0, 1]
