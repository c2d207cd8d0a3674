"""Rows of a store: what was written is read, and nothing else is read as if it had been."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from headwater.contract import StateRows
from headwater.contract import expansion as expanding
from headwater.errors import DeclarationError, FatalError, RebuildError

WHEN = datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=UTC)
COLUMNS: dict[str, tuple[pl.DataType, Any]] = {
    "flag": (pl.Boolean(), True),
    "int8": (pl.Int8(), -128),
    "int16": (pl.Int16(), -32768),
    "int32": (pl.Int32(), -(2**31)),
    "int64": (pl.Int64(), -(2**63)),
    "uint8": (pl.UInt8(), 255),
    "uint16": (pl.UInt16(), 65535),
    "uint32": (pl.UInt32(), 2**32 - 1),
    "uint64": (pl.UInt64(), 2**64 - 1),
    "int128": (pl.Int128(), -(2**127)),
    "float32": (pl.Float32(), 0.5),
    "float64": (pl.Float64(), -0.1),
    "date": (pl.Date(), date(1899, 12, 31)),
    "time": (pl.Time(), time(23, 59, 59, 999999)),
    "millis": (pl.Datetime("ms", "UTC"), WHEN.replace(microsecond=123000)),
    "micros": (pl.Datetime("us", "UTC"), WHEN),
    "nanos": (pl.Datetime("ns"), WHEN.replace(tzinfo=None)),
    "gap": (pl.Duration("us"), timedelta(minutes=-30)),
    "text": (pl.String(), "Zürich ✈"),
    "symbol": (pl.Enum(["on", "off"]), "off"),
    "decimal": (pl.Decimal(38, 3), Decimal("-12345678901234567890123456789012345.123")),
    "sketch": (pl.Binary(), bytes(range(256))),
    "list": (pl.List(pl.Int64()), [1, None, 3]),
    "dates": (pl.List(pl.Date()), [date(2024, 1, 1), None]),
    "blobs": (pl.List(pl.Binary()), [b"\xff", None, b""]),
    "record": (pl.Struct({"at": pl.Date(), "n": pl.UInt8()}), {"at": None, "n": 7}),
    "map": (
        pl.List(pl.Struct({"key": pl.String(), "value": pl.Decimal(9, 2)})),
        [{"key": "a", "value": Decimal("1.50")}],
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_type_comes_back_as_it_was(name: str) -> None:
    """The extreme, null, and for lists the empty value survive the bytes, in the same type."""
    kind, value = COLUMNS[name]
    values = [value, None, value, *([[]] if isinstance(kind, pl.List) else [])]
    frame = pl.DataFrame({name: values}, schema={name: kind})
    rows = StateRows({name: kind})
    assert_frame_equal(rows.decode(rows.encode(frame)), frame)


def test_all_types_stand_in_one_row() -> None:
    """Columns do not disturb each other, by column or row by row; other columns are left out."""
    schema = {name: kind for name, (kind, _) in COLUMNS.items()}
    frame = pl.DataFrame({name: [value] for name, (_, value) in COLUMNS.items()}, schema=schema)
    rows = StateRows(schema)
    mixed = frame.select(reversed(frame.columns)).with_columns(_row=pl.lit(1))
    assert_frame_equal(rows.decode(rows.encode(mixed)), frame)


def test_rows_of_many_megabytes_come_back_too() -> None:
    """A slice of a changelog, or a batch, may be larger than the codec takes at once."""
    rows = StateRows({"name": pl.String(), "n": pl.Int64()})
    frame = pl.DataFrame({"name": ["x" * 1000] * 9_000, "n": range(9_000)})
    assert rows.decode(rows.encode(frame)).equals(frame)


def test_no_rows_are_no_values() -> None:
    """An empty batch is encoded and decoded, with its columns."""
    rows = StateRows({"n": pl.Int64()})
    assert rows.encode(pl.DataFrame(schema={"n": pl.Int64()})) == []
    assert rows.decode([]).schema == {"n": pl.Int64()}


SMALL: dict[str, pl.DataType] = {"n": pl.Int64(), "x": pl.Float64(), "s": pl.String()}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.floats(),
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        ),
        min_size=1,
    )
)
def test_any_rows_come_back(values: list[tuple[int | None, float | None, str | None]]) -> None:
    """Whatever numbers and texts there are."""
    rows = StateRows(SMALL)
    frame = pl.DataFrame(values, schema=SMALL, orient="row")
    assert_frame_equal(rows.decode(rows.encode(frame)), frame)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_are_never_read_as_rows_of_another_length(data: st.DataObject) -> None:
    """Cut or lengthened anywhere, a value is refused by type, whichever value of a batch it is."""
    frame = pl.DataFrame({"n": [1, None], "x": [0.5, 2.0], "s": ["ab", "c"]}, schema=SMALL)
    rows = StateRows(SMALL)
    values = rows.encode(frame)
    which = data.draw(st.sampled_from([0, 1]))
    end = data.draw(st.integers(0, len(values[which]) - 1))
    extra = data.draw(st.binary(min_size=1, max_size=3))
    for damaged in (values[which][:end], values[which] + extra):
        with pytest.raises(RebuildError):
            rows.decode([*values[:which], damaged, *values[which + 1 :]])


@pytest.mark.parametrize("inner", [pl.String(), pl.List(pl.Binary())])
def test_bytes_that_are_not_a_row_ask_for_a_rebuild(inner: pl.DataType) -> None:
    """By column and row by row alike: another union branch, text that is no UTF-8, no bytes."""
    rows = StateRows({"s": inner})
    frame = rows.encode(pl.DataFrame({"s": [None]}, schema={"s": inner}))[0][:5]
    for damaged in (b"", frame, frame + b"\x04", frame + b"\x02\x02", frame + b"\x02\x01"):
        with pytest.raises(RebuildError):
            rows.decode([damaged])
    if inner == pl.String():
        with pytest.raises(RebuildError):
            rows.decode([frame + b"\x02\x02\xff"])


def test_sketches_that_are_no_base64_ask_for_a_rebuild() -> None:
    """The text that stands for bytes is checked like any other content."""
    rows = StateRows({"b": pl.Binary()})
    text = StateRows({"b": pl.String()}).encode(pl.DataFrame({"b": ["?!"]}))[0]
    with pytest.raises(RebuildError):
        rows.decode([rows.encode(pl.DataFrame({"b": [b""]}))[0][:5] + text[5:]])


@pytest.mark.parametrize("kind", [pl.Int64(), pl.List(pl.Binary())])
def test_a_format_from_the_future_stops_the_process(kind: pl.DataType) -> None:
    """A rebuild would not help: the changelog holds the same bytes."""
    rows = StateRows({"n": kind})
    value = rows.encode(pl.DataFrame({"n": [None]}, schema={"n": kind}))[0]
    with pytest.raises(FatalError) as refused:
        rows.decode([value, b"\1" + value[1:]])
    assert refused.value.code == "STATE_FORMAT"


@pytest.mark.parametrize("kind", [pl.Int64(), pl.List(pl.Binary())])
def test_rows_of_other_columns_stop_the_process(kind: pl.DataType) -> None:
    """Same bytes, other meaning: a renamed or retyped column is never read as another."""
    written = StateRows({"least": kind, "most": kind})
    values = written.encode(pl.DataFrame({"least": [None], "most": [None]}, schema=written.columns))
    for other in ({"most": kind, "least": kind}, {"least": kind, "most": pl.Datetime("us")}):
        with pytest.raises(FatalError) as refused:
            StateRows(other).decode(values)
        assert refused.value.code == "STATE_COLUMNS"


def test_an_enum_may_gain_symbols_but_not_lose_them() -> None:
    """Symbols are written as text, so their order does not matter either."""
    held = StateRows({"s": pl.Enum(["a", "b"])})
    values = held.encode(pl.DataFrame({"s": ["b"]}, schema=held.columns))
    assert StateRows({"s": pl.Enum(["c", "b", "a"])}).decode(values)["s"].to_list() == ["b"]
    with pytest.raises(FatalError) as refused:
        StateRows({"s": pl.Enum(["a"])}).decode(values)
    assert refused.value.code == "STATE_COLUMNS"


def test_the_bytes_are_those_of_every_release() -> None:
    """State outlives releases: one value is pinned byte by byte."""
    rows = StateRows({"n": pl.Int64(), "at": pl.Datetime("ms", "UTC"), "s": pl.String()})
    frame = pl.DataFrame({"n": [-1], "at": [1], "s": [None]}, schema_overrides={"s": pl.String()})
    (value,) = rows.encode(frame.cast({"at": pl.Datetime("ms", "UTC")}))
    assert value.hex() == "00cde6ace20201020200"


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"a b": pl.Int64()},
        {"o": pl.Object()},
        {"n": pl.Null()},
        {"s": pl.Struct([])},
        {"s": pl.List(pl.Struct({"ü": pl.Int64()}))},
        {"a": pl.Array(pl.Int64(), 2)},
    ],
)
def test_columns_that_no_store_can_hold_are_a_mistake_of_the_declaration(
    columns: dict[str, pl.DataType],
) -> None:
    """Found when the store is declared, not when the first row comes."""
    with pytest.raises(DeclarationError):
        StateRows(columns)


def test_a_frame_of_other_types_is_not_cast() -> None:
    """A cast could lose; who writes has the store's types."""
    with pytest.raises(TypeError, match="Int32"):
        StateRows({"n": pl.Int64()}).encode(pl.DataFrame({"n": [1]}, schema={"n": pl.Int32()}))
    with pytest.raises(TypeError):
        StateRows({"n": pl.Int64()}).encode(pl.DataFrame({"m": [1]}))


def test_rows_with_long_lists_are_read_however_many_there_are() -> None:
    """The codec takes four million slots at once: what a few hundred sketches have."""
    rows = StateRows({"hashes": pl.List(pl.Int64())})
    least = pl.int_range(2**62, 2**62 + 4097, eager=True).implode()
    frame = pl.DataFrame({"hashes": pl.concat([least] * 120)})
    values = rows.encode(frame)
    assert rows.decode(values).equals(frame)
    with pytest.raises(RebuildError):
        rows.decode([*values, values[0][:-9]])


def test_many_rows_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the columns of all at once might be too large; a bad one among them is found."""
    rows = StateRows({"n": pl.Int64()})
    frame = pl.DataFrame({"n": range(100)})
    values = rows.encode(frame)
    monkeypatch.setattr(expanding, "MAX_SLOTS", 40)
    assert rows.decode(values).equals(frame)
    with pytest.raises(RebuildError):
        rows.decode([*values[:70], values[70][:-1], *values[71:]])
