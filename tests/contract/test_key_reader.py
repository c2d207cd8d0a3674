"""Keys that are not what the contract says are found, and only those."""

import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.contract import Contract, Encoder, KeyReader, key_schema, parse_contract
from headwater.contract.key_reader import MAX_KEY_BYTES
from headwater.errors import UnavailableError, UnknownSchemaError
from headwater.model import SchemaRef

FRAME = b"\0\0\0\0\1"
UUID = {"type": "string", "logicalType": "uuid"}


def contract(key: str | list[str], *types: Any) -> Contract:
    """A contract of fields f0, f1 ... keyed by `key`."""
    fields = [{"name": f"f{place}", "type": each, "doc": "d"} for place, each in enumerate(types)]
    text = json.dumps({"type": "record", "name": "R", "key": key, "fields": fields})
    return parse_contract(text, topic="a.b", version=1, path=Path("v1.avsc"))


def reader(tried: Contract) -> KeyReader:
    """A reader that finds the key's schema under id 1, and no other."""

    def lookup(schema_id: SchemaRef) -> str:
        if schema_id != 1 or (text := key_schema(tried)) is None:
            raise UnknownSchemaError(f"no schema {schema_id}")
        return text

    return KeyReader(tried, lookup)


TEXT = reader(contract("f0", "string"))
COMPOSITE = reader(contract(["f0", "f1"], "string", "int"))


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (b"", None),
        (b"EWR", None),
        ("Zürich".encode(), None),
        (bytes(MAX_KEY_BYTES), None),
        (bytes(MAX_KEY_BYTES + 1), "more than 65536"),
        (None, "null"),
        (b"\xc3", "not UTF-8"),
        (b"\xbcrich", "not UTF-8"),
    ],
)
def test_a_key_of_text(key: bytes | None, fault: str | None) -> None:
    """UTF-8 of at most 64 KiB, never null; good neighbours stay good."""
    found = TEXT.faults([b"good", key, b"also good"])
    assert set(found) == ({1} if fault else set())
    assert fault is None or fault in found[1]


def test_a_character_cut_in_two_between_two_keys_is_found() -> None:
    """Halves of a character are no characters, though they would be one when joined."""
    first, second = "Z\u00fc"[:1].encode() + b"\xc3", b"\xbcrich"
    assert set(TEXT.faults([first, second])) == {0, 1}


@given(st.lists(st.one_of(st.none(), st.binary(max_size=6), st.text().map(str.encode))))
def test_a_batch_is_judged_as_its_keys_one_by_one(keys: list[bytes | None]) -> None:
    """The whole is as its parts."""
    alone = {row for row, key in enumerate(keys) if TEXT.faults([key])}
    assert set(TEXT.faults(keys)) == alone


@pytest.mark.parametrize(("kind", "width"), [("int", 4), ("long", 8)])
def test_a_key_that_is_a_number(kind: str, width: int) -> None:
    """4 or 8 bytes, any of them."""
    keys = [b"\xff" * width, b"\0" * (width - 1), None, b"\0" * (width + 1), b""]
    assert set(reader(contract("f0", kind)).faults(keys)) == {1, 2, 3, 4}
    assert reader(contract("f0", kind)).faults(keys[:1]) == {}


@pytest.mark.parametrize("type_", [UUID, {"type": "enum", "name": "E", "symbols": ["A"]}])
def test_a_key_written_as_text(type_: Any) -> None:
    """UUIDs and symbols are text on the wire."""
    assert set(reader(contract("f0", type_)).faults([b"A", b"\xff"])) == {1}


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (FRAME + b"\x06EWR\x02", None),
        (FRAME + b"\x06EWR", "ends"),
        (FRAME + b"\x06EWR\x02\0", "follow"),
        (b"\0\0\0\0\2\x06EWR\x02", "no schema of id 2"),
        (b"EWR", "magic"),
        (b"", "empty"),
        (None, "null"),
        (FRAME + b"\xff\xff\xff\xff\x0f", "length"),
        (FRAME + b"\x06E\xffR\x02", "UTF-8"),
        (bytes(MAX_KEY_BYTES + 1), "more than 65536"),
    ],
)
def test_a_key_of_several_fields(key: bytes | None, fault: str | None) -> None:
    """A frame and one datum of the key's schema."""
    good = FRAME + b"\x06JFK\x04"
    found = COMPOSITE.faults([good, key, good])
    assert set(found) == ({1} if fault else set())
    assert fault is None or fault in found[1]


