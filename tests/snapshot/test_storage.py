"""What a table in a directory does when the storage or its content is in the way: any format."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pyarrow as pa
import pytest
from tests.snapshot.changes import change
from tests.snapshot.formats import FAILS_BEFORE, FORMATS, LOSES_THE_ANSWER
from tests.snapshot.storage import TOPIC, parquet_files, record, rows

from headwater.adapters.directory import DirectoryFiles
from headwater.adapters.iceberg import opening
from headwater.errors import DamagedError, OvertakenError, RetriableError, StartRefusedError
from headwater.ports import Change, Table

Opener = Callable[[], Table]
WRITERS = 4  # more than cores, so that some are held between their look and their commit


@pytest.fixture(params=FORMATS)
def format_(request: pytest.FixtureRequest) -> str:
    """The name of a format."""
    return str(request.param)


@pytest.fixture
def opened(format_: str, tmp_path: Path) -> Opener:
    """Opens one more handle on the table of this directory."""
    return lambda: FORMATS[format_](tmp_path, product=TOPIC, topic=TOPIC)


def test_a_directory_with_other_files_is_left_alone(opened: Opener, tmp_path: Path) -> None:
    """Files of somebody else are never mixed with a table."""
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(StartRefusedError, match="other files") as refused:
        opened()
    assert refused.value.code == "NOT_OUR_TABLE"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_table_that_begins_between_two_looks_is_found(
    opened: Opener, format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens it sees no log of a table first, and then files."""
    owner, name = (
        (opening, "_require_unused") if format_ == "iceberg" else (DirectoryFiles, "children")
    )
    look = getattr(owner, name)

    def begun(*given: Any) -> Any:
        monkeypatch.setattr(owner, name, look)
        opened().commit(change(rows(0, 3), record(0, 3)))
        return look(*given)

    monkeypatch.setattr(owner, name, begun)
    table = opened()
    assert list(tmp_path.rglob("part-*.parquet"))
    assert table.rows() == 3
    assert table.version() is not None


def test_opening_a_table_changes_nothing(opened: Opener, tmp_path: Path) -> None:
    """Whoever only looks leaves nothing behind."""
    table = opened()
    assert (table.offsets("one"), list(table.commits()), list(table.files())) == ({}, [], [])
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_another_topic_is_refused_by_its_name(
    opened: Opener, format_: str, tmp_path: Path
) -> None:
    """Two topics in one directory would mix their rows."""
    other = FORMATS[format_](tmp_path, product="shop.returns", topic="shop.returns")
    other.commit(change(rows(0, 1), record(0, 1)))
    with pytest.raises(StartRefusedError, match=r"shop\.returns") as refused:
        opened()
    assert refused.value.code == "NOT_OUR_TABLE"


def test_a_place_that_cannot_be_a_directory_is_one_sentence(format_: str, tmp_path: Path) -> None:
    """A file in the way: what, where, what to do next."""
    (tmp_path / "file").write_text("")
    with pytest.raises((RetriableError, StartRefusedError)) as refused:
        FORMATS[format_](tmp_path / "file" / "table", product=TOPIC, topic=TOPIC).commit(
            change(rows(0, 1), record(0, 1))
        )
    assert "file/table" in str(refused.value)
    assert "\n" not in str(refused.value)


FULL = """
import resource, sys
from pathlib import Path
from tests.snapshot.changes import change
from tests.snapshot.formats import FORMATS
from tests.snapshot.storage import TOPIC, record, rows
from headwater.errors import RetriableError
table = FORMATS[{format_!r}](Path(sys.argv[1]), product=TOPIC, topic=TOPIC)
table.offsets("one")
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    table.commit(change(rows(10, 50_000), record(10, 50_000)))
except RetriableError as error:
    print(error.code, error)
"""


@pytest.mark.parametrize("limit", [0, 50_000], ids=["nothing fits", "half a file fits"])
def test_a_full_disk_is_one_sentence_and_nothing_is_half_visible(
    opened: Opener, format_: str, tmp_path: Path, limit: int
) -> None:
    """The table stays at its last commit, no file is left, and the next run commits once."""
    opened().commit(change(rows(0, 10), record(0, 10)))
    before = parquet_files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(format_=format_, limit=limit), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SNAPSHOT_STORAGE Could not write the snapshot")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert parquet_files(tmp_path) == before
    table = opened()
    assert table.offsets("one") == {0: 10}
    assert table.rows() == 10
    table.commit(change(rows(10, 50_000), record(10, 50_000)))
    assert opened().rows() == 50_000


def test_files_of_a_crash_before_the_commit_do_no_harm(opened: Opener, tmp_path: Path) -> None:
    """Data files that no commit names are invisible, and the rerun commits once."""
    opened().commit(change(rows(0, 10), record(0, 10)))
    # The state of a process that died between the data files and their commit:
    (written,) = tmp_path.rglob("*.parquet")
    shutil.copy(written, written.with_name("part-0-10-20-crashed.parquet"))
    rerun = opened()
    assert rerun.offsets("one") == {0: 10}
    assert rerun.rows() == 10
    rerun.commit(change(rows(10, 20), record(10, 20)))
    assert opened().rows() == 20
    assert len(opened().files()) == 2


