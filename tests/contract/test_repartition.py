"""Records of repartition topics: what goes in comes out, and keys are those of a producer."""

from datetime import UTC, datetime

import polars as pl
import pytest

from headwater.contract import LINEAGE, ROW, RepartitionRows

COLUMNS = {
    "id": pl.String(),
    "n": pl.Int32(),
    "at": pl.Datetime("us", "UTC"),
    "tags": pl.List(pl.String()),
}
FRAME = pl.DataFrame(
    {
        "id": ["a", None, "ä"],
        "n": [1, -2, None],
        "at": [datetime(2013, 1, 1, tzinfo=UTC), None, None],
        "tags": [["x"], [], None],
    },
    schema=COLUMNS,
)
PLACES = pl.DataFrame(
    {
        "_source": [3, 3, 4],
        "_watermark": [7, None, 9],
        "_time": [None, 5, 6],
        "_partition": [0, 1, 2],
        "_offset": [10, 11, 12],
    }
)


def test_rows_come_out_as_they_went_in() -> None:
    """With what is known of their records, numbered by their places."""
    rows = RepartitionRows(COLUMNS, ["id"])
    _, values = rows.encode(FRAME, PLACES)
    moved = rows.decode(values)
    assert moved.rows.drop(ROW).equals(FRAME)
    assert moved.rows[ROW].to_list() == [0, 1, 2]
    assert moved.lineage.equals(PLACES.select(*LINEAGE))


def test_a_mark_is_no_row() -> None:
    """It tells how far a task is, or that it is idle, and keeps its place in the batch."""
    rows = RepartitionRows(COLUMNS, ["id"])
    _, values = rows.encode(FRAME, PLACES)
    moved = rows.decode([*rows.marks({4: 20, 5: None}), *values])
    assert moved.rows[ROW].to_list() == [2, 3, 4]
    assert moved.lineage["_source"].to_list() == [4, 5, 3, 3, 4]
    assert moved.lineage["_watermark"].to_list() == [20, None, 7, None, 9]
    assert moved.lineage["_offset"].head(2).null_count() == 2


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        (["id"], [b"a", b"", "ä".encode()]),
        (["n"], [b"\0\0\0\x01", b"\xff\xff\xff\xfe", b""]),
    ],
)
def test_a_plain_key_is_that_of_a_producer(key: list[str], keys: list[bytes]) -> None:
    """UTF-8, or big-endian of the type's width; a null is empty."""
    assert RepartitionRows(COLUMNS, key).encode(FRAME, PLACES)[0] == keys


def test_other_keys_are_equal_for_equal_values_alone() -> None:
    """Of a time, or of several columns, a null among them."""
    for key in (["at"], ["id", "n"]):
        rows = RepartitionRows(COLUMNS, key)
        keys, _ = rows.encode(FRAME, PLACES)
        again, _ = rows.encode(FRAME.reverse(), PLACES)
        assert keys == again[::-1]
        assert len(set(keys)) == FRAME.select(key).n_unique()


def test_no_rows_are_no_records() -> None:
    """Also of a key that has no plain form."""
    for key in (["id"], ["n"], ["at", "n"]):
        assert RepartitionRows(COLUMNS, key).encode(FRAME.clear(), PLACES.clear()) == ([], [])
