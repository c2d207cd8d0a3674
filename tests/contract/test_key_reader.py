"""Keys that are not what the contract says are found, and only those."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.contract import Contract, KeyReader, key_schema, parse_contract
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
