"""Every way a record can be bad, in one run through the real broker: each costs itself alone.

The bad records stand in one partition with a good one before and behind each. One product reads
them once; each way is a test of its own that looks at what came of it.
"""

import io
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import pytest
from confluent_kafka import Producer
from tests.faults.harness import Bench

from headwater.adapters.registry import SchemaRegistry
from headwater.engine.screening import MAX_HEADERS, MAX_RECORD_BYTES
from headwater.model import Code, Headers, RawRecord
from headwater.ports import TopicSettings
from headwater.product.names import folder_of

pytestmark = pytest.mark.kafka

PREFIX: Final = "headwater.error."
TOPIC: Final = "faults.readings"
NOW_MS: Final = 1_700_000_000_000
UUID: Final = "01234567-89ab-cdef-0123-456789abcdef"

FIELDS: Final[list[dict[str, Any]]] = [
    {"name": "id", "type": "string"},
    {"name": "n", "type": "int", "rule": "n >= 0"},
    {"name": "ok", "type": "boolean"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
    {"name": "x", "type": "double"},
    {
        "name": "amount",
        "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
    },
    {"name": "ref", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
]
CONTRACT: Final = {
    "type": "record",
    "name": "Reading",
    "key": "id",
    "eventTime": "at",
    "maxAhead": "1h",
    "owner": "tests@airport.example",
    "doc": "A reading.",
    "fields": [{**each, "doc": "A part of it."} for each in FIELDS],
}
WIRE: Final = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": name, "type": kind}
            for name, kind in {
                "id": "string",
                "n": "long",
                "ok": "boolean",
                "kind": "int",
                "x": "double",
                "amount": "bytes",
                "ref": "string",
                "at": "long",
            }.items()
        ],
    }
)
"""The same bytes without the checks of a writer: an enum is its index, an int may be longer."""

STEPS: Final = '''
"""Passes readings on, but raises for one and makes another too large."""

import polars as pl

from headwater import DataProduct

product = DataProduct(name="operations.departure-delays", owner="tests@airport.example")
readings = product.stream("operations.departures", contract=1, start="earliest")


def strict(frame: pl.DataFrame) -> pl.DataFrame:
    """As it is, but one reading is refused."""
    if (frame["n"] == 666).any():
        raise ValueError("secret")
    return frame


grown = pl.when(pl.col("n") == 777).then(pl.lit("x" * 1_100_000)).otherwise(pl.col("id"))
product.publish(readings.map(strict).with_columns(id=grown), contract=1)
'''

NODE: Final = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "next", "type": ["null", "Node"]}],
}
MORE: Final[dict[str, Any]] = {
    "deep": {"name": "more", "type": ["null", NODE], "default": None},
    "many": {"name": "more", "type": {"type": "array", "items": "null"}, "default": []},
}