def test_a_lost_answer_to_a_commit_is_recognised(
    opened: Opener, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that happened but reported an error is not repeated, and its files stay."""
    table = opened()
    table.commit(change(rows(0, 10), record(0, 10)))
    table.offsets("one")
    with monkeypatch.context() as patch:
        lost = LOSES_THE_ANSWER[format_](patch)
        version = table.commit(change(rows(10, 20), record(10, 20)))
    assert lost == ["lost"]
    assert opened().commits()[-1] == (version, record(10, 20))
    assert opened().offsets("one") == {0: 20}
    assert sum(batch.num_rows for f in opened().files() for batch in opened().scan(f.name)) == 20


def test_a_commit_that_did_not_happen_leaves_no_file(
    opened: Opener, format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is known that no commit names them, its files go."""
    table = opened()
    table.commit(change(rows(0, 10), record(0, 10)))
    table.offsets("one")
    before = parquet_files(tmp_path)
    with monkeypatch.context() as patch:
        FAILS_BEFORE[format_](patch)
        with pytest.raises(RetriableError) as refused:
            table.commit(change(rows(10, 20), record(10, 20)))
        with pytest.raises(RetriableError):
            table.commit(Change([], None, removed=[each.name for each in table.files()]))
    assert refused.value.code == "SNAPSHOT_STORAGE"
    assert parquet_files(tmp_path) == before
    assert opened().rows() == 10
    table.offsets("one")
    table.commit(change(rows(10, 20), record(10, 20)))
    assert opened().rows() == 20


def test_of_many_writers_of_one_cut_one_wins(opened: Opener, tmp_path: Path) -> None:
    """At the same moment: the others are told, their files go, and no row stands twice."""
    opened().commit(change(rows(0, 10), record(0, 10)))
    start = Barrier(WRITERS)

    def write(_: int) -> str:
        table = opened()
        table.offsets("one")
        start.wait()
        try:
            table.commit(change(rows(10, 20), record(10, 20)))
        except OvertakenError as error:
            return error.code
        return "won"

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = sorted(pool.map(write, range(WRITERS)))
    assert outcomes == ["SNAPSHOT_TAKEN"] * (WRITERS - 1) + ["won"]
    assert opened().rows() == 20
    assert [found for _, found in opened().commits()] == [record(0, 10), record(10, 20)]
    assert len(parquet_files(tmp_path)) == 2


def test_a_bit_that_rots_in_a_row_is_damage_never_another_value(
    opened: Opener, tmp_path: Path
) -> None:
    """Whatever byte of a file is flipped, its rows are not given out."""
    table = opened()
    table.commit(change(rows(0, 5_000), record(0, 5_000)))
    (path,) = tmp_path.rglob("*.parquet")
    (name,) = (file.name for file in table.files())
    content = path.read_bytes()
    for place in range(100, len(content) * 9 // 10, 4_999):  # the footer is behind
        rotten = bytearray(content)
        rotten[place] ^= 1 << (place % 8)
        path.write_bytes(rotten)
        with pytest.raises(DamagedError, match=path.name):
            list(table.scan(name))
    path.write_bytes(content)
    assert sum(batch.num_rows for batch in table.scan(name)) == 5_000


def test_a_file_that_is_gone_is_damage(opened: Opener, tmp_path: Path) -> None:
    """It is named, and the table's other files are read as ever."""
    table = opened()
    table.commit(change(rows(0, 10), record(0, 10)))
    (path,) = tmp_path.rglob("*.parquet")
    path.unlink()
    with pytest.raises(DamagedError, match=f"{path.name} is gone"):
        list(table.scan(table.files()[0].name))


def test_what_a_table_says_of_a_file_is_what_it_holds(opened: Opener) -> None:
    """Rows, and the bounds that readers skip files by."""
    opened().commit(change(rows(3, 10), record(3, 10)))
    (found,) = opened().files()
    assert (found.rows, found.partitions, found.offsets) == (7, (0, 0), (3, 9))


def test_rows_keep_their_values_to_the_bit(opened: Opener) -> None:
    """Not a number, both zeros, the ends of time, wide decimals, empty and absent lists."""
    moments = [-62_135_596_800_000_000, 0, 253_402_300_799_999_999]  # the years 1 to 9999
    columns: dict[str, pa.Array] = {
        "real": pa.array([float("nan"), -0.0, 1e308], pa.float64()),
        "small": pa.array([float("nan"), -0.0, 1e-45], pa.float32()),
        "at": pa.array(moments, pa.timestamp("us", "UTC")),
        "local": pa.array(moments, pa.timestamp("us")),
        "money": pa.array([None, 10**37, -(10**37)], pa.decimal128(38, 0)),
        "raw": pa.array([b"", b"\0\xff", None], pa.binary()),
        "list": pa.array([[], None, [1, None]], pa.list_(pa.int32())),
        "map": pa.array([[], None, [("a", None)]], pa.map_(pa.string(), pa.int64())),
    }
    table = pa.table(columns)
    for name, column in zip(rows(0, 3).column_names[1:], rows(0, 3).columns[1:], strict=True):
        table = table.append_column(name, column)
    opened().commit(change(table, record(0, 3)))
    handle = opened()
    (file,) = handle.files()
    found = pa.Table.from_batches(handle.scan(file.name))
    for name, column in columns.items():
        assert [str(each) for each in found[name].to_pylist()] == [
            str(each) for each in column.to_pylist()
        ], name
