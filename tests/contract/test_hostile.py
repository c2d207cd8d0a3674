"""Bytes and schemas made to hurt: refused by guards, at once and in little memory."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from tests.contract.writing import FRAME, contract, decoder

from headwater.contract import ROW
from headwater.contract.columnar import ColumnarCodec
from headwater.contract.expansion import MAX_SLOTS
from headwater.contract.parser import MAX_DEPTH, MAX_TYPES, parse
from headwater.contract.rows import WEIGHT_AT_ONCE, RowDecoder
from headwater.contract.wire_leaves import MAX_EMPTY
from headwater.model import Code

MAX_BYTES = 4_000_000  # that a few bytes may cost while they are read
PLAIN = contract("int")


def varint(number: int) -> bytes:
    """A number as Avro writes it."""
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def writer(*types: Any) -> dict[str, Any]:
    """A writer's schema with the field of `PLAIN`, and further fields of these types."""
    more = [{"name": f"x{place}", "type": each} for place, each in enumerate(types)]
    return {"type": "record", "name": "R", "fields": [{"name": "f0", "type": "int"}, *more]}


def code_of(schema: dict[str, Any], body: bytes) -> Code | None:
    """What becomes of one record of a writer's schema; None when it is taken."""
    tried = decoder(PLAIN, schema)
    tried.decode([FRAME])  # compiles the schema
    decoder(PLAIN, writer()).decode_by_row([FRAME + b"\0"])  # what libraries load once
    tracemalloc.start()
    found = tried.decode([FRAME + body]).quarantined
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MAX_BYTES
    return found[0].code if found else None


def nulls(count: int) -> dict[str, Any]:
    """A record of so many nulls."""
    fields = [{"name": f"n{place}", "type": "null"} for place in range(count)]
    return {"type": "record", "name": "N", "fields": fields}


EMPTY_ITEMS = {
    "null": "null",
    "a fixed of no bytes": {"type": "fixed", "name": "F", "size": 0},
    "a record without fields": {"type": "record", "name": "E", "fields": []},
    "a record of nulls": nulls(20),
}


@pytest.mark.parametrize("name", EMPTY_ITEMS)
@pytest.mark.parametrize("count", [MAX_EMPTY + 1, 67_000_000, 2**63 - 1, -(2**63)])
def test_items_that_take_no_byte_are_bounded_whatever_the_record_says(
    name: str, count: int
) -> None:
    """Nothing vouches for them, so no count of them is believed."""
    items = {"type": "array", "items": EMPTY_ITEMS[name]}
    size = b"\0" if count < 0 else b""
    assert code_of(writer(items), b"\2" + varint(count) + size + b"\0") is Code.AVRO_BUDGET


def test_some_items_that_take_no_byte_are_taken() -> None:
    """An honest writer may have a few."""
    items = {"type": "array", "items": "null"}
    assert code_of(writer(items), b"\2" + varint(100) + varint(MAX_EMPTY - 100) + b"\0") is None


SELF = {"name": "next", "type": {"type": "array", "items": "N"}}
WIDE = {
    "items of many nulls": {
        "type": "array",
        "items": {**nulls(900), "fields": [*nulls(900)["fields"], {"name": "i", "type": "int"}]},
    },
    "values of many nulls": {"type": "map", "values": nulls(900)},
    "branches of many nulls": {"type": "array", "items": ["int", nulls(900)]},
    "nulls in a record inside itself": {**nulls(900), "fields": [SELF, *nulls(900)["fields"]]},
}


@pytest.mark.parametrize("name", WIDE)
def test_many_nulls_in_few_bytes_are_counted(name: str) -> None:
    """A byte that stands for a thousand nulls costs a thousand."""
    item = {
        "items of many nulls": b"\0",
        "values of many nulls": b"\0",
        "branches of many nulls": b"\2",
        "nulls in a record inside itself": b"\0",
    }
    body = b"\2" + varint(500) + item[name] * 500 + b"\0"
    assert code_of(writer(WIDE[name]), body) is Code.AVRO_BUDGET


def nested(levels: int) -> bytes:
    """A record inside itself, so often."""
    return b"\2" + b"\2" * levels + b"\0"


LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}


