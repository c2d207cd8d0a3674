"""SQL over the snapshots of several products."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from tests.reader.shop import TOPIC, Shop

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.cli import sql as command
from headwater.cli.main import main
from headwater.embedded.process import wait_until
from headwater.errors import ConfigurationError
from headwater.reader.sql import Query


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Fifty orders in a snapshot, seven behind it."""
    shop = Shop(DeltaSnapshotTable(DirectoryFiles(tmp_path / TOPIC), product=TOPIC, topic=TOPIC))
    shop.publish(50)
    shop.take()
    shop.publish(7)
    return shop


def answer(shop: Shop, text: str, *, is_live: bool = False) -> list[dict[str, object]]:
    """The rows of an answer; every product is the shop's."""
    batches = Query(text, lambda _name: shop.product(), is_live=is_live).rows()
    rows: list[dict[str, object]] = pa.Table.from_batches(batches).to_pylist()
    return rows


def test_products_are_tables_by_their_names(shop: Shop) -> None:
    """In single or double quotes, in joins, subqueries and behind names of the query's own."""
    text = """
        WITH mine AS (SELECT id FROM 'shop.orders' WHERE amount > 10)
        SELECT count(*) AS n FROM mine JOIN "shop.other-orders" USING (id)
        WHERE id IN (SELECT id FROM 'shop.orders') AND id != 'no.product'
    """
    assert answer(shop, text) == [{"n": 9}]


def test_live_adds_the_log_behind_each_snapshot(shop: Shop) -> None:
    """Each event once, in the types of the table."""
    text = "SELECT count(DISTINCT id) AS ids, count(*) AS n, max(placed_at) AS t FROM 'shop.orders'"
    (still,) = answer(shop, text)
    (live,) = answer(shop, text, is_live=True)
    assert (still["n"], live["n"], live["ids"]) == (50, 57, 57)
    assert type(still["t"]) is type(live["t"])


@pytest.mark.parametrize(
    "text",
    [
        "SELEC 1",
        "DROP TABLE x",
        "SELECT 1; SELECT 2",
        "SELECT price FROM 'shop.orders'",
        "SELECT * FROM nobody",
        "SELECT CAST(id AS INTEGER) FROM 'shop.orders'",
    ],
)
def test_a_query_that_cannot_be_answered_is_one_sentence(shop: Shop, text: str) -> None:
    """And shows no value."""
    with pytest.raises(ConfigurationError, match="cannot be answered") as refused:
        answer(shop, text)
    assert refused.value.problems[0].code == "BAD_QUERY"
    assert "order-" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_columns_of_one_name_are_told_apart(shop: Shop) -> None:
    """As of every row of a join; the first keeps its name."""
    (row,) = answer(shop, "SELECT * FROM 'a.b' x JOIN 'a.c' y ON x.id = y.id WHERE x.amount = 0.25")
    assert row["id"] == row["id_1"] == "order-1"
    assert [*row][6:] == [f"{name}_1" for name in [*row][:6]]
    (row,) = answer(shop, "SELECT 1 AS a, 2 AS A, 3 AS a_1, 4 AS a")
    assert row == {"a": 1, "A": 2, "a_1": 3, "a_2": 4}


def test_times_are_those_of_utc_wherever_the_query_runs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of theirs too."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        text = "SELECT max(placed_at) AS at, date_part('hour', max(placed_at)) AS h FROM 'a.b'"
        (row,) = answer(shop, text)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert str(row["at"]) == "1970-01-01 00:00:00.049000+00:00"
    assert row["h"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT INTERVAL 3 DAYS AS x",
        "SELECT {'a': [INTERVAL 3 DAYS]} AS x",
        "SELECT 340282366920938463463374607431768211455::UHUGEINT AS x",
        "SELECT TIMETZ '10:00:00+01' AS x",
        "SELECT '101'::BIT AS x",
        "SELECT union_value(a := 1) AS x",
    ],
)
def test_types_that_only_duckdb_has_are_refused(shop: Shop, text: str) -> None:
    """Arrow has none for them: they would come out as other values, or not at all."""
    with pytest.raises(ConfigurationError, match=r"column x is .*CAST\(x AS VARCHAR\)"):
        answer(shop, text)


def test_variables_of_the_program_are_no_tables(shop: Shop) -> None:
    """Which DuckDB looks for in Python when it knows no such table."""
    with pytest.raises(ConfigurationError, match="pl does not exist"):
        answer(shop, "SELECT * FROM pl")


