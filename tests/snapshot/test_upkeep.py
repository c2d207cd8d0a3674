"""Laws of upkeep in any format: it changes no row, loses no record and takes nothing needed."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS
from tests.snapshot.ledger import Ledger
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.memory.table import MemoryStorage, MemoryTable
from headwater.clock import ManualClock
from headwater.errors import DamagedError, RetriableError
from headwater.ports import Change, CommitRecord, Swept, Table
from headwater.snapshot.upkeep import Upkeep, planned

Opener = Callable[[], Table]
DAY_MS = 86_400_000
TARGET = 1 << 20


@pytest.fixture(params=["memory", *FORMATS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one more handle on the same table."""
    if request.param == "memory":
        storage = MemoryStorage()
        return lambda: MemoryTable(storage)
    directory = tmp_path / "snapshot"
    return lambda: FORMATS[request.param](directory, product=TOPIC, topic=TOPIC)


def later(days: float) -> ManualClock:
    """A clock that is so many days ahead of the files."""
    return ManualClock(at_s=time.time() + days * DAY_MS / 1_000)


def kept(table: Table, days: float = 3, keep_ms: int = DAY_MS) -> Upkeep:
    """Upkeep after a few days: whatever is not needed now is old."""
    return Upkeep(table, TARGET, keep_ms, later(days))


def commit(opened: Opener, number: int, *, statistics: bool = False) -> int:
    """The commit of this number, of two rows."""
    table = opened()
    table.offsets("one")
    start = 2 * number
    wanted = replace(record(start, start + 2), statistics=f"s{number}" if statistics else None)
    content = b"{}" if statistics else None
    return table.commit(replace(change(rows(start, start + 2), wanted), statistics=content))


def offsets(table: Table, version: int | None = None) -> list[int]:
    """All rows of a version by their offsets, file after file."""
    found = sorted(table.files(version), key=lambda file: file.offsets or (0, 0))
    return [
        offset
        for file in found
        for batch in table.scan(file.name)
        for offset in batch["_offset"].to_pylist()
    ]


def ends(table: Table) -> list[int]:
    """Where each commit ended, as the records say."""
    found = [each for _, each in table.commits() if isinstance(each, CommitRecord)]
    return [each.ranges[0].end for each in found]


def require_whole(table: Table, commits: int) -> None:
    """Rows in the order of the log, offsets and every record."""
    assert offsets(table) == list(range(2 * commits))
    assert table.offsets("one") == {0: 2 * commits}
    assert ends(table) == list(range(2, 2 * commits + 2, 2))
    assert table.rows() == 2 * commits


def data_files(directory: Path) -> set[str]:
    """Data files on the disk."""
    return {each.name for each in directory.rglob("part-*.parquet")}


@pytest.mark.parametrize(
    "rounds", [12, pytest.param(50, marks=pytest.mark.faults)], ids=["few", "many"]
)
def test_rows_offsets_and_records_survive_rounds_of_upkeep(opened: Opener, rounds: int) -> None:
    """A pinned version and the one being read are whole throughout; files stay few."""
    commits, pinned = 3, 2
    for number in range(commits):
        commit(opened, number)
    opened().pin("audit", pinned)
    for _ in range(rounds):
        reader = opened()
        reading = reader.version()
        for _ in range(3):
            commit(opened, commits)
            commits += 1
        kept(opened(), keep_ms=2 * DAY_MS, days=1).run()
        assert offsets(reader, reading) == list(range(2 * (commits - 3)))
        kept(opened()).run()
        require_whole(opened(), commits)
        assert offsets(opened(), pinned) == list(range(4))
    assert len(opened().files()) <= 8 + commits.bit_length()


def test_what_is_younger_than_keep_stays_readable(opened: Opener) -> None:
    """Every version, with the files that were merged since."""
    versions = [commit(opened, number) for number in range(10)]
    done = kept(opened(), keep_ms=7 * DAY_MS).run()
    assert (done.merged, done.into) == (10, 1)
    table = opened()
    for number, version in enumerate(versions, start=1):
        assert offsets(table, version) == list(range(2 * number))


