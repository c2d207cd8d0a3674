"""A topic of several types of events: one frame per contract, each record to its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from headwater.contract import (
    Contract,
    Decoder,
    TopicDecoder,
    claimed_twice,
    incompatibilities,
    parse_contract,
)
from headwater.errors import UnknownSchemaError
from headwater.model import Code, SchemaRef


def schema(name: str, field: str, **more: Any) -> str:
    """A record of one number."""
    fields = [{"name": field, "type": "long", "doc": "A number."}]
    return json.dumps({"type": "record", "name": name, "fields": fields, **more})


def contract(name: str, field: str, **more: Any) -> Contract:
    """The same as a contract."""
    return parse_contract(schema(name, field, **more), topic="a.b", version=1, path=Path("v1.avsc"))


OPENED = contract("airport.GateOpened", "opened")
CLOSED = contract("airport.GateClosed", "closed", aliases=["airport.GateShut"])
SCHEMAS = {
    1: OPENED.text,
    2: CLOSED.text,
    3: schema("airport.GateShut", "closed"),
    4: schema("other.GateMoved", "opened"),
    6: schema("other.GateOpened", "opened"),
    5: '"string"',
}


def lookup(reference: SchemaRef) -> str:
    """The registry's schemas."""
    if not isinstance(reference, int) or reference not in SCHEMAS:
        raise UnknownSchemaError(f"no schema {reference}")
    return SCHEMAS[reference]


def of(*contracts: Contract, skips_others: bool = False) -> TopicDecoder:
    """Reads these types."""
    return TopicDecoder([Decoder(each, lookup) for each in contracts], skips_others=skips_others)


def reader(*, skips_others: bool = False) -> TopicDecoder:
    """Reads both types."""
    return of(OPENED, CLOSED, skips_others=skips_others)


def value(schema_id: int, number: int) -> bytes:
    """A framed record of one small number."""
    return b"\0\0\0\0" + bytes([schema_id, 2 * number])


def test_each_record_goes_to_the_contract_of_its_type() -> None:
    """Rows keep their place in the batch, aliases of the contract count as its name."""
    decoded = reader().decode([value(1 + row % 3, row) for row in range(60)])
    opened, closed = decoded.frames
    assert opened["_row"].to_list() == opened["opened"].to_list() == list(range(0, 60, 3))
    assert closed["_row"].to_list() == closed["closed"].to_list()
    assert closed["_row"].to_list() == [row for row in range(60) if row % 3]
    assert not decoded.quarantined


@pytest.mark.parametrize("skips", [False, True])
def test_a_type_that_no_contract_takes_is_refused_or_skipped(skips: bool) -> None:
    """Nothing is dropped unless the author says so."""
    decoded = reader(skips_others=skips).decode([value(1, 0), value(4, 1), value(2, 2)])
    assert [each["_row"].to_list() for each in decoded.frames] == [[0], [2]]
    if skips:
        assert (decoded.skipped, decoded.quarantined, decoded.unreadable) == ([1], [], [])
        return
    (refused,) = decoded.quarantined
    assert (refused.row, refused.code) == (1, Code.INCOMPATIBLE_SCHEMA)
    assert "other.GateMoved" in refused.message
    assert (decoded.skipped, decoded.unreadable) == ([], [1])


def test_bad_records_are_told_as_ever() -> None:
    """Frames, ids and bodies; a schema that is no record is incompatible, not another type."""
    values = [value(1, 0), b"", b"\1abcde", value(9, 0), value(5, 0), value(2, 1)[:-1], value(2, 6)]
    decoded = reader(skips_others=True).decode(values)
    assert [(each.row, each.code) for each in decoded.quarantined] == [
        (1, Code.EMPTY_VALUE),
        (2, Code.BAD_MAGIC),
        (3, Code.UNKNOWN_SCHEMA_ID),
        (4, Code.INCOMPATIBLE_SCHEMA),
        (5, Code.AVRO_LENGTH),
    ]
    assert [each["_row"].to_list() for each in decoded.frames] == [[0], [6]]
    assert decoded.unreadable == [4]


def test_one_contract_takes_every_record() -> None:
    """Then its own reasons tell why a record cannot be read."""
    decoded = of(OPENED).decode([value(1, 0), value(2, 1)])
    (refused,) = decoded.quarantined
    assert (refused.row, refused.code) == (1, Code.INCOMPATIBLE_SCHEMA)
    assert "GateClosed" in refused.message


def test_one_contract_skips_the_others_where_the_author_says_so() -> None:
    """One type that is wanted of many is the plainest use of it."""
    decoded = of(OPENED, skips_others=True).decode([value(1, 0), value(2, 1), value(1, 2)])
    assert decoded.frames[0]["_row"].to_list() == [0, 2]
    assert (decoded.skipped, decoded.quarantined, decoded.unreadable) == ([1], [], [])


@pytest.mark.parametrize("skips", [False, True])
def test_a_record_of_another_namespace_finds_the_only_contract_of_its_name(skips: bool) -> None:
    """The gate calls that move compatible; skipped, every record after it would be lost."""
    decoded = reader(skips_others=skips).decode([value(1, 0), value(6, 1), value(2, 2)])
    assert [each["_row"].to_list() for each in decoded.frames] == [[0, 1], [2]]
    moved = contract("other.GateOpened", "opened")
    assert incompatibilities(moved, OPENED, "FULL_TRANSITIVE") == []


def test_a_name_of_two_namespaces_is_taken_in_full_alone() -> None:
    """Either could be meant, so neither is; an alias says which."""
    mine, yours = contract("mine.GateOpened", "opened"), contract("yours.GateOpened", "opened")
    (refused,) = of(mine, yours).decode([value(6, 0)]).quarantined
    assert refused.code is Code.INCOMPATIBLE_SCHEMA
    assert "alias" in refused.message
    told = contract("yours.GateOpened", "opened", aliases=["other.GateOpened"])
    assert [each.height for each in of(mine, told).decode([value(6, 0)]).frames] == [0, 1]


def test_a_name_counts_more_than_an_alias() -> None:
    """Whatever their order."""
    taking = contract("airport.GateClosed", "opened", aliases=["GateOpened"])
    for contracts, heights in (((OPENED, taking), [1, 0]), ((taking, OPENED), [0, 1])):
        decoded = of(*contracts).decode([value(1, 0)])
        assert [each.height for each in decoded.frames] == heights
    assert [each for each, _, _ in claimed_twice([OPENED, taking])] == ["airport.GateOpened"]
    assert list(claimed_twice([OPENED, CLOSED])) == []
