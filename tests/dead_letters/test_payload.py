"""What a person sees of a payload: sensitive fields are masked at any depth."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly.letters.payload import PayloadView
from headwater.assembly.plain import frames_of
from headwater.contract import Contract, Encoder, guid_header, parse_contract
from headwater.model import Partition, RawRecord

CANARY = "canary"


def contract_of(key: str) -> Contract:
    """A contract with sensitive fields outside and inside."""
    address = {
        "type": "record",
        "name": "Address",
        "fields": [
            {"name": "city", "type": "string", "doc": "d"},
            {"name": "street", "type": "string", "doc": "d", "sensitivity": "personal"},
        ],
    }
    fields = [
        {"name": "id", "type": "string", "doc": "d"},
        {"name": "name", "type": "string", "doc": "d", "sensitivity": "personal"},
        {"name": "home", "type": address, "doc": "d"},
        {"name": "others", "type": {"type": "array", "items": "Address"}, "doc": "d"},
        {"name": "by", "type": {"type": "map", "values": "Address"}, "doc": "d"},
        {"name": "pin", "type": ["null", "string"], "doc": "d", "sensitivity": "secret"},
        {"name": "note", "type": "string", "doc": "d", "sensitivity": "internal"},
    ]
    schema = {"type": "record", "name": "Person", "doc": "d", "key": key, "fields": fields}
    return parse_contract(json.dumps(schema), topic="in.people", version=1, path=Path("v1.avsc"))


def shown(contract: Contract, key: bytes, broken: bytes = b"") -> dict[str, Any]:
    """What is seen of one person whose street, name and pin are the canary."""
    address = {"city": "Rome", "street": CANARY}
    person = {
        "id": "7",
        "name": CANARY,
        "home": address,
        "others": [address],
        "by": {"work": address},
        "pin": CANARY,
        "note": "n",
    }
    registry = MemoryRegistry()
    schema_id = registry.register("s", contract.text, compatibility="NONE").schema_id
    frame: pl.DataFrame = next(frames_of({0: person}, contract))
    (value,) = Encoder(contract, schema_id).encode(frame).values
    record = RawRecord(Partition("in.people", 0), 1, 2, key, broken + value)
    return PayloadView([contract], registry.schema).shown(record)


def test_sensitive_fields_are_masked_at_any_depth() -> None:
    """Personal and secret ones, in records, arrays and maps; the others are shown."""
    found = shown(contract_of("id"), b"7")
    assert CANARY not in json.dumps(found)
    masked = {"city": "Rome", "street": "<redacted>"}
    assert found["value"] == {
        "id": "7",
        "name": "<redacted>",
        "home": masked,
        "others": [masked],
        "by": {"work": masked},
        "pin": "<redacted>",
        "note": "n",
    }
    assert found["key"] == "7"


def test_a_sensitive_key_is_masked_as_its_field_is() -> None:
    """The key repeats a field of the value."""
    found = shown(contract_of("name"), CANARY.encode())
    assert CANARY not in json.dumps(found)
    assert found["key"] == "<redacted>"


def test_bytes_that_cannot_be_decoded_may_hold_what_is_sensitive() -> None:
    """Neither text nor hex of them is shown then."""
    found = shown(contract_of("id"), CANARY.encode(), broken=b"?")
    assert (found["key"], found["value"]) == ("<redacted>", "<redacted>")


def test_of_several_types_each_is_shown_under_its_own_contract() -> None:
    """Named by a GUID in a header, as the first type, or by an id before the body."""
    person, registry = contract_of("id"), MemoryRegistry()
    schema = {"type": "record", "name": "Gate", "doc": "d", "key": "gate"}
    fields = [{"name": "gate", "type": "string", "doc": "d"}]
    text = json.dumps({**schema, "fields": fields})
    gate = parse_contract(text, topic="in.gates", version=1, path=Path("v1.avsc"))
    held = registry.register("s", gate.text, compatibility="NONE")
    assert held.guid is not None
    frame: pl.DataFrame = next(frames_of({0: {"gate": "A1"}}, gate))
    view = PayloadView([person, gate], registry.schema)
    for encoder, headers in (
        (Encoder(gate, None), guid_header(held.guid)),
        (Encoder(gate, held.schema_id), ()),
    ):
        (value,) = encoder.encode(frame).values
        record = RawRecord(Partition("in.people", 0), 1, 2, b"A1", value, headers)
        found = view.shown(record)
        assert (found["key"], found["value"]) == ("A1", {"gate": "A1"})
        unnamed = view.shown(replace(record, value=b"?" + value, headers=()))
        assert (unnamed["key"], unnamed["value"]) == ("<redacted>", "<redacted>")
