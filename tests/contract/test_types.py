"""docs/types.md is true: every row is a test, and what it refuses is refused."""

import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.types import IcebergType
from tests.snapshot.changes import change, columns_of
from tests.snapshot.formats import FORMATS
from tests.snapshot.storage import TOPIC, record, rows

from headwater.adapters.iceberg.columns import to_schema
from headwater.contract import (
    Contract,
    Decoder,
    Encoder,
    arrow_schema,
    from_arrow,
    parse_contract,
    to_arrow,
)
from headwater.contract.types import composite_part, key_encoding
from headwater.errors import DeclarationError
from headwater.snapshot.columns import differing

DOCUMENT = Path(__file__).parents[2] / "docs" / "types.md"
ROW = re.compile(r"^" + r"\| `(.+?)` " * 5 + r"\| (.+?) \|$", re.MULTILINE)
ROWS = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))

TEXT = "00112233-4455-6677-8899-aabbccddeeff"
NOON = datetime(2013, 1, 1, 12, 0, 0, 1000, tzinfo=UTC)
MS = 1_357_041_600_001

EXAMPLES: dict[str, tuple[Any, Any]] = {
    "boolean": (True, True),
    "int": (-5, -5),
    "long": (2**40, 2**40),
    "float": (1.5, 1.5),
    "double": (0.1, 0.1),
    "string": ("é", "é"),
    "bytes": (b"\xff", b"\xff"),
    "fixed": (b"abcd", b"abcd"),
    "enum": ("B", "B"),
    "bytes decimal": (b"\xfb\x2e", Decimal("-12.34")),
    "fixed decimal": (b"\xff\xff\xff\xfb\x2e", Decimal("-12.34")),
    "string uuid": (TEXT, TEXT),
    "fixed uuid": (bytes.fromhex(TEXT.replace("-", "")), TEXT),
    "int date": (-1, date(1969, 12, 31)),
    "int time-millis": (43_200_001, time(12, 0, 0, 1000)),
    "long time-micros": (43_200_000_001, time(12, 0, 0, 1)),
    "long timestamp-millis": (MS, NOON),
    "long timestamp-micros": (MS * 1000, NOON),
    "long timestamp-nanos": (MS * 1_000_000, NOON),
    "long local-timestamp-millis": (MS, NOON.replace(tzinfo=None)),
    "long local-timestamp-micros": (MS * 1000, NOON.replace(tzinfo=None)),
    "long local-timestamp-nanos": (MS * 1_000_000, NOON.replace(tzinfo=None)),
    "array": ([1, 2], [1, 2]),
    "map": ({"a": 1}, [{"key": "a", "value": 1}]),
    "record": ({"x": 1}, {"x": 1}),
    "union": (None, None),
}
"""What the wire holds, and what a step sees."""


def contract(type_: Any, *, key: bool = False) -> Contract:
    """A contract of one field c."""
    schema = {"type": "record", "name": "T", "fields": [{"name": "c", "type": type_, "doc": "d"}]}
    text = json.dumps(schema | ({"key": "c"} if key else {}))
    return parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))


def name_of(type_: Any) -> str:
    """What a row of the table is called in EXAMPLES."""
    if isinstance(type_, list):
        return "union"
    if isinstance(type_, str):
        return type_
    return f"{type_['type']} {type_.get('logicalType', '')}".strip()


def delta_name(kind: Any) -> str:
    """A type as Delta's documents write it."""
    if isinstance(kind, deltalake.schema.ArrayType):
        return f"array<{delta_name(kind.element_type)}>"
    if isinstance(kind, deltalake.schema.MapType):
        return f"map<{delta_name(kind.key_type)}, {delta_name(kind.value_type)}>"
    if isinstance(kind, deltalake.schema.StructType):
        inside = ", ".join(f"{each.name}: {delta_name(each.type)}" for each in kind.fields)
        return f"struct<{inside}>"
    return str(kind.type)


def iceberg_name(kind: IcebergType) -> str:
    """A type as Iceberg's documents write it, without the ids of fields."""
    return re.sub(r"-?\d+: (\w+): optional ", r"\1: ", str(kind))


def test_every_row_has_an_example_and_every_example_a_row() -> None:
    """The table is read as a whole."""
    assert [name_of(json.loads(avro)) for avro, *_ in ROWS] == list(EXAMPLES)


@pytest.mark.parametrize("row", ROWS, ids=list(EXAMPLES))
def test_a_row_tells_the_columns_of_every_format(row: Sequence[str]) -> None:
    """As the format's own library has them."""
    avro, _, delta, iceberg, parquet, _ = row
    columns = arrow_schema(contract(json.loads(avro)))
    (of_delta,) = deltalake.Schema.from_arrow(columns).fields
    assert delta_name(of_delta.type) == delta
    (of_iceberg,) = to_schema(columns).fields
    assert iceberg_name(of_iceberg.field_type) == iceberg
    file = io.BytesIO()
    pq.write_table(columns.empty_table(), file)
    # Arrow tells that the entries of a map are named like its column.
    assert str(pq.read_schema(file).field("c").type).replace(" ('c')", "") == parquet


