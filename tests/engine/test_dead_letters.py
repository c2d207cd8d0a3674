"""What a dead letter holds, and what it gives up when it does not fit."""

from uuid import UUID

import pytest

from headwater.adapters.memory.reader import MemoryRecords
from headwater.clock import ManualClock
from headwater.contract import guid_header
from headwater.engine.dead_letters import MAX_LETTER_BYTES, LetterWriter, source_position
from headwater.model import Code, Headers, Partition, Quarantine, RawRecord

HUGE = b"x" * (MAX_LETTER_BYTES + 1)
SMALL = b"s"


def letter_of(
    key: bytes | None,
    value: bytes | None,
    headers: Headers = (),
    code: Code = Code.STEP_FAILED,
) -> dict[str, object]:
    """The letter of one bad record, taken apart."""
    record = RawRecord(Partition("in", 2), 41, 7, key, value, headers)
    writer = LetterWriter("out.dead-letters", "r7", ManualClock(at_s=2.5))
    [letter] = writer.letters(MemoryRecords("in", [record]), [Quarantine(0, code, "m", "map-1")])
    return {"key": letter.key, "value": letter.value, "headers": dict(letter.headers)}


def test_a_letter_is_the_record_with_the_error_beside_it() -> None:
    """Raw key, value and headers; code, message, step and place as headers."""
    letter = letter_of(b"k", b"\x00\x00\x00\x00\x09body", [("trace", b"1")])
    assert (letter["key"], letter["value"]) == (b"k", b"\x00\x00\x00\x00\x09body")
    assert letter["headers"] == {
        "trace": b"1",
        "headwater.error.code": b"STEP_FAILED",
        "headwater.error.message": b"m",
        "headwater.error.step": b"map-1",
        "headwater.error.topic": b"in",
        "headwater.error.partition": b"2",
        "headwater.error.offset": b"41",
        "headwater.error.timestamp": b"7",
        "headwater.error.schema.id": b"9",
        "headwater.error.release": b"r7",
        "headwater.error.first.seen": b"2500",
        "headwater.error.attempts": b"1",
    }


GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")
FRAMED = b"\x00\x00\x00\x00\x09body"


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        (guid_header(GUID), {"guid": str(GUID).encode()}),
        ([("__value_schema_id", b"\x00\x00\x00\x00\x07")], {"id": b"7"}),
        ([("__value_schema_id", b"\x01short")], {}),
        ([("__value_schema_id", None)], {"id": b"9"}),
    ],
)
def test_a_letter_names_the_schema_as_its_record_does(
    headers: Headers, named: dict[str, bytes]
) -> None:
    """By id or GUID; a header counts, even a broken one, more than what the value looks like."""
    said = letter_of(b"k", FRAMED, headers)["headers"]
    assert isinstance(said, dict)
    prefix = "headwater.error.schema."
    found = {
        name.removeprefix(prefix): text for name, text in said.items() if name.startswith(prefix)
    }
    assert found == named
    assert {name: text for name, text in said.items() if "error" not in name} == dict(headers)


@pytest.mark.parametrize("part", ["key", "value", "headers"])
def test_a_record_too_large_for_a_letter_leaves_a_reference(part: str) -> None:
    """Only what is too large is given up, and the letter says so."""
    letter = letter_of(
        HUGE if part == "key" else SMALL,
        HUGE if part == "value" else SMALL,
        [("h", HUGE if part == "headers" else SMALL)],
    )
    headers = letter["headers"]
    assert isinstance(headers, dict)
    kept = {"key": letter["key"], "value": letter["value"], "headers": headers.get("h")}
    assert kept == {name: None if name == part else SMALL for name in kept}
    assert headers[f"headwater.error.{part}"] == b"omitted, too large"
    assert source_position(list(headers.items())) == ("in", 2, 41)


def test_headers_of_somebody_else_lead_nowhere() -> None:
    """A stranger's letter does not stop a start."""
    strange = [(f"headwater.error.{name}", b"?") for name in ("topic", "partition", "offset")]
    assert source_position(strange) is None
