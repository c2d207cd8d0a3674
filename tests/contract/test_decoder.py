"""What becomes of each kind of bad input, and of writers that are not the reader."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pyruhvro
import pytest
from tests.contract.writing import FRAME, contract, decoder, written

from headwater.clock import ManualClock
from headwater.contract import Contract, Decoder
from headwater.contract.expansion import MAX_SLOTS
from headwater.errors import UnavailableError, UnknownSchemaError
from headwater.model import Code, SchemaRef

NESTED = {"type": "record", "name": "N", "fields": [{"name": "x", "type": "int", "doc": "d"}]}
BAD: dict[str, tuple[Any, bytes | None, Code, str]] = {
    "null value": ("int", None, Code.EMPTY_VALUE, ""),
    "no bytes": ("int", b"", Code.EMPTY_VALUE, ""),
    "other magic": ("int", b"\1\0\0\0\1\2", Code.BAD_MAGIC, ""),
    "four bytes": ("int", b"\0\0\0\0", Code.TRUNCATED_FRAME, ""),
    "no body": ("int", FRAME, Code.AVRO_LENGTH, "f0"),
    "text beyond the end": ("string", FRAME + b"\x08ab", Code.AVRO_LENGTH, "f0"),
    "negative length": ("string", FRAME + b"\1", Code.AVRO_INDEX, "f0"),
    "symbol beyond": (
        {"type": "enum", "name": "E", "symbols": ["A"]},
        FRAME + b"\2",
        Code.AVRO_INDEX,
        "f0",
    ),
    "negative branch": (["null", "int"], FRAME + b"\1", Code.AVRO_INDEX, "f0"),
    "many items": (
        {"type": "array", "items": "int"},
        FRAME + b"\xfe\xff\xff\xff\x0f",
        Code.AVRO_BUDGET,
        "f0",
    ),
    "block of another size": (
        {"type": "array", "items": "int"},
        FRAME + b"\1\4\2\0\0",
        Code.AVRO_LENGTH,
        "f0",
    ),
    "eleven bytes": ("long", FRAME + b"\x80" * 10 + b"\1", Code.AVRO_VARINT, "f0"),
    "65 bits": ("long", FRAME + b"\xff" * 9 + b"\2", Code.AVRO_VARINT, "f0"),
    "33 bits": (NESTED, FRAME + b"\x80\x80\x80\x80\x20", Code.AVRO_RANGE, "f0.x"),
    "boolean 7": ("boolean", FRAME + b"\7", Code.AVRO_RANGE, "f0"),
    "no uuid": (
        {"type": "string", "logicalType": "uuid"},
        FRAME + b"\4ab",
        Code.AVRO_UUID,
        "f0",
    ),
    "bytes after": ("int", FRAME + b"\2\2", Code.TRAILING_BYTES, ""),
    "no text": ({"type": "map", "values": "int"}, FRAME + b"\2\2\xff\2\0", Code.BAD_UTF8, "f0{}"),
    "a year beyond 9999": (
        {"type": "array", "items": {"type": "int", "logicalType": "date"}},
        FRAME + b"\2\xfe\xff\xff\xff\x0f\0",
        Code.BAD_TEMPORAL,
        "f0[]",
    ),
    "25 o'clock": (
        {"type": "int", "logicalType": "time-millis"},
        FRAME + b"\x80\xfa\xd9\x55",
        Code.BAD_TEMPORAL,
        "f0",
    ),
    "three digits": (
        {"type": "bytes", "logicalType": "decimal", "precision": 2},
        FRAME + b"\2\x64",
        Code.DECIMAL_OVERFLOW,
        "f0",
    ),
}


@pytest.mark.parametrize(("type_", "value", "code", "place"), BAD.values(), ids=list(BAD))
def test_bad_input_gets_its_code_and_place(
    type_: Any, value: bytes | None, code: Code, place: str
) -> None:
    """Never a payload in the message, never a neighbour harmed, on both paths."""
    tried = contract(type_)
    good = [each for each in [b"\0", b"\2a", b"\2", b"\2\1", b"\2a\2\0"] if sound(tried, each)]
    values: list[bytes | None] = [*(FRAME + each for each in good), value]
    for decode in (decoder(tried).decode, decoder(tried).decode_by_row):
        decoded = decode(values)
        assert decoded.frame["_row"].to_list() == list(range(len(good)))
        (refused,) = decoded.quarantined
        assert (refused.row, refused.code) == (len(good), code)
        assert refused.message.startswith(place)


def sound(tried: Contract, body: bytes) -> bool:
    """Whether a body is a good neighbour."""
    return not decoder(tried).decode_by_row([FRAME + body]).quarantined


def test_an_unknown_schema_id_is_asked_for_once_a_minute() -> None:
    """Bad records do not flood the registry; an id registered late is found."""
    asked: list[SchemaRef] = []
    known: dict[SchemaRef, str] = {}
    tried, clock = contract("int"), ManualClock()

    def lookup(schema_id: SchemaRef) -> str:
        asked.append(schema_id)
        if schema_id not in known:
            raise UnknownSchemaError("no such id")
        return known[schema_id]

    reader = Decoder(tried, lookup, clock=clock)
    for _ in range(3):
        (refused,) = reader.decode([FRAME + b"\2"]).quarantined
        assert refused.code is Code.UNKNOWN_SCHEMA_ID
    assert asked == [1]
    known[1] = tried.text
    clock.advance(60)
    assert reader.decode([FRAME + b"\2"]).frame["f0"].to_list() == [1]
    assert reader.decode([FRAME + b"\2"]).frame.height == 1
    assert asked == [1, 1]


def test_a_registry_that_cannot_tell_quarantines_nothing() -> None:
    """An outage is waited out, it is not the records' fault."""

    def lookup(_: SchemaRef) -> str:
        raise UnavailableError("silent")

    with pytest.raises(UnavailableError):
        Decoder(contract("int"), lookup).decode([FRAME + b"\2"])


