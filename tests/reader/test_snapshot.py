"""A table at a cut, as whatever computes with it."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.reader.shop import TOPIC, Shop, places

from headwater.adapters.delta.reading import dataset
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.errors import ConfigurationError, ReadRefusedError
from headwater.reader.product import Product


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """Orders in two snapshots, a minute apart."""
    shop = Shop(DeltaSnapshotTable(tmp_path / TOPIC, product=TOPIC, topic=TOPIC))
    shop.publish(50)
    shop.take()
    shop.broker.clock.advance(60)
    shop.publish(30)
    shop.take()
    return shop.product()


def test_a_cut_is_found_by_version_id_and_time(product: Product) -> None:
    """Each names the same rows."""
    first, second = product.cuts()
    for at in (first, first.version, first.commit_id, first.time, second.time - timedelta(1e-6)):
        assert product.snapshot(at).cut == first
        assert product.snapshot(at).rows == 50
    assert product.snapshot().cut == product.snapshot(second.time).cut == second
    assert product.snapshot().rows == 80
    assert sum(second.offsets.values()) > 80


@pytest.mark.parametrize("at", [99, "no-such-commit"])
def test_a_cut_that_is_not_there_is_told_with_those_that_are(
    product: Product, at: int | str
) -> None:
    """So that the next try hits."""
    with pytest.raises(ReadRefusedError, match="it has 2, from version 1 of") as refused:
        product.snapshot(at)
    assert refused.value.code == "CUT_UNKNOWN"


def test_every_form_holds_the_same_rows(product: Product) -> None:
    """Polars, pyarrow, pandas and DuckDB."""
    first = product.cuts()[0]
    snapshot = product.snapshot(first)
    rows = snapshot.lazy().sort("id").collect()
    assert rows.height == 50
    assert rows["amount"].sum() == sum(n / 4 for n in range(50))
    assert snapshot.dataset().count_rows() == 50
    assert pl.from_pandas(snapshot.pandas()).sort("id")["id"].equals(rows["id"])
    found = snapshot.duckdb().aggregate("count(*), sum(amount)").fetchall()
    assert found == [(50, rows["amount"].sum())]


def test_a_lazy_frame_reads_what_is_asked_for(product: Product) -> None:
    """Columns and rows are chosen before they are read."""
    wanted = product.snapshot().lazy().filter(pl.col("_partition") == 1).select("id", "_offset")
    assert "PYTHON SCAN" in wanted.explain()
    assert "PROJECT 3" in wanted.explain()
    assert wanted.collect().width == 2


def test_a_pinned_snapshot_stays_what_it_was(tmp_path: Path) -> None:
    """Commits meanwhile do not change it."""
    shop = Shop(DeltaSnapshotTable(tmp_path / TOPIC, product=TOPIC, topic=TOPIC))
    shop.publish(50)
    shop.take()
    snapshot = shop.product().snapshot()
    lazy = snapshot.lazy()
    shop.publish(9)
    shop.take()
    assert snapshot.rows == lazy.collect().height == len(places(lazy.collect())) == 50


def test_a_package_that_is_missing_is_named(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading itself needs neither."""
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(ConfigurationError, match="pip install") as refused:
        product.snapshot().duckdb()
    assert refused.value.problems[0].code == "NOT_INSTALLED"


def test_a_filter_finds_the_rows_of_columns_without_statistics(product: Product) -> None:
    """The table tells bounds of two columns only; of the others that says nothing."""
    snapshot = product.snapshot()
    rows = snapshot.lazy()
    everything = rows.collect()
    for wanted in (
        pl.col("amount") > 10,
        pl.col("id") == "order-7",
        pl.col("placed_at") >= everything["placed_at"].max(),
        (pl.col("_partition") == 1) & (pl.col("_offset") < 5),
    ):
        assert rows.filter(wanted).collect().height == everything.filter(wanted).height > 0
    dataset = snapshot.dataset()
    assert dataset.count_rows(filter=pc.field("amount") > 10) == 39
    assert dataset.count_rows(filter=pc.field("_partition") == 99) == 0


def test_columns_that_divide_a_delta_table_are_in_its_rows(tmp_path: Path) -> None:
    """They stand in the table's log and in paths, not in the files."""
    days = [date(2026, 1, 1), date(2026, 1, 2), None]
    rows = pa.table({"n": [1, 2, 3], "day": pa.array(days), "town": ["a b", "ü", "x"]})
    write_deltalake(tmp_path / "t", rows, partition_by=["day", "town"])
    found = dataset(DeltaTable(tmp_path / "t"), tmp_path / "t")
    assert (
        found.to_table().sort_by("n").select(["n", "day", "town"]).to_pylist() == rows.to_pylist()
    )
    assert found.count_rows(filter=pc.field("day") == date(2026, 1, 2)) == 1
