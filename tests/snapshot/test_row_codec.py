"""`verify --full`: a columnar codec that misreads the log makes a snapshot that is not equal."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.snapshot import processes
from tests.snapshot.lake import TOPIC, Lake, codec

from headwater.contract.columnar import ColumnarCodec, Columns
from headwater.snapshot.verdict import Difference


def one_more(columns: Columns, row: int) -> Columns:
    """Another amount in one row."""
    amounts = columns.arrays["amount"]
    is_row = pa.array([place == row for place in range(len(amounts))])
    other = pc.if_else(is_row, pc.add(amounts, 1.0), amounts)
    return replace(columns, arrays={**columns.arrays, "amount": other})


def exchanged(columns: Columns, row: int) -> Columns:
    """Two rows with each other's amounts."""
    amounts = columns.arrays["amount"]
    places = list(range(len(amounts)))
    places[row], places[row - 1] = row - 1, row
    return replace(columns, arrays={**columns.arrays, "amount": amounts.take(pa.array(places))})


@pytest.mark.parametrize(
    ("misread", "rows"), [(one_more, [0]), (exchanged, [-1, 0])], ids=["a value", "two rows"]
)
def test_what_the_columnar_codec_misreads_is_found_row_by_row(
    misread: Callable[[Columns, int], Columns],
    rows: Sequence[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Table, record and log agree, because one codec made them all; the row codec does not."""
    decode, wanted = ColumnarCodec.decode, b"order-77"

    def wrong(self: ColumnarCodec, values: Sequence[bytes | None]) -> Columns | None:
        columns = decode(self, values)
        found = [row for row, value in enumerate(values) if value is not None and wanted in value]
        return misread(columns, found[0]) if columns is not None and found else columns

    monkeypatch.setattr(ColumnarCodec, "decode", wrong)
    lake = Lake(tmp_path / "orders")
    (record,) = (r for r in lake.broker.visible(TOPIC) if wanted in (r.value or b""))
    assert lake.verify().outcome == "equal"  # offset 100 is not among those
    verdict = processes.verifier(lake, TOPIC, codec, full=True).verify()
    assert verdict.outcome == "different"
    assert verdict.sampled == verdict.rows == 300
    assert list(verdict.differences) == [
        Difference(
            "unreadable",
            record.partition.index,
            record.offset + row,
            "the row codec reads it otherwise",
        )
        for row in rows
    ]