@dataclass(frozen=True, slots=True)
class Bad:
    """A record as it is sent, and the code it must get."""

    code: Code
    value: bytes | None
    key: bytes | None = b"bad"
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run made of all records."""

    sent: dict[str, Bad]
    letters: dict[str, RawRecord]
    good: list[str]
    published: list[str]


def body(**changed: Any) -> bytes:
    """A reading as bytes without a frame, some of its fields changed."""
    reading = {
        "id": "good",
        "n": 1,
        "ok": True,
        "kind": 0,
        "x": 0.5,
        "amount": b"\x01",
        "ref": UUID,
        "at": NOW_MS,
        **changed,
    }
    out = io.BytesIO()
    fastavro.schemaless_writer(out, WIRE, reading)
    return out.getvalue()


def bad_records(frames: dict[str, bytes]) -> dict[str, Bad]:
    """Every way, by its name; `frames` are those of each writer's schema."""
    frame, good = frames["own"], frames["own"] + body()
    values: dict[str, tuple[Code, bytes | None]] = {
        "null value": (Code.EMPTY_VALUE, None),
        "empty value": (Code.EMPTY_VALUE, b""),
        "first byte not 0": (Code.BAD_MAGIC, b"\1" + good[1:]),
        "fewer than 5 bytes": (Code.TRUNCATED_FRAME, b"\0\0"),
        "unknown schema id": (Code.UNKNOWN_SCHEMA_ID, b"\0\x7f\xff\xff\xff" + body()),
        "id of another subject": (Code.SCHEMA_SUBJECT_MISMATCH, frames["foreign"] + body()),
        "no resolution": (Code.INCOMPATIBLE_SCHEMA, frames["incompatible"] + b"\2"),
        "cut off": (Code.AVRO_LENGTH, good[:-1]),
        "length beyond the end": (Code.AVRO_LENGTH, frame + b"\xfe\xff\x03" + body()[1:]),
        "negative length": (Code.AVRO_INDEX, frame + b"\1" + body()[1:]),
        "symbol beyond the enum": (Code.AVRO_INDEX, frame + body(kind=2)),
        "negative symbol": (Code.AVRO_INDEX, frame + body(kind=-1)),
        "items without bytes": (
            Code.AVRO_BUDGET,
            frames["many"] + body() + b"\x80\x80\x80\x40\0",
        ),
        "deep nesting": (Code.AVRO_DEPTH, frames["deep"] + body() + b"\2" * 5_000 + b"\0"),
        "varint of 11 bytes": (Code.AVRO_VARINT, frame + b"\xff" * 11),
        "trailing bytes": (Code.TRAILING_BYTES, good + b"\0"),
        "bad UTF-8": (Code.BAD_UTF8, frame + b"\x08\xff\xff\xff\xff" + body()[5:]),
        "int beyond 32 bits": (Code.AVRO_RANGE, frame + body(n=2**31)),
        "boolean 7": (Code.AVRO_RANGE, good.replace(b"good\2\1", b"good\2\7")),
        "timestamp out of range": (Code.BAD_TEMPORAL, frame + body(at=2**62)),
        "decimal beyond precision": (Code.DECIMAL_OVERFLOW, frame + body(amount=b"\x7f" * 8)),
        "no UUID": (Code.AVRO_UUID, frame + body(ref="no uuid")),
        "not a number": (Code.NON_FINITE, frame + body(x=float("nan"))),
        "infinity": (Code.NON_FINITE, frame + body(x=float("inf"))),
        "far in the future": (Code.FUTURE_EVENT, frame + body(at=NOW_MS + 7_200_000)),
        "broken rule": (Code.CONTRACT_VIOLATION, frame + body(n=-5)),
        "value beyond 1 MB": (Code.OVERSIZED_IN, frame + bytes(MAX_RECORD_BYTES)),
        "output beyond the limit": (Code.MSG_SIZE_TOO_LARGE, frame + body(n=777)),
        "step raises": (Code.STEP_FAILED, frame + body(n=666)),
    }
    many = [("h", b"1")] * (MAX_HEADERS + 1)
    others = {
        "null key": Bad(Code.BAD_KEY, good, key=None),
        "key of other bytes": Bad(Code.BAD_KEY, good, key=b"\xff\xfe"),
        "oversized key": Bad(Code.BAD_KEY, good, key=b"k" * 70_000),
        "too many headers": Bad(Code.TOO_MANY_HEADERS, good, headers=many),
        "headers too large": Bad(Code.TOO_MANY_HEADERS, good, headers=[("h", bytes(300_000))]),
    }
    return {name: Bad(code, value) for name, (code, value) in values.items()} | others


WAYS: Final = list(bad_records(dict.fromkeys(["own", "foreign", "incompatible", *MORE], b"")))
BY_REFERENCE: Final = {"value beyond 1 MB", "too many headers", "headers too large"}


def write_contract(bench: Bench, topic: str) -> None:
    """The contract of readings, under a topic."""
    file = bench.folder / "schemas" / folder_of(topic) / "v1.avsc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(CONTRACT))


