"""From records to work, with the real codec and flow: all or nothing per input record."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import DataProduct, Flow
from headwater.adapters.memory.reader import MemoryRecords
from headwater.contract import Contract, Decoder, Encoder, KeyReader, TopicDecoder, parse_contract
from headwater.contract import expansion as expanding
from headwater.engine import InputPolicy, LetterWriter, Route, Task, Work
from headwater.engine.dead_letters import source_position
from headwater.engine.task import BAD_RECORDS_ONLY
from headwater.errors import DeclarationError, UnavailableError
from headwater.flow import ROW, Plan
from headwater.model import (
    Code,
    Letter,
    OnIncompatible,
    Partition,
    Quarantine,
    RawRecord,
    SchemaRef,
)

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


def encoded(*numbers: int, at_ms: Sequence[int] = ()) -> list[bytes]:
    """One framed order per number, of 1970-01-01 unless told otherwise."""
    times = at_ms or [0] * len(numbers)
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(len(numbers)), dtype=pl.UInt32),
            "id": [f"order-{n}" for n in numbers],
            "n": pl.Series(numbers, dtype=pl.Int32),
            "at": pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
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


def task(*flows: Flow, output: Contract = CONTRACT, policy: InputPolicy = BAD_RECORDS_ONLY) -> Task:
    """Each flow publishes on a topic of its own."""
    routes = [
        Route(
            f"out.{place}",
            Plan(flow, CONTRACT.columns, CONTRACT.columns),
            Encoder(output, SCHEMA_ID),
        )
        for place, flow in enumerate(flows)
    ]
    decoder = Decoder(CONTRACT, SCHEMAS.__getitem__)
    return Task(decoder, routes, dead_letters=LetterWriter("out.dead-letters"), policy=policy)


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


def test_event_time_is_kept_without_state_where_it_is_asked_for() -> None:
    """The greatest of the records that were sound, in the note beside the position; else none."""
    flow = stream().map_events(refuse_three)
    given = records(*encoded(1, 2, 1, at_ms=[40, 90, 10]), b"broken")
    assert task(flow).watermarks is None
    keeping = task(flow, policy=InputPolicy(keeps_event_time=True))
    assert keeping.watermarks is not None
    work = keeping.process(given)
    assert [len(each.values) for each in work.publications] == [3]
    keeping.watermarks.keep()
    assert keeping.watermarks.note(0) == {"watermark": 90}
    keeping.process(records(*encoded(5, at_ms=[99])))  # a batch that is dropped
    keeping.watermarks.drop()
    assert keeping.watermarks.note(0) == {"watermark": 90}


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
    assert (work.codes, list(work.letter_rows)) == ({Code.STEP_FAILED: 1}, [1])


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
    work = task(stream(), policy=InputPolicy(skip_tombstones=True)).process(records(*values))
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


SEVERAL = {
    name: parse_contract(
        SCHEMA.replace('"Order"', f'"{name}"').replace('"key": "id"', f'"key": "{key}"'),
        topic=f"shop.{name}",
        version=1,
        path=Path("v1.avsc"),
    )
    for name, key in (("Order", "id"), ("Count", "n"))
}


def keyed_task() -> tuple[Task, Callable[..., list[bytes]]]:
    """Two types in one topic, keyed by a text and by four bytes; and what writes their values."""
    ids: dict[SchemaRef, str] = {
        place: each.text for place, each in enumerate(SEVERAL.values(), start=1)
    }
    decoders = [Decoder(each, ids.__getitem__) for each in SEVERAL.values()]
    routes = [
        Route(f"out.{name}", Plan(stream(), each.columns, each.columns), Encoder(each, 1), place)
        for place, (name, each) in enumerate(SEVERAL.items())
    ]
    keys = [KeyReader(each, ids.__getitem__) for each in SEVERAL.values()]
    tried = Task(TopicDecoder(decoders), routes, dead_letters=LetterWriter("dead"), keys=keys)

    def values(*types: str) -> list[bytes]:
        places = [list(SEVERAL).index(each) + 1 for each in types]
        return [b"\0" + p.to_bytes(4, "big") + encoded(n)[0][5:] for n, p in enumerate(places)]

    return tried, values


def test_keys_are_those_of_the_type_of_each_record() -> None:
    """Four bytes of no text are a key of one type and none of the other."""
    tried, values = keyed_task()
    text, number = b"order-1", b"\xff\xfe\xfd\xfc"
    given = [
        (text, "Order"),
        (number, "Order"),
        (number, "Count"),
        (text, "Count"),
        (None, "Count"),
    ]
    rows = [
        RawRecord(Partition("shop.orders", 0), row, 0, key, value)
        for row, ((key, _), value) in enumerate(
            zip(given, values(*(kind for _, kind in given)), strict=True)
        )
    ]
    work = tried.process(MemoryRecords("shop.orders", rows))
    assert codes(work.letters) == [(1, "BAD_KEY"), (3, "BAD_KEY"), (4, "BAD_KEY")]
    assert [each.rows.to_list() for each in work.publications] == [[0], [2]]


def test_one_type_of_many_is_read_past_the_others() -> None:
    """Where the author skips them: they neither halt the partition nor become letters."""
    _, values = keyed_task()
    ids: dict[SchemaRef, str] = {n: each.text for n, each in enumerate(SEVERAL.values(), start=1)}
    mine = SEVERAL["Order"]
    route = Route("out", Plan(stream(), mine.columns, mine.columns), Encoder(mine, 1))
    reader = TopicDecoder([Decoder(mine, ids.__getitem__)], skips_others=True)
    policy = InputPolicy(on_incompatible="pause")
    tried = Task(reader, [route], dead_letters=LetterWriter("dead"), policy=policy)
    rows = [
        RawRecord(Partition("shop.orders", 0), row, 0, b"k", value)
        for row, value in enumerate(values("Order", "Count", "Order"))
    ]
    work = tried.process(MemoryRecords("shop.orders", rows))
    assert (list(work.halts), list(work.letters), work.skipped) == ([], [], 1)
    assert [each.rows.to_list() for each in work.publications] == [[0, 2]]


def test_no_step_sees_a_record_of_a_bad_key() -> None:
    """It might fail there, and the letter would say so instead."""
    seen: list[int] = []

    def watched(frame: pl.DataFrame) -> pl.DataFrame:
        seen.extend(frame["n"])
        return frame

    flow = stream().map(watched)
    route = Route("o", Plan(flow, CONTRACT.columns, CONTRACT.columns), Encoder(CONTRACT, SCHEMA_ID))
    keys = [KeyReader(CONTRACT, SCHEMAS.__getitem__)]
    decoder = Decoder(CONTRACT, SCHEMAS.__getitem__)
    tried = Task(decoder, [route], dead_letters=LetterWriter("dead"), keys=keys)
    tried.skip_proofs()
    rows = [
        RawRecord(Partition("shop.orders", 0), row, 0, key, value)
        for row, (key, value) in enumerate(zip([b"a", None, b"c"], encoded(1, 2, 3), strict=True))
    ]
    assert codes(tried.process(MemoryRecords("shop.orders", rows)).letters) == [(1, "BAD_KEY")]
    assert seen == [1, 3]


# -- a batch in pieces ---------------------------------------------------------------------------


def mixed(count: int) -> MemoryRecords:
    """Sound records and bad ones of two kinds, over two partitions, one after the other."""
    rows = [
        RawRecord(Partition("shop.orders", row * 2 // count), row % (count // 2), row, b"k", value)
        for row, value in enumerate(encoded(*range(count)))
    ]
    for row in range(0, count, 7):
        rows[row] = replace(rows[row], value=None if row % 2 else b"\x01bad")
    return MemoryRecords("shop.orders", rows)


def every_third_fails(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A step that fails for every third."""
    if row["n"] % 3 == 0:
        raise ValueError
    return row


