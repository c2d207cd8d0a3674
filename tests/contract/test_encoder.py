"""What may be published under a contract, and what becomes of a row that may not."""

import json
import math
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater.contract import Contract, Decoder, Encoder, misfits, parse_contract
from headwater.errors import DeclarationError
from headwater.model import Code, SchemaRef

ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
NESTED = {"type": "record", "name": "N", "fields": [{"name": "x", "type": "int", "doc": "d"}]}


def contract(*types: Any, defaults: dict[str, Any] | None = None, key: Any = None) -> Contract:
    """A contract of fields f0, f1 ... of these types."""
    fields = [{"name": f"f{place}", "type": each, "doc": "d"} for place, each in enumerate(types)]
    for each in fields:
        if each["name"] in (defaults or {}):
            each["default"] = (defaults or {})[each["name"]]
    schema = {"type": "record", "name": "R", "fields": fields} | ({"key": key} if key else {})
    return parse_contract(json.dumps(schema), topic="a.b", version=1, path=Path("v1.avsc"))


BROKEN: dict[str, tuple[Any, list[Any], pl.DataType, str]] = {
    "null": ("int", [1, None], pl.Int32(), "f0 is null"),
    "too large": ("int", [1, 2**40], pl.Int64(), "f0 does not fit the contract's Int32"),
    "no double": ("double", [1, 2**53 + 1], pl.Int64(), "f0 does not fit the contract's Float64"),
    "symbol": (ENUM, ["A", "C"], pl.String(), "f0 does not fit the contract's Enum"),
    "symbol inside": (
        {"type": "array", "items": ENUM},
        [["A"], ["B", "C"]],
        pl.List(pl.String()),
        "f0 does not fit",
    ),
    "microseconds": (
        {"type": "long", "logicalType": "timestamp-millis"},
        [datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
        pl.Datetime("us", "UTC"),
        "f0 does not fit",
    ),
    "a finer time": (
        {"type": "int", "logicalType": "time-millis"},
        [time(1), time(1, 0, 0, 1)],
        pl.Time(),
        "f0 is finer than time-millis",
    ),
    "more digits": (
        {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1},
        [Decimal("12.3"), Decimal("1234.5")],
        pl.Decimal(10, 1),
        "f0 does not fit",
    ),
    "size": (
        {"type": "fixed", "name": "F", "size": 2},
        [b"ab", b"abc"],
        pl.Binary(),
        "f0 is not 2 bytes long",
    ),
    "uuid": (
        {"type": "string", "logicalType": "uuid"},
        ["00112233-4455-6677-8899-aabbccddeeff", "x"],
        pl.String(),
        "f0 is not a uuid",
    ),
    "null inside": (
        {"type": "array", "items": NESTED},
        [[{"x": 1}], [{"x": 1}, {"x": None}]],
        pl.List(pl.Struct({"x": pl.Int32()})),
        "f0[].x is null",
    ),
    "null item": ({"type": "array", "items": "int"}, [[1], [None]], pl.List(pl.Int32()), "f0[] is"),
    "a key twice": (
        {"type": "map", "values": "int"},
        [[{"key": "a", "value": 1}], [{"key": "a", "value": 1}, {"key": "a", "value": 2}]],
        pl.List(pl.Struct({"key": pl.String(), "value": pl.Int32()})),
        "f0{} has a key twice",
    ),
    "no key": (
        {"type": "map", "values": "int"},
        [[{"key": "a", "value": 1}], [{"key": None, "value": 1}]],
        pl.List(pl.Struct({"key": pl.String(), "value": pl.Int32()})),
        "f0{} has a null key",
    ),
}


@pytest.mark.parametrize(("type_", "values", "kind", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_a_row_that_breaks_the_contract_is_quarantined_with_the_field(
    type_: Any, values: list[Any], kind: pl.DataType, reason: str
) -> None:
    """CONTRACT_VIOLATION for that row, and its neighbour is published unharmed."""
    frame = pl.DataFrame(
        {"f0": pl.Series(values, dtype=kind), "_row": pl.Series([7, 9], dtype=pl.UInt32)}
    )
    tried = contract(type_)
    encoded = Encoder(tried, 1).encode(frame)
    (refused,) = encoded.quarantined
    assert (refused.row, refused.code) == (9, Code.CONTRACT_VIOLATION)
    assert refused.message.startswith(reason)
    assert encoded.rows.to_list() == [7]
    again = Decoder(tried, lambda _: tried.text).decode(encoded.values)
    assert again.frame["f0"].to_list() == values[:1]


MISFITS: dict[str, tuple[Any, pl.DataType, str | None]] = {
    "wider": ("long", pl.Int16(), None),
    "narrower, by value": ("int", pl.Int64(), None),
    "whole to float": ("double", pl.Int64(), None),
    "single to double": ("double", pl.Float32(), None),
    "double to single": ("float", pl.Float64(), "f0 is Float64, the contract wants Float32"),
    "float to whole": ("int", pl.Float64(), "f0 is Float64, the contract wants Int32"),
    "text to number": ("int", pl.String(), "f0 is String, the contract wants Int32"),
    "text to enum": (ENUM, pl.String(), None),
    "other unit": (
        {"type": "long", "logicalType": "timestamp-millis"},
        pl.Datetime("us", "UTC"),
        None,
    ),
    "other zone": (
        {"type": "long", "logicalType": "timestamp-millis"},
        pl.Datetime("ms", "Europe/Paris"),
        None,
    ),
    "no zone": (
        {"type": "long", "logicalType": "timestamp-millis"},
        pl.Datetime("ms"),
        "f0 is Datetime",
    ),
    "only nulls": (["null", "int"], pl.Null(), None),
    "inside": ({"type": "array", "items": "int"}, pl.List(pl.String()), "f0[] is String"),
    "missing inside": (NESTED, pl.Struct({"y": pl.Int32()}), "the field f0.x is missing"),
}


@pytest.mark.parametrize(("type_", "given", "reason"), MISFITS.values(), ids=list(MISFITS))
def test_types_are_compared_before_any_data(
    type_: Any, given: pl.DataType, reason: str | None
) -> None:
    """What no value could make fit is a mistake; what values decide is left to them."""
    reasons = misfits(contract(type_), {"f0": given})
    assert bool(reasons) == (reason is not None)
    if reason is not None:
        assert reasons[0].startswith(reason)
    else:
        encoded = Encoder(contract(type_), 1).encode(pl.DataFrame(schema={"f0": given}))
        assert encoded.values == []


def test_columns_missing_or_unknown_are_one_error_that_names_all_of_them() -> None:
    """A mistake of the declaration, not of a row; Headwater's own columns are passed over."""
    frame = pl.DataFrame({"f0": [1], "extra": [1], "_row": [0]})
    with pytest.raises(DeclarationError) as refused:
        Encoder(contract("int", "int"), 1).encode(frame)
    assert [each.code for each in refused.value.problems] == ["CONTRACT_MISMATCH"] * 2
    assert "extra" in str(refused.value)
    assert "f1" in str(refused.value)


def test_a_missing_column_takes_the_contracts_default() -> None:
    """Optional fields need not be computed."""
    tried = contract(
        "int",
        ["null", "string"],
        {"type": "array", "items": "int"},
        defaults={"f1": None, "f2": [1, 2]},
    )
    encoded = Encoder(tried, 1).encode(pl.DataFrame({"f0": [5, 6]}, schema={"f0": pl.Int32}))
    frame = Decoder(tried, lambda _: tried.text).decode(encoded.values).frame
    assert frame.rows() == [(5, None, [1, 2], 0), (6, None, [1, 2], 1)]


def test_another_time_zone_is_the_same_instant() -> None:
    """Published in UTC."""
    tried = contract({"type": "long", "logicalType": "timestamp-millis"})
    at = pl.Series("f0", [datetime(2013, 1, 1, tzinfo=UTC)]).dt.convert_time_zone("Europe/Paris")
    encoded = Encoder(tried, 1).encode(at.to_frame())
    frame = Decoder(tried, lambda _: tried.text).decode(encoded.values).frame
    assert frame["f0"].to_list() == [datetime(2013, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("type_", "kind", "value", "key"),
    [
        ("string", pl.String(), "é", "é".encode()),
        ("int", pl.Int32(), -2, struct.pack(">i", -2)),
        ("long", pl.Int64(), 2**40, struct.pack(">q", 2**40)),
        ({"type": "int", "logicalType": "date"}, pl.Date(), date(1970, 1, 3), struct.pack(">i", 2)),
        (ENUM, pl.String(), "B", b"B"),
    ],
)
def test_a_key_is_what_kafkas_own_serializers_write(
    type_: Any, kind: pl.DataType, value: Any, key: bytes
) -> None:
    """So that other clients' keys of the same value meet in the same partition."""
    frame = pl.DataFrame({"f0": pl.Series([value], dtype=kind)})
    assert Encoder(contract(type_, key="f0"), 1).encode(frame).keys == [key]


def test_a_key_of_several_fields_is_framed_avro_in_the_keys_order() -> None:
    """Under the id of the key's own schema."""
    tried = contract("string", "int", "boolean", key=["f1", "f0"])
    frame = pl.DataFrame({"f0": ["a"], "f1": [3], "f2": [True]}, schema_overrides={"f1": pl.Int32})
    assert Encoder(tried, 1, key_schema_id=9).encode(frame).keys == [b"\0\0\0\0\x09\x06\2a"]


def test_without_a_key_keys_are_null() -> None:
    """Kafka spreads them."""
    assert Encoder(contract("int"), 1).encode(pl.DataFrame({"f0": [1, 2]})).keys == [None, None]


@pytest.mark.parametrize("schema_id", [1, 0x7F, 0x80, 0x7F800001, 0x0180FF7F, 0xFFFFFFFF])
@pytest.mark.parametrize("type_", ["int", "bytes"])
def test_every_schema_id_is_framed_byte_for_byte(schema_id: int, type_: Any) -> None:
    """Also those whose bytes look like no number at all."""
    frame = pl.DataFrame({"f0": [1] if type_ == "int" else [b"a"]})
    (value,) = Encoder(contract(type_), schema_id).encode(frame).values
    assert value[:5] == b"\0" + schema_id.to_bytes(4, "big")
    tried = contract(type_)
    schemas: dict[SchemaRef, str] = {schema_id: tried.text}
    decoder = Decoder(tried, schemas.__getitem__)
    assert decoder.decode([value, value]).frame.height == 2


def test_bodies_have_one_encoding_per_value() -> None:
    """For hashes: NaN is NaN, zero is zero, at any depth; the published bytes stay as computed."""
    tried = contract("double", {"type": "array", "items": "float"})
    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
    frame = pl.DataFrame(
        {"f0": [math.nan, other_nan, 0.0, -0.0], "f1": [[0.0], [0.0], [-0.0], [0.0]]},
        schema={"f0": pl.Float64, "f1": pl.List(pl.Float32)},
    )
    encoder = Encoder(tried, 1)
    bodies = encoder.bodies(frame).values
    assert bodies[0] == bodies[1]
    assert bodies[2] == bodies[3]
    assert len(set(encoder.encode(frame).values)) == 4
