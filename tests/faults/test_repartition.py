"""Rows moved to the task of another key under `kill -9`: each once, and state by the new key."""

import random
import shutil
from collections import Counter
from contextlib import closing
from typing import Final

import polars as pl
import pytest
from tests.faults.harness import BUSY, START_S, Bench, until
from tests.faults.latest import PARTITIONS, Feed, write_contract

from headwater.contract import StateRows
from headwater.contract.repartition import LINEAGE
from headwater.product.names import folder_of

pytestmark = pytest.mark.kafka

GROUPS: Final = 97
TEXT: Final = """
import polars as pl

from headwater import DataProduct


def refuse(frame):
    if (frame["n"] % 5_000 == 7).any():
        raise ValueError
    return frame


product = DataProduct("{product}", owner="me")
flow = product.stream("{source}", contract=1).with_columns(group=pl.col("n") % {groups})
flow = flow.rekey("group").latest("group", by="n").map(refuse).select("id", "at", "n")
product.publish(flow, contract=1)
"""
MOVED: Final = StateRows(
    {
        "id": pl.String(),
        "at": pl.Datetime("ms", "UTC"),
        "n": pl.Int64(),
        "group": pl.Int64(),
        **LINEAGE,
    }
)


def _product(bench: Bench, product: str, source: str) -> None:
    write_contract(bench, product)
    file = bench.folder / "products" / folder_of(product) / "product.py"
    file.parent.mkdir(parents=True)
    file.write_text(TEXT.format(product=product, source=source, groups=GROUPS))


def _moved(bench: Bench, product: str) -> pl.DataFrame:
    """The rows that were moved, by partition of their topic and in its order."""
    records = bench.records(f"{product}.rekey-1.repartition")
    frame = MOVED.decode([record.value or b"" for record in records])
    places = pl.DataFrame(
        {
            "task": [record.partition.index for record in records],
            "place": [record.offset for record in records],
        }
    )
    return pl.concat([frame, places], how="horizontal").sort("task", "place")


def _check(bench: Bench, product: str, source: str) -> None:
    """As one who reads the committed records one by one would have it."""
    until(lambda: bench.is_settled(product), START_S, "every transaction ended")
    moved = _moved(bench, product)
    rows = moved.filter(pl.col("_offset").is_not_null())
    fed = bench.visible(source).select("_partition", "_offset", "n")
    assert rows.select("_partition", "_offset", "n").sort(pl.all()).equals(fed.sort(pl.all()))
    steps = rows.select(pl.col("_offset").diff().over("task", "_partition")).to_series()
    assert (steps.drop_nulls() > 0).all(), "rows of one partition lost their order"
    assert rows.group_by("group").agg(pl.col("task").n_unique())["task"].max() == 1
    _check_outputs(bench, product, rows)
    for name in ("_source", "task"):
        assert moved[name].n_unique() == PARTITIONS
    marks = moved.select(pl.col("_watermark").drop_nulls().diff().over("task", "_source"))
    assert (marks.to_series().drop_nulls() >= 0).all(), "a watermark went back"


def _check_outputs(bench: Bench, product: str, rows: pl.DataFrame) -> None:
    best: dict[int, int] = {}
    wanted = []
    for group, number in rows.select("group", "n").rows():
        if number >= best.get(group, number) and number % 5_000 != 7:
            best[group] = number
            wanted.append(number)
    assert Counter(bench.visible(product)["n"]) == Counter(wanted)
    letters = bench.records(f"{product}.dead-letters")
    named = {tuple(dict(each.headers)[f"headwater.error.{n}"] for n in ("partition", "offset"))
             for each in letters}  # fmt: skip
    refused = rows.filter(pl.col("n") % 5_000 == 7).select("_partition", "_offset").rows()
    sent = {(b"%d" % index, b"%d" % offset) for index, offset in refused}
    assert len(letters) == len(named)
    assert named <= sent
    assert {each.value for each in letters} <= {None}


@pytest.mark.faults
def test_a_kill_and_a_lost_disk_change_nothing_that_was_moved(bench: Bench) -> None:
    """One short run on the real broker: rows once, in order, and state by the new key."""
    source, product = "faults.moved-short", "faults.groups-short"
    Feed(bench, source, random.Random(5)).write(40_000)
    _product(bench, product, source)
    fail = {"HEADWATER_FAIL": "during_commit:kill@6"}
    with bench.run(product, settings={**BUSY, **fail}) as run:
        assert run.exit_code(START_S) == -9
    with closing(bench.gauge(product, source)) as gauge:
        assert 0 < gauge.total() < 40_000, "this kill does not count"
    shutil.rmtree(bench.folder / ".headwater/state" / product / "latest-1", ignore_errors=True)
    with bench.run(product) as run:
        assert run.exit_code() == 0
    _check(bench, product, source)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_kills_at_any_moment_move_every_row_once(bench: Bench) -> None:
    """Many lives, each ended after some commits, at named places and at moments of chance."""
    source, product = "faults.moved", "faults.groups"
    Feed(bench, source, random.Random(5)).write(400_000)
    _product(bench, product, source)
    chance = random.Random(11)
    for point in ("after_produce", "after_send_offsets", "during_commit", "after_commit"):
        fail = {"HEADWATER_FAIL": f"{point}:kill@{chance.randrange(5, 30)}"}
        with bench.run(product, settings={**BUSY, **fail}) as run:
            assert run.exit_code() == -9
    for _ in range(6):
        with bench.run(product, settings=BUSY) as run, closing(bench.gauge(product, source)) as at:
            for _ in range(chance.randrange(1, 12)):
                at.wait_beyond(at.total(), run)
            run.kill()
            assert 0 < at.total() < 400_000, "this kill does not count"
    with bench.run(product) as run:
        assert run.exit_code(180) == 0
    _check(bench, product, source)