def test_a_directory_of_the_name_is_not_in_the_way(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the directory of the snapshots."""
    monkeypatch.chdir(tmp_path)
    assert Path(TOPIC).is_dir()
    assert answer(shop, "SELECT count(*) AS n FROM 'shop.orders'") == [{"n": 50}]


def run(monkeypatch: pytest.MonkeyPatch, shop: Shop, *arguments: str) -> int:
    """The exit code of `headwater sql`."""
    monkeypatch.setattr(command, "opened", lambda _name: shop.product())
    monkeypatch.setattr("sys.argv", ["headwater", "sql", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code if isinstance(ended.value.code, int) else 0


def test_an_answer_is_printed_or_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As CSV, JSON lines, a table, or a Parquet file."""
    text = "SELECT id, amount FROM 'shop.orders' ORDER BY amount LIMIT 2"
    assert run(monkeypatch, shop, text, "--format", "csv") == 0
    assert capsys.readouterr().out == "id,amount\norder-0,0.0\norder-1,0.25\n"
    assert run(monkeypatch, shop, text, "--format", "json") == 0
    assert capsys.readouterr().out.startswith('{"id": "order-0", "amount": 0.0}\n')
    assert run(monkeypatch, shop, text) == 0
    assert capsys.readouterr().out.split() == ["id", "amount", "order-0", "0.0", "order-1", "0.25"]
    file = tmp_path / "answer.parquet"
    assert run(monkeypatch, shop, text, "--format", "parquet", "--out", str(file)) == 0
    assert pl.read_parquet(file)["id"].to_list() == ["order-0", "order-1"]
    assert run(monkeypatch, shop, text, "--format", "parquet") == 78


def test_a_file_is_written_whole_or_not_at_all(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A query that fails on its way leaves what was there, and nothing else."""
    file = tmp_path / "answer.parquet"
    out = ("--format", "parquet", "--out", str(file))
    assert run(monkeypatch, shop, "SELECT 7 AS n", *out) == 0
    text = "SELECT CASE WHEN range < 90000 THEN 1 ELSE error('no') END AS n FROM range(100000)"
    assert run(monkeypatch, shop, text, *out) == 78
    assert pl.read_parquet(file)["n"].to_list() == [7]
    assert [each.name for each in tmp_path.glob("*parquet*")] == ["answer.parquet"]
    capsys.readouterr()
    assert run(monkeypatch, shop, "SELECT 1", *out[:-1], str(tmp_path / "no" / "a.parquet")) == 78
    assert "cannot be written" in capsys.readouterr().err


def test_json_is_json_whatever_the_numbers(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NaN and infinite numbers are text, at any depth."""
    text = "SELECT 'nan'::DOUBLE AS a, ['-inf'::DOUBLE, 1.5] AS b, {'c': 'inf'::FLOAT} AS d"
    assert run(monkeypatch, shop, text, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"a": "NaN", "b": ["-Infinity", 1.5], "d": {"c": "Infinity"}}


def test_an_answer_without_rows_still_has_its_columns(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that whatever reads it finds them."""
    text = "SELECT id FROM 'shop.orders' WHERE amount < 0"
    assert run(monkeypatch, shop, text, "--format", "csv") == 0
    assert capsys.readouterr().out == "id\n"


def cpu_s(pid: int) -> float:
    """What a process has worked so far."""
    times = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def test_a_query_at_work_is_interrupted_with_one_line(tmp_path: Path) -> None:
    """DuckDB itself hears of no Ctrl-C."""
    text = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range != b.range"
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", "sql", text],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        maps = Path(f"/proc/{process.pid}/maps")
        assert wait_until(lambda: "_duckdb" in maps.read_text(), 60)
        loaded_s = cpu_s(process.pid)  # of the import there is less than a second left
        assert wait_until(lambda: cpu_s(process.pid) > loaded_s + 1, 60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()  # one that goes on would never end
        process.wait(timeout=10)
    assert (process.returncode, out, err) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize(
    "name", [".", "", "folder", "pipe", "file/a.parquet", "a" * 250, "a" * 300]
)
def test_a_place_that_takes_no_file_is_told_and_left(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
) -> None:
    """A pipe or a device above all: a file in its place would be missed by others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    code = run(monkeypatch, shop, "SELECT 1 AS n", "--format", "parquet", "--out", name)
    if len(name) == 250:  # as long as a file's name may be, nearly
        assert code == 0
        return
    assert (code, "cannot be written" in capsys.readouterr().err) == (78, True)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "pipe").is_fifo()


def test_a_value_that_arrow_does_not_hold_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a text of more than 2 GB, of which Arrow says it as a system does of a file."""

    def told() -> pa.RecordBatch:
        raise OSError("Invalid Input Error: Arrow Appender: the offset of 3000000000 exceeds this")

    parts = (told() for _ in range(1))
    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.string())]), parts)
    monkeypatch.setattr(Query, "_answer", lambda *_: reader)
    with pytest.raises(ConfigurationError, match="too large"):
        answer(shop, "SELECT repeat('a', 3000000000) AS a")
