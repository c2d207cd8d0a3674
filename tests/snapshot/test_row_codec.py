"""`verify --full`: a columnar codec that misreads the log makes a snapshot that is not equal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.snapshot import processes
from tests.snapshot.lake import TOPIC, Lake, codec

from headwater.contract.columnar import ColumnarCodec
from headwater.snapshot.verdict import Difference

WANTED = b"order-77"


def one_more(amounts: Any, row: int, *, by: float = 1.0) -> Any:
    """Another amount in one row."""
    is_row = pa.array([place == row for place in range(len(amounts))])
    return pc.if_else(is_row, pc.add(amounts, by), amounts)


def one_less(amounts: Any, row: int) -> Any:
    """The same back."""
    return one_more(amounts, row, by=-1.0)


def exchanged(amounts: Any, row: int) -> Any:
    """Two rows with each other's amounts; twice, and they are as they were."""
    places = list(range(len(amounts)))
    places[row], places[row - 1] = row - 1, row
    return amounts.take(pa.array(places))


@pytest.mark.parametrize(
    ("misread", "written", "rows"),
    [(one_more, one_less, [0]), (exchanged, exchanged, [-1, 0])],
    ids=["a value", "two rows"],
)
def test_what_the_columnar_codec_misreads_is_found_row_by_row(
    misread: Callable[[Any, int], Any],
    written: Callable[[Any, int], Any],
    rows: Sequence[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Table, record and log agree, because one codec made them all; the row codec does not.

    It is wrong in both directions, so what it decoded encodes to the bytes that it was given.
    """
    read, write = ColumnarCodec._raw, ColumnarCodec.write

    def changed(columns: Sequence[Any], change: Callable[[Any, int], Any]) -> list[Any]:
        ids, amounts = columns
        row = pc.index(ids, WANTED.decode()).as_py()
        return [ids, amounts if row < 0 else change(amounts, row)]

    def misreading(self: ColumnarCodec, values: Sequence[bytes | None]) -> list[Any] | None:
        columns = read(self, values)
        return None if columns is None else changed(columns, misread)

    def miswriting(self: ColumnarCodec, columns: Sequence[Any]) -> Any:
        return write(self, changed(columns, written))

    monkeypatch.setattr(ColumnarCodec, "_raw", misreading)
    monkeypatch.setattr(ColumnarCodec, "write", miswriting)
    lake = Lake(tmp_path / "orders")
    (record,) = (r for r in lake.broker.visible(TOPIC) if WANTED in (r.value or b""))
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


def test_what_the_columnar_codec_misreads_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is wrong in one direction, columns do not encode to the log's bytes: row by row."""
    read = ColumnarCodec._raw

    def misreading(self: ColumnarCodec, values: Sequence[bytes | None]) -> list[Any] | None:
        columns = read(self, values)
        return None if columns is None else [columns[0], one_more(columns[1], 0)]

    monkeypatch.setattr(ColumnarCodec, "_raw", misreading)
    lake = Lake(tmp_path / "orders")
    monkeypatch.setattr(ColumnarCodec, "_raw", read)
    assert processes.verifier(lake, TOPIC, codec, full=True).verify().outcome == "equal"
