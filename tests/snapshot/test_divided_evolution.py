"""Divided tables whose contract gets new versions, and what readers are given of them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tests.snapshot.formats import FORMATS
from tests.snapshot.test_schema_evolution import (
    CITY,
    FEE,
    PLACE,
    TOWN,
    World,
    order,
    orders,
)
from tests.snapshot.versions import TOPIC

from headwater.contract import Contract, Decoder, parse_contract
from headwater.errors import ReadRefusedError, StartRefusedError
from headwater.model import Partition, Position
from headwater.ports import CommitRecord, DaysClosed
from headwater.reader.log_order import in_log_order
from headwater.reader.sql import Query
from headwater.snapshot.notices import Place, encoded, notice_contract
from headwater.snapshot.statistics import TableStatistics
from headwater.snapshot.statistics_text import from_bytes

MODES = ["append", "latest"]


def dated(version: int, at: str, *fields: dict[str, Any]) -> Contract:
    """A version of orders whose event time is called so."""
    time = {"name": at, "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "d"}
    if at != "at":
        time["aliases"] = ["at"]
    named = [{"name": "id", "type": "string", "doc": "d"}, time]
    listed = [*named, *({"doc": "d", **each} for each in fields)]
    schema = {"type": "record", "name": "R", "key": "id", "eventTime": at, "fields": listed}
    path = Path(f"v{version}.avsc")
    return parse_contract(json.dumps(schema), topic=TOPIC, version=version, path=path)


def varint(number: int) -> bytes:
    """A long as Avro has it."""
    left, found = number << 1, bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


def event(key: str, day: int, *fields: int | str) -> tuple[bytes, bytes]:
    """An event of a day of 1970, at its second hour."""
    name, body = order(key)
    written = order("", *fields)[1][1:]  # without the key
    return name, body + varint(day * 86_400_000 + 7_200_000) + written


def days(made: World) -> Mapping[str, date]:
    """The day of each row, as its file has it."""
    return {str(row["id"]): row["_date"] for row in made.held().values()}  # type: ignore[misc]  # of objects


def statistics(made: World) -> TableStatistics:
    """Those of the newest commit."""
    record = made.table().commits()[-1][1]
    assert isinstance(record, CommitRecord)
    content = made.table().statistics(record.statistics or "")
    assert content is not None
    return from_bytes(content)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("format_", ["memory", *FORMATS])
def test_a_renamed_column_divides_the_table_on_under_its_first_name(
    tmp_path: Path, mode: str, format_: str
) -> None:
    """Folders and the table's log keep it; readers have today's name."""
    one, two = orders(1, CITY), orders(2, TOWN, FEE)
    made = World(mode, format_, tmp_path, by="city")
    made.publish(one, [order("a", "Ulm"), order("b", "Jena"), order("c", "Jena")])
    made.take(one)
    made.by = "town"
    made.publish(two, [order("b", "Bonn", 6), order("d", "Ulm", 5)])
    assert made.take(two).commits == 1
    table = made.table()
    assert table.divided_by == "city"
    for file in table.files():
        rows = [row for batch in table.scan(file.name) for row in batch.to_pylist()]
        assert {row["city"] for row in rows} == {file.value}
    verdict = made.verify()
    assert (verdict.outcome, verdict.differences) == ("equal", ())
    expected = made.expected(two)
    snapshot = made.product(two).snapshot()
    frames = pl.concat([frame for frame, _, _ in snapshot.frames()]).sort(PLACE)
    assert frames.rows() == expected.rows()
    town = snapshot.lazy().filter(pl.col("town") == "Ulm").collect()
    assert sorted(town["id"]) == ["a", "d"]
    told = statistics(made).columns["town"]
    assert (told.nulls, told.least, told.greatest) == (0, "Bonn", "Ulm")
    assert made.take(two).version is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("format_", ["memory", *FORMATS])
def test_the_day_of_an_event_stays_beside_every_version(
    tmp_path: Path, mode: str, format_: str
) -> None:
    """Also of rows that are written anew, and where the event time has another name."""
    one, two = dated(1, "at", CITY), dated(2, "placed", TOWN, FEE)
    made = World(mode, format_, tmp_path, by="_date")
    made.publish(one, [event("a", 1, "Ulm"), event("b", 2, "Jena"), event("c", 2, "Jena")])
    made.take(one)
    assert made.verify().outcome == "equal"
    made.publish(two, [event("d", 3, "Bonn", 6), event("e", 1, "Ulm", 5)])
    made.take(two)
    expected = {key: date(1970, 1, 1 + n) for key, n in zip("abcde", (1, 2, 2, 3, 1), strict=True)}
    assert days(made) == expected
    table = made.table()
    assert {file.value for file in table.files()} == {str(each) for each in expected.values()}
    verdict = made.verify()
    assert (verdict.outcome, verdict.differences) == ("equal", ())
    snapshot = made.product(two).snapshot()
    names = ["id", "placed", "town", "fee", "_partition", "_offset", "_timestamp", "_date"]
    assert snapshot.schema.names == names
    frame = snapshot.lazy().collect()
    assert frame.columns == names
    assert dict(frame.select("id", "_date").rows()) == expected
    assert (
        snapshot.lazy().select("_date", "id").collect().rows() == frame.select("_date", "id").rows()
    )
    assert sorted(snapshot.duckdb().project("id, _date").fetchall()) == sorted(expected.items())
    assert "_date" not in next(frame for frame, _, _ in snapshot.frames()).columns
    assert list(statistics(made).columns) == ["id", "placed", "town", "fee"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_lazy_frame_opens_only_the_files_of_a_value(tmp_path: Path, format_: str) -> None:
    """All others may be gone."""
    one = orders(1, TOWN)
    made = World("append", format_, tmp_path, by="town")
    made.publish(one, [order("a", "Ulm"), order("b", "Jena"), order("c", "Jena")])
    made.take(one)
    lazy = made.product(one).snapshot().lazy()
    for file in tmp_path.rglob("town=Jena/*.parquet"):
        file.unlink()
    wanted = (pl.col("town") == "Ulm") & (pl.col("_offset") >= 0)
    assert lazy.filter(wanted).collect()["id"].to_list() == ["a"]
    with pytest.raises(ReadRefusedError, match="Begin again"):
        lazy.filter(pl.col("town") != "Ulm").collect()


@pytest.mark.parametrize("mode", MODES)
def test_a_dividing_column_becomes_wider(tmp_path: Path, mode: str) -> None:
    """Iceberg alone makes columns wider: files of both types are read by value."""
    number: dict[str, Any] = {"name": "n", "type": "int"}
    one, two = orders(1, number), orders(2, {**number, "type": "long"})
    made = World(mode, "iceberg", tmp_path, by="n")
    made.publish(one, [order("a", 5), order("b", 6)])
    made.take(one)
    name, body = order("c")
    made.publish(two, [(name, body + varint(2**40)), order("d", 5)])
    made.take(two)
    assert {file.value for file in made.table().files()} == {"5", "6", str(2**40)}
    verdict = made.verify()
    assert (verdict.outcome, verdict.differences) == ("equal", ())
    snapshot = made.product(two).snapshot()
    found = snapshot.lazy().filter(pl.col("n") == 5).collect()
    assert sorted(found["id"]) == ["a", "d"]
    assert snapshot.lazy().filter(pl.col("n") == 2**40).collect()["id"].to_list() == ["c"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", [None, "town", "_date"])
def test_a_table_whose_column_was_dropped_asks_for_another(
    tmp_path: Path, mode: str, by: str | None
) -> None:
    """A new field of another name is not the column by which it was divided."""
    town = {**CITY, "name": "town", "default": ""}
    one, two = dated(1, "at", {**CITY, "default": ""}), dated(2, "at", town)
    made = World(mode, "memory", tmp_path, by="city")
    made.publish(one, [event("a", 1, "Ulm")])
    made.take(one)
    made.by = by
    made.publish(two, [event("b", 1, "Ulm")])
    with pytest.raises(StartRefusedError, match="is divided by city") as refused:
        made.take(two)
    assert refused.value.code == "SNAPSHOT_DIVISION"
    assert len(made.table().commits()) == 1


def test_statistics_of_a_divided_table_count_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of mode latest, where files of many values share a bucket, and some buckets stay."""
    monkeypatch.setattr("headwater.snapshot.latest.bucket_count", lambda *_: 4)
    one = orders(1, CITY)
    made = World("latest", "delta", tmp_path, by="city")
    keys = [f"k{n}" for n in range(40)]
    made.publish(one, [order(key, ("Ulm", "Bonn", "Jena")[n % 3]) for n, key in enumerate(keys)])
    made.take(one)
    for key in ("k0", "k1"):
        made.publish(one, [order(key, "Zug")])
        made.take(one)
        found = statistics(made)
        held = pl.DataFrame(list(made.held().values()))
        assert found.rows == found.columns["id"].rows == 40
        city = found.columns["city"]
        assert (city.rows, city.greatest) == (40, held["city"].max())
        assert city.distinct is not None
        assert city.distinct.estimate().value == held["city"].n_unique()