def test_records_of_several_schemas_come_back_in_their_order() -> None:
    """An upgrade of the producer in the middle of a batch is invisible."""
    tried = contract("long")
    schemas: dict[SchemaRef, str] = {
        1: tried.text,
        2: json.dumps({"type": "record", "name": "R", "fields": [{"name": "f0", "type": "int"}]}),
    }
    values = [b"\0\0\0\0" + bytes([1 + place % 2]) + bytes([place * 2]) for place in range(50)]
    decoded = Decoder(tried, schemas.__getitem__).decode(values)
    assert decoded.frame["f0"].to_list() == list(range(50))
    assert decoded.frame["_row"].to_list() == list(range(50))


def test_one_bad_record_among_many_costs_only_itself() -> None:
    """Halving ends at the bad record, wherever it is."""
    tried = contract("string")
    values = [FRAME + b"\2a"] * 1000
    values[617] = FRAME + b"\4a"
    decoded = decoder(tried).decode(values)
    assert [each.row for each in decoded.quarantined] == [617]
    assert decoded.frame["_row"].to_list() == [row for row in range(1000) if row != 617]


def test_one_bad_record_costs_only_itself_where_all_are_near_the_bound_of_memory() -> None:
    """With zeros behind each to find it they would be beyond; none of the others may be lost."""
    tried = contract("string")
    values = [FRAME + b"\x80\2" + b"a" * 128] * 20_000
    assert len(values) * len(values[0]) > MAX_SLOTS / 2
    values[617] = values[617][:-1]
    decoded = decoder(tried).decode(values)
    assert [each.row for each in decoded.quarantined] == [617]
    assert decoded.frame.height == len(values) - 1


def test_a_legal_encoding_that_nobody_writes_is_taken() -> None:
    """Negative block counts and long numbers are Avro too."""
    tried = contract({"type": "array", "items": "int"})
    values = (FRAME + b"\4\2\4\0", FRAME + b"\3\4\2\4\0", FRAME + b"\x84\0\2\4\0")
    assert decoder(tried).decode(values).frame["f0"].to_list() == [[1, 2]] * 3


def test_of_a_map_key_written_twice_the_last_value_counts() -> None:
    """As Avro's libraries read it; both paths agree."""
    tried = contract({"type": "map", "values": "int"})
    value = FRAME + b"\4\2a\2\2a\4\0"
    for decode in (decoder(tried).decode, decoder(tried).decode_by_row):
        assert decode([value]).frame["f0"].to_list() == [[{"key": "a", "value": 2}]]


def test_a_writer_may_use_anything_in_fields_the_reader_drops() -> None:
    """Recursion, wide unions, bytes: none of it is a column here."""
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "next", "type": ["null", "Node"]}, {"name": "v", "type": "bytes"}],
    }
    writer = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "tree", "type": node},
            {"name": "odd", "type": ["null", "string", {"type": "array", "items": "null"}]},
            {"name": "f0", "type": "int"},
        ],
    }
    tried = contract("long")
    record = {"tree": {"next": {"next": None, "v": b"b"}, "v": b"a"}, "odd": "x", "f0": 7}
    assert decoder(tried, writer).check(json.dumps(writer)) == []
    assert decoder(tried, writer).decode([written(writer, record)]).frame["f0"].to_list() == [7]
    deep = FRAME + b"\2" * 5000
    assert decoder(tried, writer).decode([deep]).quarantined[0].code is Code.AVRO_DEPTH


def test_what_one_byte_of_nothing_may_stand_for_is_bounded() -> None:
    """A few bytes never become a gigabyte: null items and wide null records count in the budget."""
    wide = {
        "type": "record",
        "name": "W",
        "fields": [{"name": f"w{each}", "type": "int", "doc": "d"} for each in range(500)],
    }
    tried = contract({"type": "array", "items": ["null", wide]})
    bomb = FRAME + b"\xd0\x0f" + b"\0" * 1001
    assert decoder(tried).decode([bomb]).quarantined[0].code is Code.AVRO_BUDGET


