"""How records name their schema: in a frame (V0) or in a header (V1), in any mixture."""

from uuid import UUID

import pytest
from tests.contract.writing import FRAME, contract
from tests.contract.writing import decoder as reading

from headwater.clock import ManualClock
from headwater.contract import Decoder, guid_header, schema_headers
from headwater.errors import UnknownSchemaError
from headwater.model import Code, Headers, SchemaRef

GUID = UUID("00112233-4455-6677-8899-aabbccddeeff")
HEADER = b"\1" + GUID.bytes
TRIED = contract("long", "string")
BODIES = [bytes([2 * n]) + b"\4" + bytes([97 + n, 98]) for n in range(20)]


def decoder(asked: list[SchemaRef] | None = None) -> Decoder:
    """A decoder that knows the contract's schema under one id and one GUID."""

    def lookup(reference: SchemaRef) -> str:
        if asked is not None:
            asked.append(reference)
        if reference in {1, GUID}:
            return TRIED.text
        raise UnknownSchemaError("no such schema")

    return Decoder(TRIED, lookup, clock=ManualClock())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        dict.fromkeys(range(20), HEADER),
        dict.fromkeys(range(20), FRAME),
        dict.fromkeys(range(7, 20), HEADER),
        {row: (HEADER, FRAME)[row % 2] for row in range(0, 20, 3)},
    ],
    ids=["frames", "guids", "ids in headers", "an upgrade", "a mixture"],
)
def test_a_schema_is_found_wherever_it_is_named(headers: dict[int, bytes]) -> None:
    """The same events come out, in their order, on both paths; each schema is asked for once."""
    values = [body if row in headers else FRAME + body for row, body in enumerate(BODIES)]
    asked: list[SchemaRef] = []
    reader = decoder(asked)
    for decode in (reader.decode, reader.decode_by_row):
        decoded = decode(values, headers)
        assert not decoded.quarantined
        assert decoded.frame["_row"].to_list() == list(range(20))
        assert decoded.frame["f0"].to_list() == list(range(20))
    assert len(asked) <= 3


def test_the_header_counts_where_a_record_has_both() -> None:
    """A body may begin like a frame; what the header says is not guessed again."""
    (refused,) = decoder().decode([FRAME + BODIES[0]], {0: HEADER}).quarantined
    assert refused.code is not Code.UNKNOWN_SCHEMA_ID
    two = [FRAME + BODIES[0], FRAME + BODIES[1]]
    decoded = decoder().decode(two, {1: HEADER})
    assert decoded.frame["_row"].to_list() == [0]
    assert [each.row for each in decoded.quarantined] == [1]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"", Code.TRUNCATED_FRAME),
        (b"\2" + GUID.bytes, Code.BAD_MAGIC),
        (HEADER[:-1], Code.TRUNCATED_FRAME),
        (HEADER + b"\0", Code.TRAILING_BYTES),
        (b"\0\0\0\1", Code.TRUNCATED_FRAME),
        (b"\0\0\0\0\2", Code.UNKNOWN_SCHEMA_ID),
        (b"\1" + bytes(16), Code.UNKNOWN_SCHEMA_ID),
    ],
)
def test_a_bad_header_costs_one_record(header: bytes, code: Code) -> None:
    """Its neighbours are read, by frame and by header."""
    values = [FRAME + BODIES[0], BODIES[1], BODIES[2]]
    for decode in (decoder().decode, decoder().decode_by_row):
        decoded = decode(values, {1: header, 2: HEADER})
        assert [(each.row, each.code) for each in decoded.quarantined] == [(1, code)]
        assert decoded.frame["f0"].to_list() == [0, 2]


@pytest.mark.parametrize("value", [None, b""])
@pytest.mark.parametrize("good", [HEADER, b"\0\0\0\0\1"])
def test_an_empty_value_is_told_as_such_whatever_its_header_says(
    value: bytes | None, good: bytes
) -> None:
    """A tombstone has no body, and what has no body is no record cut short."""
    for decode in (decoder().decode, decoder().decode_by_row):
        decoded = decode([value, BODIES[1]], {0: good, 1: good})
        assert [(each.row, each.code) for each in decoded.quarantined] == [(0, Code.EMPTY_VALUE)]
        assert decoded.frame["_row"].to_list() == [1]


def test_under_a_header_no_bytes_are_empty_even_where_a_record_may_have_none() -> None:
    """A writer of nulls alone writes none; in a frame they are told from an empty value."""
    nothing = {"type": "record", "name": "R", "fields": [{"name": "z", "type": "null"}]}
    tried = contract(fields=[{"name": "v", "type": "long", "doc": "d", "default": 0}])
    for decode in (reading(tried, nothing).decode, reading(tried, nothing).decode_by_row):
        assert decode([FRAME]).frame.height == 1
        (refused,) = decode([b""], {0: b"\0\0\0\0\1"}).quarantined
        assert refused.code is Code.EMPTY_VALUE


def test_what_the_lookup_refuses_is_asked_again_after_a_minute() -> None:
    """The code of the refusal becomes that of the records."""
    clock, asked = ManualClock(), 0

    def lookup(_: SchemaRef) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise UnknownSchemaError("of another topic", code="SCHEMA_SUBJECT_MISMATCH")
        return TRIED.text

    reader = Decoder(TRIED, lookup, clock=clock)
    for _ in range(3):
        (refused,) = reader.decode([FRAME + BODIES[0]]).quarantined
        assert (refused.code, refused.message) == (Code.SCHEMA_SUBJECT_MISMATCH, "of another topic")
    clock.advance(60)
    assert reader.decode([FRAME + BODIES[0]]).frame.height == 1
    assert asked == 2


def test_the_first_header_of_the_name_counts() -> None:
    """As for Confluent's deserializers; a null is no header."""
    name, other = guid_header(GUID)[0][0], ("trace", b"x")
    rows: dict[int, Headers] = {
        3: [other, (name, HEADER), (name, b"second")],
        4: [(name, None)],
        5: [other],
    }
    assert schema_headers(rows) == {3: HEADER}
    assert guid_header(GUID) == ((name, HEADER),)