def registered(bench: Bench) -> dict[str, bytes]:
    """The frame of each writer's schema: the contract's, compatible ones, and others."""
    fields = [{**each} for each in FIELDS]
    plain: dict[str, Any] = {"type": "record", "name": "Reading", "fields": fields}
    schemas: dict[str, tuple[str, Any]] = {
        "own": (TOPIC, CONTRACT),
        "foreign": ("faults.elsewhere", {**plain, "doc": "Of another topic."}),
        "incompatible": (TOPIC, {**plain, "fields": [{"name": "other", "type": "int"}]}),
    }
    for name, field in MORE.items():
        schemas[name] = (TOPIC, {**plain, "fields": [*fields, field]})
    frames = {}
    with closing(SchemaRegistry({"url": bench.addresses.registry})) as registry:
        for name, (topic, schema) in schemas.items():
            found = registry.register(f"{topic}-value", json.dumps(schema), compatibility="NONE")
            frames[name] = b"\0" + found.schema_id.to_bytes(4, "big")
    return frames


def send(bench: Bench, records: Sequence[Bad]) -> None:
    """Publish in order."""
    large = {"message.max.bytes": 1_040_000}  # the broker's default is a little more
    producer = Producer({**bench.kafka, **large, "enable.idempotence": True, "linger.ms": 0})
    for record in records:
        producer.produce(
            TOPIC,
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            timestamp=NOW_MS,
        )
    assert producer.flush(20) == 0


@pytest.fixture(scope="module")
def seen(bench: Bench) -> Seen:
    """All records sent, read by one product in one run."""
    write_contract(bench, TOPIC)
    bench.topics.create([TopicSettings(TOPIC, 1, "log")])
    frames = registered(bench)
    product = bench.product("good-readings", TOPIC, STEPS)
    write_contract(bench, product)
    sent = bad_records(frames)
    good = [f"good-{place}" for place in range(len(sent) + 1)]
    records = [Bad(Code.EMPTY_VALUE, frames["own"] + body(id=good[0]), key=b"good")]
    for bad, name in zip(sent.values(), good[1:], strict=True):
        records += [bad, Bad(Code.EMPTY_VALUE, frames["own"] + body(id=name), key=b"good")]
    send(bench, records)
    tolerant = {"HEADWATER_ON_INCOMPATIBLE": "dead-letter"}
    with bench.run(product, settings=tolerant) as run:
        assert run.exit_code() == 0, run.errors()
        assert "secret" not in run.errors()
    names = list(sent)
    letters = {}
    for letter in bench.records(f"{product}.dead-letters"):
        offset = int((dict(letter.headers)[PREFIX + "offset"] or b"").decode())
        letters[names[offset // 2]] = letter
    published = bench.visible(product).sort("_offset")["id"].to_list()
    return Seen(sent, letters, good, published)


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_record_lands_in_dead_letters_with_its_code(seen: Seen, way: str) -> None:
    """With raw key and value, but for what is too large to carry, and a message."""
    letter, sent = seen.letters[way], seen.sent[way]
    headers = dict(letter.headers)
    assert headers[PREFIX + "code"] == sent.code.encode()
    assert headers[PREFIX + "message"]
    assert headers[PREFIX + "step"]
    assert headers[PREFIX + "topic"] == TOPIC.encode()
    assert letter.key == sent.key
    if way in BY_REFERENCE:
        assert b"omitted, too large" in headers.values()
        assert len(letter.headers) < 30
    assert letter.value == (None if sent.code is Code.OVERSIZED_IN else sent.value)


def test_every_good_neighbour_is_published_once_and_in_order(seen: Seen) -> None:
    """A bad record costs itself alone."""
    assert seen.published == seen.good


def test_there_is_one_letter_for_each_bad_record(seen: Seen) -> None:
    """None is lost, and no good record is among them."""
    assert seen.letters.keys() == seen.sent.keys()
