"""What a table of mode "latest" makes of odd logs: emptied, cut by a wrong clock, oddly named."""

from pathlib import Path

import polars as pl
from tests.snapshot import processes
from tests.snapshot.lake import FIELDS, SCHEMA_ID, TOPIC, contract
from tests.snapshot.ledger import Ledger
from tests.snapshot.test_latest import DAY_S, numbered

from headwater.contract import Encoder
from headwater.snapshot.rows import RowCodec


def test_a_log_that_was_emptied_by_its_tombstones_empties_the_table() -> None:
    """Deletions of every key, taken by compaction before a cut saw them, are still deletions."""
    ledger = Ledger(policy="compact")
    ledger.publish(numbered(0, 6))
    ledger.take()
    ledger.delete([f"order-{n}" for n in range(6)])
    ledger.fold()
    ledger.compact(with_tombstones=True)
    ledger.clock.advance(2 * DAY_S)
    taken = ledger.take()
    assert (taken.rows_total, ledger.rows()) == (0, [])
    assert ledger.verify().outcome == "equal"
    assert ledger.take().version is None


def test_a_cut_by_a_clock_that_ran_ahead_is_not_taken_for_young() -> None:
    """Nobody knows how old it is, so the log is read again: tombstones may have left it."""
    ledger = Ledger(policy="compact")
    ledger.clock.advance(5 * DAY_S)
    ledger.publish(numbered(0, 6))
    ledger.take()
    ledger.delete(["order-1"])
    ledger.fold()
    ledger.publish(numbered(7, 8))
    ledger.compact(with_tombstones=True)
    ledger.clock.advance(-4 * DAY_S)
    assert ledger.verify().outcome == "unverifiable"
    ledger.take()
    assert ledger.rows() == ledger.expected()
    assert ledger.verify().outcome == "equal"


def test_columns_that_are_called_as_marks_of_a_fold_might_be_are_kept(tmp_path: Path) -> None:
    """A contract may name its fields so."""
    fields = [
        *FIELDS,
        {"name": "_hash", "type": "string", "doc": "What the shop made of it."},
        {"name": "deleted", "type": "boolean", "doc": "Whether the shop dropped it."},
    ]
    orders = contract(fields)
    rows = pl.DataFrame({"id": ["a", "b"], "amount": [1.0, 2.0]}).with_columns(
        pl.lit("x").alias("_hash"), pl.lit(value=True).alias("deleted")
    )
    ledger = Ledger(tmp_path / "orders")
    encoded = Encoder(orders, SCHEMA_ID).encode(rows.with_row_index("_row"))
    for key, value in zip(encoded.keys, encoded.values, strict=True):
        ledger.broker.append(TOPIC, value, key=key)
    under = RowCodec(orders, SCHEMA_ID, lookup=lambda _id: orders.text)
    taken = processes.take(ledger, under, mode="latest", clock=ledger.clock)
    assert taken.rows_total == 2
    table = ledger.table()
    found = table.dataset(1).to_table().sort_by("id")
    assert found.select(["id", "_hash", "deleted"]).to_pylist() == [
        {"id": each, "_hash": "x", "deleted": True} for each in ("a", "b")
    ]