REASONS: dict[str, tuple[Any, Any, str]] = {
    "missing": ("int", None, "f0: the writer has no such field and it has no default"),
    "another type": ("int", "string", "f0: the writer's string is no int"),
    "narrower": ("int", "long", "f0: the writer's long is no int"),
    "another meaning": (
        {"type": "long", "logicalType": "timestamp-micros"},
        {"type": "long", "logicalType": "timestamp-millis"},
        "f0: the writer's timestamp-millis is no timestamp-micros",
    ),
    "another scale": (
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 1},
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
        "f0: the writer's decimal(5, 2) is no decimal(5, 1)",
    ),
    "another name": (NESTED, {**NESTED, "name": "Other"}, "f0: the writer's record Other is no"),
}


@pytest.mark.parametrize(("reader", "writer", "reason"), REASONS.values(), ids=list(REASONS))
def test_a_writer_that_can_never_be_read_is_told_at_start(
    reader: Any, writer: Any, reason: str
) -> None:
    """`check` says why, and each of its records is quarantined as INCOMPATIBLE_SCHEMA."""
    fields = [{"name": "f0", "type": writer}] if writer else [{"name": "g", "type": "int"}]
    schema = {"type": "record", "name": "R", "fields": fields}
    tried = decoder(contract(reader), schema)
    (told,) = tried.check(json.dumps(schema))
    assert told.startswith(reason)
    refused = tried.decode([FRAME + b"\2", FRAME]).quarantined
    assert [each.code for each in refused] == [Code.INCOMPATIBLE_SCHEMA] * 2


@pytest.mark.parametrize(
    "text", ["oops", '{"type": "array", "items": "int"}', '{"type": "record"}']
)
def test_a_schema_that_is_no_record_can_never_be_read(text: str) -> None:
    """What the registry holds is not trusted either."""
    assert decoder(contract("int")).check(text)


def test_a_renamed_field_is_read_by_its_alias_and_a_default_may_be_bytes() -> None:
    """Aliases are the reader's; JSON says bytes one code point each."""
    fields: list[Any] = [
        {"name": "new", "aliases": ["old"], "type": "int", "doc": "d"},
        {"name": "raw", "type": "bytes", "default": "\u00ff", "doc": "d"},
    ]
    writer = {"type": "record", "name": "R", "fields": [{"name": "old", "type": "int"}]}
    frame = decoder(contract(fields=fields), writer).decode((FRAME + b"\2",)).frame
    assert frame.row(0) == (1, b"\xff", 0)


def test_null_in_a_required_field_refuses_the_row_alone() -> None:
    """A writer that may write null is taken until it does."""
    writer = {"type": "record", "name": "R", "fields": [{"name": "f0", "type": ["null", "int"]}]}
    decoded = decoder(contract("int"), writer).decode([FRAME + b"\2\4", FRAME + b"\0"])
    assert decoded.frame["f0"].to_list() == [2]
    assert decoded.quarantined[0].code is Code.INCOMPATIBLE_SCHEMA
    assert decoded.quarantined[0].message.startswith("f0 is null")


def test_no_values_are_an_empty_frame_of_the_right_types() -> None:
    """Types do not depend on what came."""
    assert decoder(contract("int")).decode([]).frame.schema == {"f0": pl.Int32, "_row": pl.UInt32}


def test_a_panic_of_the_columnar_library_leaves_the_row_codec_to_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A panic is no Exception, and must not end the process."""
    panic = type("PanicException", (BaseException,), {})

    def explode(*_: object) -> None:
        raise panic("not implemented")

    monkeypatch.setattr(pyruhvro, "deserialize_array", explode)
    assert decoder(contract("int")).decode([FRAME + b"\2"]).frame["f0"].to_list() == [1]


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda batch: batch.slice(0, 1), id="a row lost"),
        pytest.param(lambda batch: batch.take([1, 0]), id="rows swapped"),
    ],
)
def test_the_columnar_library_is_never_trusted(
    monkeypatch: pytest.MonkeyPatch, lie: Callable[[Any], Any]
) -> None:
    """What does not encode to its own bytes is decided row by row."""
    honest = pyruhvro.deserialize_array
    monkeypatch.setattr(pyruhvro, "deserialize_array", lambda *args: lie(honest(*args)))
    frame = decoder(contract("int")).decode([FRAME + b"\2", FRAME + b"\4"]).frame
    assert frame["f0"].to_list() == [1, 2]


def test_nothing_of_a_payload_reaches_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """The columnar library prints its panics; it is never given a reason."""
    tried = contract("string", {"type": "array", "items": ["null", NESTED]})
    values = [FRAME + b"\x0csecret" + bytes([each]) * 3 for each in range(256)]
    assert decoder(tried).decode(values).quarantined
    assert capfd.readouterr().err == ""