def test_what_is_older_goes_but_for_the_newest_and_pins(opened: Opener, tmp_path: Path) -> None:
    """Its files leave the disk; once a pin is gone, so does what it held."""
    versions = [commit(opened, number) for number in range(10)]
    opened().pin("audit", versions[0])
    kept(opened()).run()
    table = opened()
    needed = {file.name for each in (None, versions[0]) for file in table.files(each)}
    assert offsets(table, versions[0]) == [0, 1]
    if not isinstance(table, MemoryTable):
        assert data_files(tmp_path) == {Path(each).name for each in needed}
    with pytest.raises(DamagedError) as gone:
        opened().pin("late", versions[5])
    assert gone.value.code == "FILE_GONE"
    assert opened().unpin("audit")
    assert not opened().unpin("audit")
    done = kept(opened()).run()
    assert done.swept is not None
    assert done.swept.files >= 1
    with pytest.raises(DamagedError):
        opened().files(versions[0])
    require_whole(opened(), 10)


def test_young_files_are_left_alone(opened: Opener, tmp_path: Path) -> None:
    """They may be those of a commit under way; once they are a day old, they go."""
    commit(opened, 0)
    if isinstance(opened(), MemoryTable):
        return
    orphan = tmp_path / "snapshot" / "part-0-2-4-lost.parquet"
    draft = tmp_path / "snapshot" / ".lost.tmp"
    for each in (orphan, draft):
        each.write_bytes(b"lost")
    assert kept(opened(), days=0.9, keep_ms=1).run().swept == Swept()
    assert orphan.exists()
    assert kept(opened()).run().swept == Swept(2, 8)
    require_whole(opened(), 1)


def test_statistics_stay_as_long_as_their_version(opened: Opener) -> None:
    """Those of the newest cut and of a pinned one, not of versions that went."""
    versions = [commit(opened, number, statistics=True) for number in range(9)]
    opened().pin("audit", versions[3])
    kept(opened()).run()
    table = opened()
    found = {number for number in range(9) if table.statistics(f"s{number}") is not None}
    expected = {3, 8} if not isinstance(table, MemoryTable) else set(range(9))
    assert found == expected


class Meddled:
    """A table before whose next commit something else happens."""

    def __init__(self, table: Table, meddle: Callable[[], object]) -> None:
        self._table = table
        self._meddle: list[Callable[[], object]] = [meddle]

    def __getattr__(self, name: str) -> Any:
        if name == "commit" and self._meddle:
            self._meddle.pop()()
        return getattr(self._table, name)


def test_a_cut_that_comes_between_is_lost_by_nobody(opened: Opener) -> None:
    """The merge goes behind it; of two merges of the same files the second begins again."""
    for number in range(9):
        commit(opened, number)
    between: Any = Meddled(opened(), lambda: commit(opened, 9))
    assert kept(between).run().merged == 9
    require_whole(opened(), 10)
    for number in range(10, 20):
        commit(opened, number)
    between = Meddled(opened(), lambda: kept(opened()).run())
    kept(between).run()
    require_whole(opened(), 20)


def test_a_writer_whose_cut_upkeep_overtakes_commits_behind_it(opened: Opener) -> None:
    """It looked before the merge and the sweep, and commits after them."""
    for number in range(9):
        commit(opened, number)
    writer = opened()
    writer.offsets("one")
    kept(opened()).run()
    writer.commit(change(rows(18, 20), record(18, 20)))
    require_whole(opened(), 10)


def test_upkeep_is_due_after_many_versions_or_a_day(opened: Opener) -> None:
    """And not again at once."""
    now = later(0)
    table = opened()
    assert not table.is_upkeep_due(now.wall_ms())
    for number in range(20):
        commit(opened, number)
    again = Upkeep(opened(), TARGET, DAY_MS, now)
    assert again.run_when_due() is not None
    assert again.run_when_due() is None
    assert opened().is_upkeep_due(now.wall_ms() + DAY_MS)


