"""Statistics of columns: exact where little is held, within their bounds where much is."""

import base64
import contextlib
import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from headwater.contract import Contract, parse_contract, to_arrow
from headwater.errors import DamagedError
from headwater.snapshot import statistics as module
from headwater.snapshot.column_statistics import FIRST, ColumnStatistics
from headwater.snapshot.drift import drift
from headwater.snapshot.shown import quantiles, shown
from headwater.snapshot.sketches import FREQUENT, LONGEST, Quantiles
from headwater.snapshot.statistics import TableStatistics, statistics
from headwater.snapshot.statistics_text import FORMAT, from_bytes, to_bytes

STAMP = {"type": "long", "logicalType": "timestamp-millis"}
NANOS = {"type": "long", "logicalType": "local-timestamp-nanos"}
PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
UNIT = {"type": "enum", "name": "Size", "symbols": ["small", "large"]}
CANARY = "canary-7341"


def contract(*fields: tuple[str, Any], key: Any = None, **attributes: Any) -> Contract:
    """A contract of these fields; `attributes` are those of the first."""
    made = [{"name": name, "type": kind, "doc": f"What {name} is."} for name, kind in fields]
    made[0].update(attributes)
    schema = {"type": "record", "name": "Order", "doc": "d", "fields": made}
    text = json.dumps(schema if key is None else {**schema, "key": key})
    return parse_contract(text, topic="shop.orders", version=1, path=Path("v1.avsc"))


def table(of: Contract, **columns: Any) -> pa.Table:
    """Rows as a snapshot stores them."""
    return to_arrow(pl.DataFrame(columns, schema=of.columns), of)


def column(kind: Any, values: Any, **attributes: Any) -> ColumnStatistics:
    """Of one column that may be null."""
    of = contract(("x", ["null", kind]), **attributes)
    return statistics([table(of, x=values)], of).columns["x"]


def packed(text: str) -> bytes:
    """A document as a file."""
    with pa.BufferOutputStream() as buffer:
        with pa.CompressedOutputStream(buffer, "zstd") as stream:
            stream.write(text.encode())
        return bytes(buffer.getvalue())


def unpacked(content: bytes) -> Any:
    """The document of a file."""
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        return json.loads(stream.read())


def contents(found: TableStatistics) -> str:
    """All that a file says, its sketches too."""
    document = unpacked(to_bytes(found))
    texts = [each[name] for each in document["columns"] for name in ("distinct", "quantiles")]
    texts += [each["frequent"]["sketch"] for each in document["columns"] if each["frequent"]]
    sketches = [base64.b64decode(text).decode("latin1") for text in texts if text]
    return json.dumps([document, sketches])


def count(found: ColumnStatistics) -> int:
    """Distinct values, which must be known exactly."""
    assert found.distinct is not None
    assert found.distinct.estimate().is_exact
    return round(found.distinct.estimate().value)


def most(found: ColumnStatistics) -> dict[str, tuple[int, int]]:
    """Heavy hitters with their bounds."""
    assert found.frequent is not None
    return {each.value: (each.low, each.high) for each in found.frequent.most(5)}


def test_little_is_told_exactly() -> None:
    """Rows, nulls, distinct values, bounds and how often each came."""
    found = column("string", ["b", "a", None, "b"], unit="piece")
    assert (found.rows, found.nulls, found.nans, count(found)) == (4, 1, None, 2)
    assert (found.least, found.greatest) == ("a", "b")
    assert most(found) == {"b": (2, 2), "a": (1, 1)}
    assert (found.unit, found.doc, found.quantiles) == ("piece", "What x is.", None)


@pytest.mark.parametrize("kind", ["string", "bytes"])
def test_an_empty_value_is_a_value(kind: str) -> None:
    """Which DataSketches alone would pass by; of a key it is an identity."""
    found = column(kind, ["", "a", "", None] if kind == "string" else [b"", b"a", b"", None])
    assert count(found) == 2
    of = contract(("id", "string"), key="id")
    kept = statistics([table(of, id=["", "b"])], of)
    assert kept.identities is not None
    assert kept.identities.estimate().value == 2


