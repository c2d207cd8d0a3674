"""What is refused before a library sees it, and that nothing else is."""

from collections.abc import Sequence

import pytest

from headwater.adapters.memory.reader import MemoryRecords
from headwater.engine.dead_letters import LetterWriter
from headwater.engine.screening import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_RECORD_BYTES,
    screen,
)
from headwater.model import UNREADABLE_HEADERS, Code, Headers, Partition, RawRecord


def batch(
    *values: bytes | None, headers: Sequence[Headers] = (), keys: Sequence[bytes | None] = ()
) -> MemoryRecords:
    """Records of these values, and of these headers and keys where given."""
    return MemoryRecords(
        "in",
        [
            RawRecord(
                partition=Partition("in", 0),
                offset=row,
                timestamp_ms=0,
                key=keys[row] if keys else b"k",
                value=value,
                headers=headers[row] if headers else (),
            )
            for row, value in enumerate(values)
        ],
    )


def refused(records: MemoryRecords) -> dict[int, Code]:
    """The code of each row that was refused."""
    return {each.row: each.code for each in screen(records, records.headers())}


def test_a_value_beyond_the_bound_is_refused_and_one_at_the_bound_is_not() -> None:
    """The bound itself is allowed; a null is nobody's size."""
    at_bound, beyond = bytes(MAX_RECORD_BYTES), bytes(MAX_RECORD_BYTES + 1)
    assert refused(batch(b"a", beyond, at_bound, None)) == {1: Code.OVERSIZED_IN}


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ([("h", b"1")] * MAX_HEADERS, False),
        ([("h", b"1")] * (MAX_HEADERS + 1), True),
        ([("h", None)] * (MAX_HEADERS + 1), True),
        ([("h", bytes(MAX_HEADER_BYTES - 1))], False),
        ([("h", bytes(MAX_HEADER_BYTES))], True),
        ([("h" * MAX_HEADER_BYTES, b"1")], True),
        ([*[("h", b"1")] * 400, ("h", bytes(1_000))], False),  # near the estimate, not the bound
    ],
)
def test_headers_are_bounded_in_number_and_in_bytes(headers: Headers, *, is_refused: bool) -> None:
    """1,000 headers and 256 KiB are allowed, one more is not."""
    found = refused(batch(b"a", b"b", b"c", headers=[(), headers, [("trace", b"1")]]))
    assert found == ({1: Code.TOO_MANY_HEADERS} if is_refused else {})


def test_a_letter_leaves_out_what_its_record_was_refused_for() -> None:
    """A letter of 10,000 headers, or of a value too large, is a reference to the record."""
    many = [(f"h{place}", b"1") for place in range(10_000)]
    records = batch(b"a", bytes(MAX_RECORD_BYTES + 1), headers=[many, [("trace", b"1")]])
    crowded, large = LetterWriter("dead").letters(records, screen(records, records.headers()))
    assert (crowded.value, crowded.key) == (b"a", b"k")
    assert len(crowded.headers) < 20
    assert ("headwater.error.headers", b"omitted, too large") in crowded.headers
    assert (large.value, large.key, large.headers[0]) == (None, b"k", ("trace", b"1"))
    assert ("headwater.error.value", b"omitted, too large") in large.headers


def test_headers_that_nobody_can_read_cost_their_record_alone() -> None:
    """And the letter says that they are missing, not what stood in for them."""
    records = batch(b"a", b"b", headers=[UNREADABLE_HEADERS, [("trace", b"1")]])
    assert refused(records) == {0: Code.BAD_UTF8}
    (letter,) = LetterWriter("dead").letters(records, screen(records, records.headers()))
    assert (letter.value, letter.key) == (b"a", b"k")
    assert ("headwater.error.headers", b"omitted, not UTF-8") in letter.headers
    assert not set(UNREADABLE_HEADERS) & set(letter.headers)


def test_of_two_reasons_one_is_given() -> None:
    """The value's size comes first."""
    large = bytes(MAX_RECORD_BYTES + 1)
    records = batch(large, headers=[[("h", b"")] * (MAX_HEADERS + 1)])
    assert [each.code for each in screen(records, records.headers())] == [Code.OVERSIZED_IN]


def test_a_message_holds_nothing_of_the_record() -> None:
    """Sizes and counts, never a name or a byte of the record."""
    records = batch(b"secret" * 200_000, b"b", headers=[(), [("secret", b"secret")] * 1_001])
    assert not any("secret" in each.message for each in screen(records, records.headers()))
