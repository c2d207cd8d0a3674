"""From records to work, with the real codec and flow: all or nothing per input record."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import DataProduct, Flow
from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Decoder, Encoder, parse_contract
from headwater.engine import InputPolicy, LetterWriter, Route, Task
from headwater.engine.dead_letters import source_position
from headwater.errors import DeclarationError, UnavailableError
from headwater.flow import ROW, Plan
from headwater.model import Code, Letter, Partition, RawRecord, SchemaRef

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "key": "id",
        "eventTime": "at",
        "owner": "shop@example.com",
        "doc": "An order.",
        "fields": [
            {"name": "id", "type": "string", "doc": "Its number."},
            {"name": "n", "type": "int", "doc": "How many."},
            {
                "name": "at",
                "type": {"type": "long", "logicalType": "timestamp-millis"},
                "doc": "When.",
            },
        ],
    }
)
CONTRACT = parse_contract(SCHEMA, topic="shop.orders", version=1, path=Path("v1.avsc"))
SCHEMA_ID = 7
SCHEMAS: dict[SchemaRef, str] = {SCHEMA_ID: SCHEMA}


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("shop.out", owner="me").stream("shop.orders", contract=1)


def encoded(*numbers: int) -> list[bytes]:
    """One framed order per number."""
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(len(numbers)), dtype=pl.UInt32),
            "id": [f"order-{n}" for n in numbers],
            "n": pl.Series(numbers, dtype=pl.Int32),
            "at": pl.Series([0] * len(numbers), dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
        }
    )
    return Encoder(CONTRACT, SCHEMA_ID).encode(frame).values


def records(*values: bytes | None) -> MemoryRecords:
    """A batch with these values, one offset after another."""
    rows = [
        RawRecord(Partition("shop.orders", 0), offset, 5, b"k%d" % offset, value, (("h", b"1"),))
        for offset, value in enumerate(values)
    ]
    return MemoryRecords("shop.orders", rows)


def task(*flows: Flow, skip_tombstones: bool = False) -> Task:
    """Each flow publishes on a topic of its own."""
    routes = [
        Route(
            f"out.{place}",
            Plan(flow, CONTRACT.columns, CONTRACT.columns),
            Encoder(CONTRACT, SCHEMA_ID),
        )
        for place, flow in enumerate(flows)
    ]
    decoder = Decoder(CONTRACT, SCHEMAS.__getitem__)
    return Task(
        decoder,
        routes,
        dead_letters=LetterWriter("out.dead-letters"),
        policy=InputPolicy(skip_tombstones),
    )


def codes(found: Sequence[Letter]) -> list[tuple[int, str]]:
    """Offset and code of each letter."""
    places = [source_position(letter.headers) for letter in found]
    named = [dict(letter.headers)["headwater.error.code"] or b"" for letter in found]
    return [(p[2], c.decode()) for p, c in zip(places, named, strict=True) if p is not None]


def refuse_three(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A step that cannot do a three."""
    if row["n"] == 3:
        raise ValueError
    return row


def test_outputs_carry_their_keys() -> None:
    """What comes out is keyed by the contract's key and framed."""
    work = task(stream().filter(pl.col("n") > 1)).process(records(*encoded(1, 2, 3)))
    assert [(p.topic, p.keys, p.values) for p in work.publications] == [
        ("out.0", [b"order-2", b"order-3"], encoded(2, 3))
    ]
    assert (work.read, work.codes, list(work.letters)) == (3, {}, [])
    assert work.ends == {Partition("shop.orders", 0): 3}


def test_a_record_that_one_output_refuses_has_no_output_at_all() -> None:
    """Promise 1, over two outputs: none of its outputs, one letter, its neighbours untouched."""
    work = task(stream(), stream().map_events(refuse_three)).process(records(*encoded(2, 3, 4)))
    assert [list(p.keys) for p in work.publications] == [[b"order-2", b"order-4"]] * 2
    assert codes(work.letters) == [(1, "STEP_FAILED")]
    assert work.codes == {Code.STEP_FAILED: 1}


def test_a_record_that_both_outputs_refuse_has_one_letter() -> None:
    """The first error tells, and it is counted once."""
    both = stream().map_events(refuse_three)
    work = task(both, both).process(records(*encoded(3)))
    assert codes(work.letters) == [(0, "STEP_FAILED")]
    assert work.codes == {Code.STEP_FAILED: 1}


def test_a_letter_keeps_the_record_as_it_stood() -> None:
    """Raw key, value and headers, and after them the error."""
    work = task(stream()).process(records(encoded(1)[0], b"\x01not ours"))
    (letter,) = work.letters
    assert (letter.key, letter.value) == (b"k1", b"\x01not ours")
    assert letter.headers[0] == ("h", b"1")
    assert codes(work.letters) == [(1, "BAD_MAGIC")]


def test_tombstones_of_a_compacted_input_are_counted_and_skipped() -> None:
    """They are no bad records, and the positions move past them."""
    values = [encoded(1)[0], None, encoded(2)[0], None, b""]
    work = task(stream(), skip_tombstones=True).process(records(*values))
    assert work.skipped == 2
    assert codes(work.letters) == [(4, "EMPTY_VALUE")]
    assert work.ends == {Partition("shop.orders", 0): 5}


def test_a_null_value_of_a_log_is_a_bad_record() -> None:
    """Only a compacted input has tombstones."""
    work = task(stream()).process(records(encoded(1)[0], None))
    assert (work.skipped, codes(work.letters)) == (0, [(1, "EMPTY_VALUE")])


def test_an_output_too_large_for_the_broker_is_refused_before_it_is_sent() -> None:
    """The input is quarantined; the transaction is not lost over it."""
    long = pl.when(pl.col("n") == 2).then(pl.lit("x" * 1_100_000)).otherwise(pl.col("id"))
    work = task(stream().with_columns(id=long)).process(records(*encoded(1, 2, 3)))
    assert [list(p.keys) for p in work.publications] == [[b"order-1", b"order-3"]]
    assert codes(work.letters) == [(1, "MSG_SIZE_TOO_LARGE")]


def test_a_registry_that_is_away_is_no_bad_record() -> None:
    """The batch waits; nothing of it is quarantined."""

    def away(schema_id: SchemaRef) -> str:
        raise UnavailableError(f"no answer for {schema_id}")

    waiting = Task(Decoder(CONTRACT, away), [], dead_letters=LetterWriter("out.dead-letters"))
    with pytest.raises(UnavailableError):
        waiting.process(records(*encoded(1)))


def test_a_larger_batch_is_proof_again() -> None:
    """On a quiet topic the first batch is too small to show what a step does to a large one."""
    tried = task(stream().map(lambda f: f.head(500)))
    tried.process(records(*encoded(1)))
    tried.process(records(*encoded(*range(300))))
    with pytest.raises(DeclarationError, match="BATCH_DEPENDENT"):
        tried.process(records(*encoded(*range(900))))


def test_batches_that_do_not_grow_are_not_proved_again() -> None:
    """The proof is not paid for by every batch."""
    calls: list[int] = []

    def watched(frame: pl.DataFrame) -> pl.DataFrame:
        calls.append(frame.height)
        return frame

    tried = task(stream().map(watched))
    tried.process(records(*encoded(*range(100))))
    calls.clear()
    tried.process(records(*encoded(*range(150))))
    assert calls == [150]