def test_nan_is_counted_apart_and_moves_no_bound() -> None:
    """It is neither null nor a number; infinity is one."""
    inf = float("inf")
    found = column("double", [float("nan"), 1.5, None, -inf, float("nan")], nonFinite=True)
    assert (found.rows, found.nulls, found.nans, count(found)) == (5, 1, 2, 2)
    assert (found.least, found.greatest) == (-inf, 1.5)
    assert shown(found.least, found.kind) == "-inf"


def test_nothing_but_null_has_no_bounds() -> None:
    """And no distribution, but counts."""
    found = column("double", [None, None])
    assert (found.nulls, found.least, found.greatest, count(found)) == (2, None, None, 0)
    assert quantiles(found, (0.5,)) is None


DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in (3, 1, 2)]
LOCAL = [each.replace(tzinfo=None) for each in DAYS]
HOURS = [time(hour) for hour in (3, 1, 2)]
PRICES = [Decimal("10.00"), Decimal("9.50"), Decimal("9.75")]


@pytest.mark.parametrize(
    ("kind", "values", "least", "median"),
    [
        (STAMP, DAYS, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        (NANOS, LOCAL, "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        (
            {"type": "int", "logicalType": "date"},
            [each.date() for each in LOCAL],
            "2026-01-01",
            "2026-01-02",
        ),
        ({"type": "int", "logicalType": "time-millis"}, HOURS, "01:00:00", "02:00:00"),
        ({"type": "long", "logicalType": "time-micros"}, HOURS, "01:00:00", "02:00:00"),
        (PRICE, PRICES, "9.50", 9.75),
        ("int", [3, 1, 2], 1, 2),
    ],
)
def test_times_and_decimals_are_ordered_by_their_meaning(
    kind: Any, values: list[Any], least: Any, median: Any
) -> None:
    """Shown in the words of their type; 9.50 is less than 10.00."""
    found = column(kind, values)
    assert shown(found.least, found.kind) == least
    assert quantiles(found, (0.5,)) == {"0.5": median}
    assert count(found) == 3


def test_what_means_nothing_of_a_type_is_left_out() -> None:
    """Bytes have no order, nested columns no values of their own."""
    raw = column("bytes", [b"\xff", b"\x00", None])
    assert (raw.nulls, raw.least, raw.quantiles, raw.frequent, count(raw)) == (
        1,
        None,
        None,
        None,
        2,
    )
    nested = column({"type": "array", "items": "int"}, [[1], None, []])
    assert (nested.rows, nested.nulls, nested.distinct, nested.least) == (3, 1, None, None)
    flag = column("boolean", [True, False, True])
    assert (flag.least, flag.quantiles, most(flag)) == (
        None,
        None,
        {"true": (2, 2), "false": (1, 1)},
    )
    size = column(UNIT, ["small", "large", "small"])
    assert (size.least, most(size)) == ("large", {"small": (2, 2), "large": (1, 1)})


@pytest.mark.parametrize("level", ["personal", "secret"])
def test_values_of_masked_columns_are_nowhere(level: str) -> None:
    """Neither in bounds, heavy hitters, nor in any sketch; of secret ones not even hashes are."""
    hidden = {"name": "n", "type": "string", "doc": "d", "sensitivity": level}
    inside = {"type": "record", "name": "In", "fields": [hidden]}
    of = contract(("x", "string"), ("y", inside), ("z", "double"), sensitivity=level)
    rows = table(of, x=[CANARY] * 9, y=[{"n": CANARY}] * 9, z=[1.0] * 9)
    found = statistics([rows], of)
    whole = found.merge(statistics([rows], of))
    for each in (found, whole):
        x = each.columns["x"]
        assert (x.least, x.greatest, x.quantiles, x.frequent) == (None, None, None, None)
        assert (x.distinct is None) == (level == "secret")
        assert each.columns["y"].sensitivity == level
        assert CANARY not in contents(each)
    number = column("double", [7341.5], sensitivity=level)
    assert (number.quantiles, number.least) == (None, None)


def test_a_column_that_was_masked_once_stays_so() -> None:
    """What was kept of it before is thrown away, what was not cannot come back."""
    open_, masked = contract(("x", "string")), contract(("x", "string"), sensitivity="personal")
    one = statistics([table(open_, x=[CANARY])], open_)
    other = statistics([table(masked, x=["b"])], masked)
    for whole in (one.merge(other), other.merge(one)):
        x = whole.columns["x"]
        assert (x.least, x.frequent, x.is_masked, count(x)) == (None, None, True, 2)


def test_much_is_told_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distinct values, ranks and heavy hitters lie where the bounds say, over many parts."""
    monkeypatch.setattr(module, "SLICE_ROWS", 5_000)
    of = contract(("id", "string"), ("n", "long"), ("name", "string"), key="id")
    numbers = list(range(40_000))
    # every fourth row is "big", the others are of two thousand names
    names = ["big" if n % 4 == 0 else f"name-{n % 2_000}" for n in numbers]
    rows = table(of, id=[f"key-{n}" for n in numbers], n=numbers, name=names)
    found = statistics([rows], of)
    assert found.identities is not None
    keys = found.identities.estimate()
    assert keys.low <= 40_000 <= keys.high
    assert keys.high - keys.low < 4_000
    median = quantiles(found.columns["n"], (0.5,))
    assert median is not None
    assert abs(median["0.5"] / 40_000 - 0.5) <= 2 * Quantiles.ERROR
    low, high = most(found.columns["name"])["big"]
    assert low <= 10_000 <= high
    assert high - low < 400
    one = found.columns["name"].frequent
    assert one is not None
    assert one.of("name-1").low <= 20 <= one.of("name-1").high


def test_heavy_hitters_that_are_not_fed_widen_the_bounds() -> None:
    """What is left out of a batch is never said not to be there."""
    many = [f"v{n}" for n in range(FREQUENT + 1)]
    found = column("string", [*many, "top", "top", "x" * (LONGEST + 1)])
    assert found.frequent is not None
    assert most(found) == {"top": (2, 3)}
    assert found.frequent.of("v7").high == 1
    long = column("string", ["x" * (LONGEST + 1)] * 5)
    assert most(long) == {}
    assert long.frequent is not None
    assert long.frequent.of("x" * (LONGEST + 1)).high == 5


def test_twins_are_found_behind_many_that_differ() -> None:
    """That the first ones all differ says only that it is worth asking of the others."""
    many = [f"v{n}" for n in range(FIRST + 50)]
    found = column("string", [*many, *["top"] * 5, many[0]])
    assert count(found) == len(many) + 1
    told = most(found)
    assert (told["top"], told["v0"]) == ((5, 5), (2, 2))


def test_numbers_are_counted_wherever_they_stand() -> None:
    """Far apart from their twins too; many others beside them do not hide one."""
    numbers = [each for n in range(1_000) for each in (7, n * 10)]
    found = column("long", numbers)
    assert count(found) == 1_001
    low, high = most(found)["7"]
    assert low <= 1_000 <= high
    assert found.frequent is not None
    assert found.frequent.of("10").high >= 1


def test_merging_parts_tells_what_the_whole_does() -> None:
    """Counts and bounds to the digit, sketches where they are exact."""
    of = contract(("id", "string"), ("n", ["null", "double"]), key="id")
    ids, numbers = ["a", "b", "c", "b"], [4.0, None, float("inf"), -1.0]
    whole = statistics([table(of, id=ids, n=numbers)], of)
    first = statistics([table(of, id=ids[:1], n=numbers[:1])], of)
    merged = first.merge(statistics([table(of, id=ids[1:], n=numbers[1:])], of))
    assert merged.rows == whole.rows == 4
    for name in ("id", "n"):
        one, other = whole.columns[name], merged.columns[name]
        assert (one.rows, one.nulls, one.nans) == (other.rows, other.nulls, other.nans)
        assert (one.least, one.greatest, count(one)) == (other.least, other.greatest, count(other))
        assert quantiles(one, (0.0, 0.5, 1.0)) == quantiles(other, (0.0, 0.5, 1.0))
    assert most(merged.columns["id"]) == most(whole.columns["id"])
    assert merged.identities is not None
    assert merged.identities.estimate().value == 3


def test_a_column_that_comes_later_is_null_before() -> None:
    """And one that only the earlier rows have is null after."""
    old, new = contract(("id", "string")), contract(("id", "string"), ("n", ["null", "int"]))
    first = statistics([table(old, id=["a", "b"])], old)
    later = statistics([table(new, id=["c"], n=[5])], new)
    merged = first.merge(later)
    n = merged.columns["n"]
    assert (list(merged.columns), n.rows, n.nulls, n.least) == (["id", "n"], 3, 2, 5)
    back = later.merge(first).columns["n"]
    assert (back.rows, back.nulls, back.greatest) == (3, 2, 5)


def test_a_column_of_another_type_keeps_its_counts_alone() -> None:
    """Bounds of text say nothing of numbers."""
    old, new = contract(("x", "string")), contract(("x", "double"))
    merged = statistics([table(old, x=["a"])], old).merge(statistics([table(new, x=[1.0])], new))
    x = merged.columns["x"]
    assert (x.rows, x.nulls, x.least, x.distinct, x.quantiles, x.frequent) == (
        2,
        0,
        None,
        None,
        None,
        None,
    )


def test_keys_are_compared_by_value() -> None:
    """An int and a long of one number are one identity; parts of a key do not run together."""
    small, large = contract(("a", "int"), key="a"), contract(("b", "long"), key="b")
    one = statistics([table(small, a=[1, 2, 3])], small)
    other = statistics([table(large, b=[2, 3, 4, 5])], large)
    assert one.identities is not None
    assert other.identities is not None
    assert one.identities.common(other.identities).value == 2
    pair = contract(("a", "string"), ("b", "string"), key=["a", "b"])
    both = statistics([table(pair, a=["x", "xy", "x"], b=["yz", "z", "yz"])], pair)
    assert both.identities is not None
    assert both.identities.estimate().value == 2


def test_statistics_come_back_from_their_bytes() -> None:
    """Nothing is lost on the way, infinity neither."""
    of = contract(("id", "string"), ("n", ["null", "double"]), ("at", STAMP), key="id")
    at = [datetime(2026, 1, 1, tzinfo=UTC)] * 2
    found = statistics([table(of, id=["a", "b"], n=[None, float("-inf")], at=at)], of)
    again = from_bytes(to_bytes(found))
    assert to_bytes(again) == to_bytes(found)
    assert again.columns["n"].least == float("-inf")
    assert again.key == ("id",)
    assert [each.verdict for each in drift(found, again)] == ["alike"] * 3


def test_bytes_that_are_no_statistics_are_damage() -> None:
    """Cut short, of another kind, with a broken sketch, or of a later release."""
    of = contract(("id", "string"), key="id")
    whole = to_bytes(statistics([table(of, id=["a"])], of))
    for broken in (b"", whole[: len(whole) // 2], b"{}", packed("[]"), packed('{"format": 1}')):
        with pytest.raises(DamagedError) as caught:
            from_bytes(broken)
        assert caught.value.code == "STATISTICS_DAMAGED"
    document = unpacked(whole)
    del document["digest"]  # as of an older release, else nothing below it is looked at
    document["columns"][0]["distinct"] = "AAAA"
    with pytest.raises(DamagedError):
        from_bytes(packed(json.dumps(document)))
    with pytest.raises(DamagedError) as caught:
        from_bytes(packed(json.dumps({"format": FORMAT + 1})))
    assert caught.value.code == "STATISTICS_FORMAT"


def test_a_digest_that_lost_its_name_is_no_older_release() -> None:
    """Else what rots beside it would be taken for a value."""
    of = contract(("id", "string"), key="id")
    document = unpacked(to_bytes(statistics([table(of, id=["a"])], of)))
    renamed = {"dwgest": document.pop("digest"), **document}
    with pytest.raises(DamagedError):
        from_bytes(packed(json.dumps(renamed, separators=(",", ":"))))


def test_whatever_bit_rots_no_other_statistics_are_read() -> None:
    """They are what was written, or damage: the next cut is made of them."""
    of = contract(("id", "string"), ("n", "double"), key="id")
    content = to_bytes(statistics([table(of, id=[f"{n}" for n in range(50)], n=[0.5] * 50)], of))
    told = {name: each for name, each in unpacked(content).items() if name != "digest"}
    for place in range(0, len(content), 7):
        rotten = bytearray(content)
        rotten[place] ^= 1 << (place % 8)
        with contextlib.suppress(DamagedError):
            from_bytes(bytes(rotten))
            # a digest under another name is none, as in older releases
            assert told.items() <= unpacked(bytes(rotten)).items()
