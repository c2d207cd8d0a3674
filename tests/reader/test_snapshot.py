"""A table at a cut, as whatever computes with it."""

import math
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.reader.shop import FIELDS, TOPIC, Shop, contract, places

from headwater.adapters.delta.reading import dataset
from headwater.adapters.delta.table import DeltaSnapshotTable
from headwater.adapters.directory import DirectoryFiles
from headwater.contract import Encoder
from headwater.errors import ConfigurationError, ReadRefusedError
from headwater.reader.evolved import admitted, lazy_frame
from headwater.reader.product import Product


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """Orders in two snapshots, a minute apart."""
    shop = Shop(DeltaSnapshotTable(DirectoryFiles(tmp_path / TOPIC), product=TOPIC, topic=TOPIC))
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


def test_a_frame_of_pandas_keeps_every_digit_beside_nulls() -> None:
    """As floats, which pandas takes for integers with nulls, they would lose the last."""
    number = {"name": "n", "type": ["null", "long"], "default": None, "doc": "A number."}
    later = contract([*FIELDS, number])
    shop = Shop()
    shop.publish(3)
    shop.take()
    codec = shop.registry.register(f"{TOPIC}-value", later.text, compatibility="FULL_TRANSITIVE")
    shop.contract, shop.schema_id = later, codec.schema_id
    rows = pl.DataFrame(
        {
            "id": ["big"],
            "amount": [0.0],
            "placed_at": pl.Series([0]).cast(pl.Datetime("ms", "UTC")),
            "n": [2**53 + 1],
        }
    )
    encoded = Encoder(later, shop.schema_id).encode(rows.with_row_index("_row"))
    shop.broker.append(TOPIC, encoded.values[0], key=encoded.keys[0])
    shop.take()
    frame = shop.product().snapshot().pandas()
    assert frame["n"].max() == 2**53 + 1
    assert frame["n"].isna().sum() == 3


def test_a_pinned_snapshot_stays_what_it_was(tmp_path: Path) -> None:
    """Commits meanwhile do not change it."""
    shop = Shop(DeltaSnapshotTable(DirectoryFiles(tmp_path / TOPIC), product=TOPIC, topic=TOPIC))
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
    found = dataset(DeltaTable(tmp_path / "t"), DirectoryFiles(tmp_path / "t"))
    assert (
        found.to_table().sort_by("n").select(["n", "day", "town"]).to_pylist() == rows.to_pylist()
    )
    assert found.count_rows(filter=pc.field("day") == date(2026, 1, 2)) == 1


def test_polars_finds_the_rows_that_polars_would(tmp_path: Path) -> None:
    """NaN is greater than every number, null is in no list and not in none; pyarrow differs."""
    rows = pa.table({"day": [1, 1, 2, None], "x": [1.0, math.nan, None, 5.0], "n": [1, None, 3, 4]})
    write_deltalake(tmp_path / "t", rows, partition_by=["day"])
    found = dataset(DeltaTable(tmp_path / "t"), DirectoryFiles(tmp_path / "t"))
    lazy = lazy_frame(found.schema, lambda names, _: found.to_batches(columns=list(names)))
    everything = lazy.collect()
    for wanted in (
        pl.col("x") > 2,
        pl.col("x") >= pl.lit(math.inf),
        ~pl.col("n").is_in([1]),
        ~(pl.col("n").is_in([1]) & (pl.col("x") > 2)),
    ):
        assert lazy.filter(wanted).collect().equals(everything.filter(wanted))
    assert lazy.head(2).filter(pl.col("n") == 1).collect().height <= 1


def test_only_files_that_may_hold_what_is_filtered_are_read() -> None:
    """By the terms that must all hold and ask for the dividing column alone."""
    days = pl.Series("day", [1, 2, 3, None])
    day, other = pl.col("day"), pl.col("x")
    for predicate, expected in (
        (day == 1, [1]),
        ((other > 5) & (day >= 2) & (other < 9), [2, 3]),
        ((other > 5) | (day >= 2), [1, 2, 3, None]),
        ((day == other) & day.is_null(), [None]),
        (~((day == 1) | (day == 3)), [2]),
        ((day == 1) & (day == 2), []),
    ):
        assert admitted(days, predicate).to_list() == expected


def test_parts_have_the_columns_that_are_asked_for(product: Product) -> None:
    """Those beside the contract's always, alone too; one that is not there is told."""
    snapshot = product.snapshot()
    beside = ["_partition", "_offset", "_timestamp"]
    for asked, given in (
        ([], beside),
        (["_offset"], beside),
        (["amount", "id", "amount"], ["amount", "id", *beside]),
    ):
        found = pa.Table.from_batches(snapshot.batches(asked))
        assert (found.schema.names, found.num_rows) == (given, 80)
    with pytest.raises(ReadRefusedError, match=r"none in shop\.orders; it has id,") as told:
        list(snapshot.batches(["id", "none"]))
    assert told.value.code == "NO_COLUMN"


def test_a_forked_process_is_told_that_it_has_no_product(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of Kafka's client would not come back there."""
    product.snapshot()
    monkeypatch.setattr("headwater.reader.product.os.getpid", lambda: -1)
    for use in (product.snapshot, product.cuts, product.events, product.read):
        with pytest.raises(ReadRefusedError, match="do not survive a fork") as told:
            use()
        assert told.value.code == "FORKED"