@pytest.mark.parametrize("levels", [MAX_DEPTH, 4_600, 100_000])
def test_nesting_beyond_the_bound_is_refused_before_a_library_sees_it(levels: int) -> None:
    """Near 4,600 levels the libraries end the process."""
    assert code_of(writer(LIST), nested(levels)) is Code.AVRO_DEPTH


def test_nesting_within_the_bound_is_taken() -> None:
    """A short list is a list."""
    assert code_of(writer(LIST), nested(MAX_DEPTH - 4)) is None


BODIES = {
    "a number of eleven bytes": (b"\xff" * 11, Code.AVRO_VARINT),
    "a number of ten bytes beyond 64 bits": (b"\xff" * 9 + b"\x7f", Code.AVRO_VARINT),
    "an int beyond 32 bits": (varint(2**31), Code.AVRO_RANGE),
    "the largest number": (varint(2**63 - 1), Code.AVRO_RANGE),
    "nothing": (b"", Code.AVRO_LENGTH),
    "a number that does not end": (b"\x80", Code.AVRO_LENGTH),
}


@pytest.mark.parametrize("name", BODIES)
def test_numbers_are_bounded(name: str) -> None:
    """In bytes, in bits and in range."""
    body, code = BODIES[name]
    assert code_of(writer(), body) is code


BLOCKS = {
    "a size beyond the record": (b"\1" + varint(2**40), Code.AVRO_LENGTH),
    "a negative size": (b"\1\1", Code.AVRO_INDEX),
    "a size larger than its items": (b"\1\6\0\0\0\0", Code.AVRO_LENGTH),
    "a size smaller than its items": (b"\3\2\0\0\0\0\0", Code.AVRO_LENGTH),
    "the least count": (varint(-(2**63)) + b"\2\0\0", Code.AVRO_BUDGET),
    "the largest count": (varint(2**63 - 1) + b"\0\0", Code.AVRO_BUDGET),
}


@pytest.mark.parametrize("kind", ["array", "map"])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_say_the_truth_about_themselves(name: str, kind: str) -> None:
    """Counts and sizes are checked against what is there."""
    body, code = BLOCKS[name]
    type_ = {"type": kind, "items": "int", "values": "int"}
    assert code_of(writer(type_), b"\2" + body) is code


def doubling(levels: int) -> dict[str, Any]:
    """A schema of few types that mean very many: each record holds the one before twice."""
    fields: list[Any] = []
    inner: str = "int"
    for level in range(levels):
        twice = [{"name": "a", "type": inner}, {"name": "b", "type": inner}]
        inner = f"D{level}"
        record = {"type": "record", "name": inner, "fields": twice}
        fields.append({"name": f"f{level}", "type": record})
    return {"type": "record", "name": "T", "fields": fields}


def test_a_schema_of_few_types_that_mean_very_many_is_refused() -> None:
    """Types count where they stand, so that 60 names cannot be 2^60 columns."""
    (mistake,) = parse(doubling(30)).mistakes
    assert f"more than {MAX_TYPES} types" in mistake.message
    assert not parse(doubling(8)).mistakes
    refused = decoder(PLAIN, doubling(60)).decode([FRAME + b"\0"]).quarantined
    assert [each.code for each in refused] == [Code.INCOMPATIBLE_SCHEMA]


def chain(levels: int) -> dict[str, Any]:
    """A schema that nests by names: each record holds the one before."""
    fields: list[Any] = []
    inner: str = "int"
    for level in range(levels):
        record = {
            "type": "record",
            "name": f"C{level}",
            "fields": [{"name": "a", "type": inner}],
        }
        inner = f"C{level}"
        fields.append({"name": f"f{level}", "type": record})
    return {"type": "record", "name": "T", "fields": fields}


def test_a_schema_that_nests_by_names_is_as_deep_as_it_means() -> None:
    """Levels count where a type stands, not where it is defined."""
    assert any("deeper" in each.message for each in parse(chain(MAX_DEPTH + 5)).mistakes)
    assert not parse(chain(MAX_DEPTH - 5)).mistakes