def test_a_topic_without_a_key_has_no_bad_one() -> None:
    """Null and anything else."""
    keyless = reader(contract([], "string"))
    assert keyless.faults([None, b"\xff", bytes(MAX_KEY_BYTES + 1)]) == {}


def test_a_registry_that_is_away_is_no_bad_key() -> None:
    """The batch waits."""

    def away(schema_id: SchemaRef) -> str:
        raise UnavailableError(f"no answer for {schema_id}")

    tried = KeyReader(contract(["f0", "f1"], "string", "int"), away)
    with pytest.raises(UnavailableError):
        tried.faults([FRAME + b"\x06EWR\x02"])


ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
FIXED_UUID = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOME_UUID = "0b9f3c52-6a3e-4c3e-9a3e-000000000001"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("string", ["", "Zürich"]),
        ("int", [-1, 2**31 - 1]),
        ("long", [-1, 2**63 - 1]),
        ({"type": "int", "logicalType": "date"}, [date(1, 1, 1), date(2026, 1, 1)]),
        ({"type": "int", "logicalType": "time-millis"}, [time(0), time(23, 59, 59, 999_000)]),
        ({"type": "long", "logicalType": "time-micros"}, [time(0), time(1, 2, 3, 4)]),
        ({"type": "long", "logicalType": "timestamp-millis"}, [NOON]),
        ({"type": "long", "logicalType": "timestamp-nanos"}, [NOON]),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, [NOON.replace(tzinfo=None)]),
        (UUID, [SOME_UUID]),
        (FIXED_UUID, [SOME_UUID]),
        (ENUM, ["B", "A"]),
    ],
)
def test_a_key_holds_the_value_of_its_column(kind: Any, values: list[Any]) -> None:
    """Reading it is the inverse of writing it, in the contract's type."""
    tried = contract("f0", kind)
    frame = pl.DataFrame({"f0": pl.Series(values, dtype=tried.columns["f0"])})
    keys = Encoder(tried, 1).encode(frame.with_row_index("_row")).keys
    found, faults = reader(tried).columns(keys)
    assert found.drop("_row").equals(frame)
    assert (found.schema["f0"], faults) == (tried.columns["f0"], {})


def test_a_key_of_several_fields_holds_their_values() -> None:
    """By its own schema."""
    tried = contract(["f0", "f1"], "string", {"type": "int", "logicalType": "date"})
    frame = pl.DataFrame({"f0": ["a", "b"], "f1": [date(2026, 1, 1), date(1, 1, 1)]})
    keys = Encoder(tried, 2, key_schema_id=1).encode(frame.with_row_index("_row")).keys
    found, faults = reader(tried).columns([keys[0], None, keys[1], b"x"])
    assert found.drop("_row").equals(frame)
    assert (found["_row"].to_list(), set(faults)) == ([0, 2], {1, 3})


@pytest.mark.parametrize(
    ("kind", "bad"),
    [("string", b"\xc3"), ("int", b"abc"), (UUID, b"abc"), (ENUM, b"C"), ("string", None)],
)
def test_a_key_that_holds_no_value_is_named_and_left_out(kind: Any, bad: bytes | None) -> None:
    """The others keep their places."""
    tried = contract("f0", kind)
    good = {"string": "a", "int": 7}.get(str(kind), "A" if kind is ENUM else SOME_UUID)
    frame = pl.DataFrame({"f0": pl.Series([good], dtype=tried.columns["f0"])})
    (key,) = Encoder(tried, 1).encode(frame.with_row_index("_row")).keys
    found, faults = reader(tried).columns([bad, key, bad, key])
    assert found["_row"].to_list() == [1, 3]
    assert found["f0"].to_list() == [good, good]
    assert set(faults) == {0, 2}