def test_buckets_of_the_latest_rows_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their files are told by their names; what no version needs goes all the same."""
    monkeypatch.setattr("headwater.snapshot.buckets.BUCKET_BYTES", 500)
    ledger = Ledger(tmp_path / "orders")
    for amount in range(2):
        ledger.publish({f"order-{n}": amount for n in range(60)})
        ledger.take()
    assert planned(ledger.table().files(), 4_000)
    before = {file.name for file in ledger.table().files()}
    done = Upkeep(ledger.table(), 4_000, DAY_MS, later(3)).run()
    assert (done.merged, done.into) == (0, 0)
    assert done.swept is not None
    assert done.swept.files > 0
    assert {file.name for file in ledger.table().files()} == before
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one more handle on the same table in a directory."""
    directory = tmp_path / "snapshot"
    return lambda: FORMATS[request.param](directory, product=TOPIC, topic=TOPIC)


def test_one_upkeep_at_a_time(stored: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second takes nothing away, and nothing can be pinned that is just going."""
    commit(stored, 0)
    one, other = stored(), stored()
    told: list[object] = []

    def busy(_now_ms: int, _keep_ms: int) -> Swept:
        told.append(other.tidy(later(3).wall_ms(), DAY_MS))
        with pytest.raises(RetriableError) as refused:
            other.pin("audit", 1)
        told.append(refused.value.code)
        return Swept()

    monkeypatch.setattr(one, "_sweep", busy)
    one.tidy(later(3).wall_ms(), DAY_MS)
    assert told == [None, "SNAPSHOT_BUSY"]


def test_a_merge_that_new_columns_overtake_goes_behind_them_or_begins_again(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows have the columns of before; no row is lost, and no error is told."""
    for number in range(10):
        commit(opened, number)
    keeper = opened()
    put = keeper.commit

    def after_others(change_: Change) -> int:
        monkeypatch.setattr(keeper, "commit", put)
        other = opened()
        other.offsets("one")
        grown = rows(20, 22).append_column("note", pa.array(["x", "y"]))
        other.commit(replace(change(grown, record(20, 22)), columns=grown.schema))
        return keeper.commit(change_)

    monkeypatch.setattr(keeper, "commit", after_others)
    done = kept(keeper).run()
    assert done.merged >= 10
    require_whole(opened(), 11)


def test_commits_behind_a_version_are_the_last_of_all(opened: Opener) -> None:
    """Whether upkeep let go of older versions or not; a record stays what it was, to the letter."""
    first = replace(record(0, 2), stored_names={"name": "id"})
    opened().commit(change(rows(0, 2), first))
    for number in range(1, 6):
        commit(opened, number)
    for _ in range(2):
        every = list(opened().commits())
        assert every[0][1] == first
        for after in range(every[-1][0] + 2):
            assert list(opened().commits(after)) == [each for each in every if each[0] > after]
        kept(opened()).run()
        commit(opened, len(every))


class Killed(BaseException):
    """The end of a process."""


def _steps(monkeypatch: pytest.MonkeyPatch, last: int) -> list[str]:
    """Let the process end at its step of this number; the steps that were begun."""
    begun: list[str] = []

    def guarded(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def taken(*given: Any, **named: Any) -> Any:
            begun.append(name)
            if len(begun) == last:
                raise Killed
            return step(*given, **named)

        return taken

    for target in (
        "os.link",
        "pathlib.Path.unlink",
        "pathlib.Path.replace",
        "deltalake.DeltaTable.create_checkpoint",
        "pyiceberg.catalog.sql.SqlCatalog.commit_table",
    ):
        owner, name = target.rsplit(".", 1)
        module = __import__(owner.split(".")[0])
        for part in owner.split(".")[1:]:
            module = getattr(module, part)
        monkeypatch.setattr(target, guarded(name, getattr(module, name)))
    return begun


def test_a_crash_at_any_step_leaves_only_orphans(stored: Opener, tmp_path: Path) -> None:
    """The next upkeep takes them, and nothing else has happened."""
    crashes = commits = 0
    for last in (1, 2, 3, 4, 6):
        for _ in range(3):
            commit(stored, commits)
            commits += 1
        with pytest.MonkeyPatch.context() as patch:
            begun = _steps(patch, last)
            try:
                Upkeep(stored(), 4_000, DAY_MS, later(3)).run()
            except Killed:
                assert len(begun) >= last
                crashes += 1
        require_whole(stored(), commits)
    assert crashes >= 2
    kept(stored()).run()
    require_whole(stored(), commits)
    assert data_files(tmp_path) == {Path(each.name).name for each in stored().files()}
    assert not list(tmp_path.rglob("*.tmp"))