def test_live_queries_have_the_day_of_both_parts(tmp_path: Path) -> None:
    """Of the snapshot it is the table's, of the log that of the event time."""
    one = dated(1, "at", CITY)
    made = World("append", "delta", tmp_path, by="_date")
    made.publish(one, [event("a", 1, "Ulm"), event("b", 2, "Jena")])
    made.take(one)
    made.publish(one, [event("c", 2, "Bonn")])
    text = "SELECT _date, count(*) AS n FROM 'a.b' GROUP BY _date ORDER BY _date"
    found = pa.Table.from_batches(
        list(Query(text, lambda _name: made.product(one), is_live=True).rows())
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (date(1970, 1, 2), 1),
        (date(1970, 1, 3), 2),
    ]


def test_a_backfill_reads_a_divided_table_in_the_order_of_the_log(tmp_path: Path) -> None:
    """Files of several values overlap in their offsets."""
    one = dated(1, "at", CITY)
    made = World("append", "delta", tmp_path, by="_date")
    for _ in range(2):
        made.publish(one, [event(f"k{n}", n % 3, "Ulm") for n in range(30)])
        made.take(one)
    snapshot = made.product(one).snapshot()
    found = 0
    for index in range(2):
        start = Position(Partition(TOPIC, index), 0)
        rows = pl.concat(list(in_log_order(snapshot, start, mode="daily")))
        assert rows["_offset"].is_sorted()
        assert rows["_offset"].is_unique().all()
        found += rows.height
    assert found == 60


def test_a_notice_tells_the_last_day_that_is_closed_and_those_corrected(tmp_path: Path) -> None:
    """Not each of the days before it, of which there may be thousands."""
    one = orders(1, CITY)
    made = World("append", "memory", tmp_path)
    made.publish(one, [order("a", "Ulm")])
    made.take(one)
    record = made.table().commits()[-1][1]
    assert isinstance(record, CommitRecord)
    told = [
        None,
        DaysClosed("2026-01-03", is_assumed=True, corrected={"2026-01-01": 2}),
        DaysClosed("2026-01-04"),
        DaysClosed(),
    ]
    records = [(1, replace(record, days=each)) for each in told]
    contract = notice_contract()
    _, values = encoded(records, Place("/there", "delta"), (1, 2))
    frame = Decoder(contract, lambda _id: contract.text).decode(values).frame
    assert frame["days"].to_list() == [
        None,
        [
            {"day": date(2026, 1, 2), "state": "assumed"},
            {"day": date(2026, 1, 1), "state": "corrected"},
        ],
        [{"day": date(2026, 1, 3), "state": "complete"}],
        [],
    ]
