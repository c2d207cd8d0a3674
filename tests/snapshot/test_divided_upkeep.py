"""Upkeep of divided tables: files become fewer, and each still holds the rows of one value."""

import time
from pathlib import Path

import polars as pl
import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.test_divided import PARTITIONS, Sales, assert_whole, at
from tests.snapshot.test_schema_evolution import CITY, FEE, TOWN, World, order, orders

from headwater.clock import ManualClock
from headwater.ports import Table
from headwater.snapshot.upkeep import Upkeep

DAY_MS = 86_400_000
COMMITS = 10
SHOPS = ["a/b", "50%", "Ærø", None]


def kept(table: Table) -> Upkeep:
    """Upkeep three days later, which keeps a day."""
    return Upkeep(table, 1 << 20, DAY_MS, ManualClock(at_s=time.time() + 3 * 86_400))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("by", ["_date", "shop"])
def test_files_of_one_value_are_merged_and_others_left_apart(
    tmp_path: Path, format_: str, by: str
) -> None:
    """Rows and values stay, verification is green, and what was merged goes with its version."""
    sales = Sales(by, directory=tmp_path / "sales", format=format_)
    for number in range(COMMITS):
        sales.publish(*((f"{number}-{n}", at(1 + n % 4), SHOPS[n % 4]) for n in range(48)))
        sales.take()
    before = sales.table()
    version = before.version()
    assert version is not None
    before.pin("audit", version)
    rows, files = sales.rows(), before.files()
    upkept = kept(sales.table()).run()
    values = 4
    assert upkept.merged == len(files)
    assert len(sales.table().files()) == upkept.into == values * PARTITIONS
    assert sales.rows() == rows
    assert_whole(sales)
    assert sum(b.num_rows for each in files for b in before.scan(each.name)) == len(rows)
    assert before.dataset(version).count_rows() == len(rows)
    assert sales.table().unpin("audit")
    sales.publish(("z", at(2), "50%"))
    sales.take()
    kept(sales.table()).run()
    assert_whole(sales)
    data = {each.name for each in (tmp_path / "sales").rglob("part-*.parquet")}
    assert data == {Path(each.name).name for each in sales.table().files()}
    if format_ == "delta":
        read = pl.scan_delta(str(tmp_path / "sales"))
        assert read.collect().height == len(rows) + 1
        assert sorted(map(str, read.collect()["shop"].unique())) == sorted(map(str, SHOPS))


@pytest.mark.parametrize("mode", ["append", "latest"])
@pytest.mark.parametrize("format_", FORMATS)
def test_a_renamed_column_divides_what_upkeep_merges(
    tmp_path: Path, format_: str, mode: str
) -> None:
    """Files of both versions of the contract become one; buckets of latest stay as they are."""
    one, two = orders(1, CITY), orders(2, TOWN, FEE)
    made = World(mode, format_, tmp_path, by="city")
    for number in range(COMMITS):
        made.publish(one, [order(f"a{number}", "Ulm"), order(f"b{number}", "Jena")])
        made.take(one)
    made.by = "town"
    for number in range(COMMITS):
        made.publish(two, [order(f"c{number}", "Ulm", 5), order("a0", "Bonn", 6)])
        made.take(two)
    held = made.held()
    upkept = kept(made.table()).run()
    assert (upkept.merged > 0) == (mode == "append")
    assert made.held() == held
    assert {file.value for file in made.table().files()} == {"Ulm", "Jena", "Bonn"}
    verdict = made.verify()
    assert (verdict.outcome, verdict.differences) == ("equal", ())
    frame = made.product(two).snapshot().lazy().collect()
    assert sorted(frame["town"].unique()) == ["Bonn", "Jena", "Ulm"]
    made.publish(two, [order("d", "Bonn", 5)])
    made.take(two)
    assert made.verify().outcome == "equal"