@pytest.mark.parametrize("row", ROWS, ids=list(EXAMPLES))
def test_a_row_of_the_table_is_true(row: Sequence[str]) -> None:
    """The types are those documented, and a value passes through all of them."""
    avro, polars, *_, key = row
    type_ = json.loads(avro)
    tried = contract(type_)
    wire, seen = EXAMPLES[name_of(type_)]
    assert repr(tried.columns["c"]) == polars

    physical = {"type": "record", "name": "T", "fields": [{"name": "c", "type": type_}]}
    plain = json.loads(re.sub(r'"logicalType": "[a-z-]+"', '"x": 0', json.dumps(physical)))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain), {"c": wire})
    framed = b"\0\0\0\0\1" + out.getvalue()
    decoder = Decoder(tried, lambda _: json.dumps(physical))
    frame = decoder.decode([framed]).frame
    assert frame["c"].to_list() == [seen]
    assert frame["c"].dtype == tried.columns["c"]
    assert Encoder(tried, 1).encode(frame).values == [framed]
    stored = to_arrow(frame, tried)
    assert stored.schema == arrow_schema(tried)
    assert from_arrow(stored, tried).equals(frame.drop("_row"))

    leaf: Any = tried.record.fields[0].type
    encoding = {"utf8": "UTF-8", "int": "4 bytes", "long": "8 bytes"}.get(key_encoding(leaf) or "")
    assert (encoding or ("part" if composite_part(leaf) else "no")) == key
    if encoding == "UTF-8":
        assert Encoder(contract(type_, key=True), 1).encode(frame).keys == [str(seen).encode()]
    elif encoding is not None:
        width = int(encoding[0])
        expected = [wire.to_bytes(width, "big", signed=True)]
        assert Encoder(contract(type_, key=True), 1).encode(frame).keys == expected


@pytest.mark.parametrize("format_", FORMATS)
def test_a_value_of_every_type_comes_back_from_a_table(tmp_path: Path, format_: str) -> None:
    """In every format the columns are those of the contract, and values are what they were."""
    kinds = [json.loads(avro) for avro, *_ in ROWS]
    fields = [{"name": f"c{n}", "type": kind, "doc": "d"} for n, kind in enumerate(kinds)]
    schema = {"type": "record", "name": "T", "fields": fields}
    tried = parse_contract(json.dumps(schema), topic="a.b", version=1, path=Path("v1.avsc"))
    frame = pl.DataFrame(
        {f"c{n}": [EXAMPLES[name_of(kind)][1]] for n, kind in enumerate(kinds)},
        schema=dict(tried.columns),
    )
    stored = to_arrow(frame, tried)
    place = rows(0, 1).drop_columns("id")
    for name, column in zip(place.column_names, place.columns, strict=True):
        stored = stored.append_column(name, column)
    FORMATS[format_](tmp_path, product=TOPIC, topic=TOPIC).commit(change(stored, record(0, 1)))
    table = FORMATS[format_](tmp_path, product=TOPIC, topic=TOPIC)
    assert differing(columns_of(table), table.evolved(stored.schema)) == ""
    (file,) = table.files()
    found = pa.Table.from_batches(table.scan(file.name)).select(list(tried.columns))
    assert from_arrow(found, tried).equals(frame)


REFUSED: dict[str, Any] = {
    "union of three": ["null", "int", "string"],
    "union without null": ["int", "string"],
    "union of one": ["int"],
    "null": "null",
    "array of null": {"type": "array", "items": "null"},
    "recursion": {
        "type": "record",
        "name": "N",
        "fields": [{"name": "next", "type": ["null", "N"], "doc": "d"}],
    },
    "empty record": {"type": "record", "name": "N", "fields": []},
    "empty fixed": {"type": "fixed", "name": "F", "size": 0},
    "39 digits": {"type": "bytes", "logicalType": "decimal", "precision": 39, "scale": 0},
    "more than fits": {
        "type": "fixed",
        "name": "F",
        "size": 2,
        "logicalType": "decimal",
        "precision": 5,
    },
    "duration": {"type": "fixed", "name": "F", "size": 12, "logicalType": "duration"},
    "big-decimal": {"type": "bytes", "logicalType": "big-decimal"},
    "date over long": {"type": "long", "logicalType": "date"},
}


@pytest.mark.parametrize("type_", REFUSED.values(), ids=list(REFUSED))
def test_what_has_no_column_type_is_refused(type_: Any) -> None:
    """UNSUPPORTED_TYPE, with the file and the line of the field."""
    with pytest.raises(DeclarationError) as refused:
        contract(type_)
    (problem,) = refused.value.problems
    assert problem.code == "UNSUPPORTED_TYPE"
    assert (problem.file, problem.line) == ("v1.avsc", 1)


def test_columns_of_another_table_are_kept_as_they_are() -> None:
    """A snapshot's own columns travel beside the contract's."""
    tried = contract("int")
    table = pa.table({"c": pa.array([1], pa.int32()), "_offset": pa.array([7], pa.int64())})
    frame = from_arrow(table, tried)
    assert frame.schema == {"c": pl.Int32(), "_offset": pl.Int64()}
