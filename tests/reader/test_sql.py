"""SQL over the snapshots of several products."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from tests.reader.shop import TOPIC, Shop

from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.cli import sql as command
from headwater.cli.main import main
from headwater.embedded.process import wait_until
from headwater.errors import ConfigurationError
from headwater.reader.sql import Query


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Fifty orders in a snapshot, seven behind it."""
    shop = Shop(DeltaSnapshotTable(tmp_path / TOPIC, product=TOPIC, topic=TOPIC))
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