def test_a_name_used_many_times_is_an_honest_schema() -> None:
    """An address in a hundred places is no attack."""
    address = {
        "type": "record",
        "name": "A",
        "fields": [{"name": f"l{place}", "type": "string"} for place in range(10)],
    }
    fields = [{"name": "first", "type": address}]
    fields += [{"name": f"f{place}", "type": "A"} for place in range(500)]
    assert not parse({"type": "record", "name": "T", "fields": fields}).mistakes


def optional_records(width: int) -> dict[str, Any]:
    """An array of records of so many ints, each of which may be null."""
    fields = [{"name": f"i{place}", "type": "int"} for place in range(width)]
    record = {"type": "record", "name": "W", "fields": fields}
    return {"type": "array", "items": ["null", record]}


def test_columns_are_never_larger_than_the_bound_whatever_the_bytes_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nulls of 60 columns each: what the fast codec is given at once could not exceed it."""
    schema = writer(optional_records(60))
    tried, sizes = decoder(PLAIN, schema), []
    fast = ColumnarCodec._raw

    def watched(self: ColumnarCodec, values: Sequence[bytes | None]) -> list[Any] | None:
        sizes.append(60 * sum(len(value or b"") for value in values))
        return fast(self, values)

    monkeypatch.setattr(ColumnarCodec, "_raw", watched)
    small = FRAME + b"\2" + varint(20_000) + bytes(20_001)
    found = tried.decode([small] * 8)
    assert (found.frame[ROW].to_list(), found.quarantined) == (list(range(8)), [])
    assert len(sizes) > 1
    cut_off = FRAME + b"\2" + varint(1_000)  # zeros put behind would be its items
    found = tried.decode([small, *[cut_off] * 400])
    assert (found.frame[ROW].to_list(), len(found.quarantined)) == ([0], 400)
    assert max(sizes) <= MAX_SLOTS


def test_a_record_that_alone_could_exceed_the_bound_is_walked_first() -> None:
    """Refused for what it holds, not for what it could: honest records of its length are read."""
    schema, count = writer(optional_records(60)), 100_000
    nulls_only = FRAME + b"\2" + varint(count) + bytes(count) + b"\0"
    records = count // 61
    honest = FRAME + b"\2" + varint(records) + (b"\2" + bytes(60)) * records + b"\0"
    tried = decoder(PLAIN, schema)
    found = tried.decode([FRAME + b"\2\0", nulls_only, honest])
    assert [(each.row, each.code) for each in found.quarantined] == [(1, Code.AVRO_BUDGET)]
    assert found.frame[ROW].to_list() == [0, 2]


@pytest.mark.parametrize("width", [62, 63, 64, 65])
def test_columns_take_no_record_that_the_walk_refuses(width: int) -> None:
    """An item counts, and each column of its null: at the budget both paths are of one mind."""
    tried = decoder(PLAIN, writer(optional_records(width)))
    values = [FRAME + b"\2" + varint(1_000) + bytes(1_001)] * 3
    columnar, by_row = tried.decode(values), tried.decode_by_row(values)
    assert columnar.quarantined == by_row.quarantined
    assert columnar.frame.equals(by_row.frame)


def test_records_in_records_count_where_a_byte_may_stand_for_many() -> None:
    """By the row codec each is an object, 25 to a byte here."""
    inner: Any = "int"
    for level in range(25):
        fields = [{"name": "in", "type": inner}]
        inner = {"type": "record", "name": f"C{level}", "fields": fields}
    schema = writer({"type": "array", "items": inner})
    value = FRAME + b"\2" + varint(200_000) + bytes(200_001)
    found = decoder(PLAIN, schema).decode_by_row([value])
    assert [each.code for each in found.quarantined] == [Code.AVRO_BUDGET]


def test_the_row_codec_holds_few_objects_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes and elements, not by records alone: 100 records of 100 kB are not read at once."""
    tried, most = decoder(PLAIN, writer({"type": "array", "items": "long"})), []
    columns = RowDecoder._columns

    def watched(self: RowDecoder, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        most.append(sum(len(each["x0"]) for each in records))
        return columns(self, records)

    monkeypatch.setattr(RowDecoder, "_columns", watched)
    value = FRAME + b"\2" + varint(50_000) + bytes(50_001)
    found = tried.decode_by_row([value] * 40)
    assert found.frame[ROW].to_list() == list(range(40))
    assert max(most) <= WEIGHT_AT_ONCE
