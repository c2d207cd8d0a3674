"""Joins with tables on frames: what they ask of the records, and what has none."""

from pathlib import Path

import polars as pl
import pytest

from headwater.contract import Contract, parse_contract
from headwater.errors import DeclarationError
from headwater.flow import (
    DELETED,
    ROW,
    TASK,
    TIME,
    Batch,
    Ground,
    HeldTable,
    Plan,
    TableRows,
    VersionedRows,
    check_row_local,
)
from headwater.product import DataProduct, Flow

TEXT = """{"type": "record", "name": "Plane", "doc": "A plane.", "key": "id", "fields": [
 {"name": "id", "type": "string", "doc": "Its number."},
 {"name": "since", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When."},
 {"name": "seats", "type": "int", "doc": "Seats."}], "eventTime": "since"}"""
CONTRACT: Contract = parse_contract(TEXT, topic="fleet.planes", version=1, path=Path("v1.avsc"))
COLUMNS = {"id": pl.String(), "n": pl.Int64()}
KINDS = {"id": pl.String(), "seats": pl.Int32()}
ROWS = pl.DataFrame(
    {"id": ["a", "a"], "seats": [1, 2], TASK: [0, 1], TIME: [100, 100], DELETED: [False, False]}
)


def planned(*, versioned: bool) -> Plan:
    """A flow joined with a co-partitioned table on its key."""
    product = DataProduct("fleet.flights", owner="fleet@example.com")
    stream = product.stream("fleet.orders", contract=1)
    table = product.table("fleet.planes", contract=1, versioned=versioned)
    seats = {"seats": "seats"}
    flow: Flow = (
        stream.join_asof(table, by="id", within="1s", columns=seats)
        if versioned
        else stream.join(table, on="id", columns=seats)
    )
    rows = (VersionedRows if versioned else TableRows)("id", KINDS, by_task=True)
    rows.apply(ROWS)
    flow = flow.with_columns(more=pl.col("seats") + pl.col("n"))
    ground = Ground(("id",), {"fleet.planes": HeldTable(CONTRACT, rows)}, "at")
    return Plan(flow, COLUMNS, ground=ground)


def frame(count: int) -> pl.DataFrame:
    """Rows of one key."""
    columns = {"id": ["a"] * count, "n": list(range(count))}
    return pl.DataFrame(columns, schema=COLUMNS).with_row_index(ROW)


BATCH = Batch(pl.Series([1, 0, 2, 1]), times=pl.Series([100, 1100, 100, 1101]))


@pytest.mark.parametrize("versioned", [False, True], ids=["newest", "versioned"])
def test_a_row_finds_what_its_own_task_holds(versioned: bool) -> None:
    """By `_row`: a filter before the join moves nothing."""
    plan = planned(versioned=versioned)
    assert plan.asks_of_records
    done = plan.process(frame(4), BATCH).frame
    assert done["seats"].to_list() == [2, 1, None, None if versioned else 2]
    part = plan.process(frame(4)[1:3], BATCH).frame
    assert part["seats"].to_list() == [1, None]


@pytest.mark.parametrize("versioned", [False, True], ids=["newest", "versioned"])
def test_steps_behind_a_join_are_proven_on_what_it_finds(versioned: bool) -> None:
    """And a step that depends on the batch is found behind it."""
    plan = planned(versioned=versioned)
    check_row_local(plan, frame(4), BATCH)
    flow = plan.flow.map(lambda rows: rows.with_columns(best=pl.col("seats").max()))
    bad = Plan(flow, COLUMNS, ground=ground_of(plan))
    with pytest.raises(DeclarationError, match="BATCH_DEPENDENT"):
        check_row_local(bad, frame(4), BATCH)


def ground_of(plan: Plan) -> Ground:
    """The same table again."""
    held = plan.stages[0].table  # type: ignore[union-attr]  # the join
    return Ground(("id",), {"fleet.planes": held}, "at")


@pytest.mark.parametrize("versioned", [False, True], ids=["newest", "versioned"])
def test_a_row_that_no_record_made_has_no_task_and_no_time(versioned: bool) -> None:
    """Finding nothing would pass for an answer; it is refused with the way out."""
    made = frame(1).with_columns(pl.lit(BATCH.no_row, pl.UInt32).alias(ROW))
    stage = planned(versioned=versioned).stages[0]
    with pytest.raises(DeclarationError, match="join before it") as caught:
        stage.run(made, BATCH)  # type: ignore[call-arg]  # a join takes the batch
    assert [each.code for each in caught.value.problems] == ["NO_RECORD"]