def as_told(work: Work) -> tuple[object, ...]:
    """Everything of it that can be compared."""
    published = [
        (each.topic, list(each.keys), list(each.values), each.rows.to_list(), each.headers)
        for each in work.publications
    ]
    letters = [
        [(name, text) for name, text in each.headers if not name.endswith("first.seen")]
        for each in work.letters
    ]
    plain = replace(work, publications=[], letters=[], halts=list(work.halts))
    return published, letters, replace(plain, violations=list(work.violations))


@pytest.mark.parametrize("slots", [1, 100, 250])  # pieces of one record, and of some
@pytest.mark.parametrize("on_incompatible", ["dead-letter", "pause"])
@pytest.mark.parametrize("guilty", [(), (3, 20, 39)])
def test_pieces_make_the_work_of_the_whole(
    on_incompatible: OnIncompatible,
    guilty: Sequence[int],
    slots: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outputs, their rows, letters and their order, positions, counts and halts are the same."""
    unreadable = b"\0\0\0\0\x08" + encoded(1)[0][5:]
    other = json.dumps({"type": "record", "name": "Order", "fields": []})
    schemas: dict[SchemaRef, str] = {**SCHEMAS, 8: other}
    batch = mixed(40)
    batch.records[9] = replace(batch.records[9], value=unreadable)  # type: ignore[index]  # a list
    known = [Quarantine(row, Code.PROCESS_DIED, "it died", "step") for row in guilty]

    def worked() -> Work:
        flows = (stream().filter(pl.col("n") % 2 == 0), stream().map_events(every_third_fails))
        routes = [
            Route(f"o{n}", Plan(flow, CONTRACT.columns, CONTRACT.columns), Encoder(CONTRACT, 7))
            for n, flow in enumerate(flows)
        ]
        tried = Task(
            Decoder(CONTRACT, schemas.__getitem__),
            routes,
            dead_letters=LetterWriter("dead"),
            policy=InputPolicy(skip_tombstones=True, on_incompatible=on_incompatible),
        )
        return tried.process(batch, known)

    whole = as_told(worked())
    monkeypatch.setattr(expanding, "MAX_SLOTS", slots)
    assert as_told(worked()) == whole


def test_steps_are_given_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns behind them are as large again, and those of all pieces never stand together."""
    heights: list[int] = []

    def watched(frame: pl.DataFrame) -> pl.DataFrame:
        heights.append(frame.height)
        return frame

    tried = task(stream().map(watched))
    tried.skip_proofs()
    values = encoded(*range(40))
    monkeypatch.setattr(expanding, "MAX_SLOTS", 10 * (len(values[-1]) + 3))
    (published,) = tried.process(records(*values)).publications
    assert list(published.values) == values
    assert sum(heights) == 40
    assert 10 <= max(heights) <= 12  # the first are shorter
