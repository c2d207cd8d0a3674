"""Laws of the codec over generated schemas, records and damaged bytes; fastavro is the oracle."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import fastavro
from hypothesis import event, given, settings
from hypothesis import strategies as st

from headwater.contract import Contract, Decoder, Encoder, from_arrow, parse_contract, to_arrow

ID = 0xFF80A1  # bytes that are no varint and no usual float
PREFIX = b"\0" + ID.to_bytes(4, "big")
LAWS = settings(max_examples=250, deadline=None)
SEEDS = st.integers(0, 2**48)

PLAIN: list[Any] = ["boolean", "int", "long", "float", "double", "string"]
BYTES: list[Any] = [
    "bytes",
    {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
]
LOGICAL: list[Any] = [
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "string", "logicalType": "uuid"},
    *(
        {"type": "long", "logicalType": f"{zone}timestamp-{unit}"}
        for zone in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    ),
]
YEAR_MS = 365 * 86_400_000
INTS = {
    "date": (-700_000, 2_900_000),
    "time-millis": (0, 86_399_999),
    "time-micros": (0, 86_399_999_999),
    "timestamp-millis": (-1900 * YEAR_MS, 7900 * YEAR_MS),
    "timestamp-micros": (-1900 * YEAR_MS * 1000, 7900 * YEAR_MS * 1000),
    "timestamp-nanos": (-(2**63), 2**63 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
FIXED: list[Any] = [
    {"size": 3},
    {"size": 16, "logicalType": "uuid"},
    {"size": 5, "logicalType": "decimal", "precision": 9, "scale": 2},
]
FLOATS = [0.0, -0.0, 0.5, -1.5, math.inf, -math.inf, math.nan]
DEFAULTS: dict[str, Any] = {
    "null": None,
    "int": 7,
    "string": "s",
    "double": 1.5,
    "boolean": True,
    "array": [],
    "map": {},
}
PROMOTED = {
    "long": ["int"],
    "float": ["int", "long"],
    "double": ["int", "long", "float"],
    "string": ["bytes"],
    "bytes": ["string"],
}


class Maker:
    """Schemas, values and damage out of one seed; one seed is one case to run again."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.names = 0
        self.columnar = self.random.random() < 0.5

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    def type(self, depth: int) -> Any:
        makers: list[Callable[[int], Any]] = [self.leaf, self.leaf, self.leaf, self.optional]
        return self.random.choice(makers + ([self.array, self.map, self.record] if depth else []))(
            depth - 1
        )

    def leaf(self, _depth: int) -> Any:
        symbols = self.random.sample("ABCDE", self.random.randint(1, 5))
        enum = {"type": "enum", "name": self.name("E"), "symbols": symbols}
        fixed = {"type": "fixed", "name": self.name("F"), **self.random.choice(FIXED)}
        others = [enum] if self.columnar else [enum, fixed, self.random.choice(BYTES)]
        return self.random.choice([self.random.choice(PLAIN), self.random.choice(LOGICAL), *others])

    def array(self, depth: int) -> Any:
        return {"type": "array", "items": self.type(depth)}

    def map(self, depth: int) -> Any:
        return {"type": "map", "values": self.type(depth)}

    def optional(self, depth: int) -> Any:
        while isinstance(branch := self.type(max(depth, 0)), list):
            pass
        return self.shuffled(["null", branch])

    def record(self, depth: int = 2) -> Any:
        types = [self.type(depth) for _ in range(self.random.randint(1, 4))]
        fields = [{"name": self.name("f"), "type": each, "doc": "d"} for each in types]
        return {"type": "record", "name": self.name("R"), "fields": fields}

    def shuffled(self, items: list[Any]) -> list[Any]:
        return self.random.sample(items, len(items))

    def values(self, schema: Any) -> list[Any]:
        return [self.value(schema) for _ in range(self.random.choice([0, 1, 3, 3, 90]))]

    def value(self, type_: Any) -> Any:
        """A physical value, as fastavro writes it."""
        if isinstance(type_, list):
            type_ = self.random.choice(type_)
        if isinstance(type_, str):
            type_ = {"type": type_}
        some = range(self.random.choice([0, 1, 2, 2, 5]))
        match type_["type"]:
            case "array":
                return [self.value(type_["items"]) for _ in some]
            case "map":
                return {self.text(): self.value(type_["values"]) for _ in some}
            case "record":
                return {each["name"]: self.value(each["type"]) for each in type_["fields"]}
            case "enum":
                return self.random.choice(type_["symbols"])
            case _:
                return self.plain(type_)

    def plain(self, type_: Any) -> Any:
        kind, logical = type_["type"], type_.get("logicalType")
        if logical == "decimal":
            limit = 10 ** type_["precision"] - 1
            return unscaled(self.random.randint(-limit, limit), type_.get("size"))
        makers: dict[str, Callable[[], Any]] = {
            "null": lambda: None,
            "boolean": lambda: self.chance(0.5),
            "string": lambda: (
                str(UUID(bytes=self.random.randbytes(16))) if logical else self.text()
            ),
            "float": lambda: self.random.choice([*FLOATS, float(self.random.randint(-9, 9))]),
            "double": lambda: self.random.choice([*FLOATS, self.random.uniform(-9, 9)]),
            "bytes": lambda: self.random.randbytes(self.random.randrange(5)),
            "fixed": lambda: self.random.randbytes(type_["size"]),
        }
        if kind in makers:
            return makers[kind]()
        return self.number(*INTS[(logical or kind).removeprefix("local-")])

    def number(self, low: int, high: int) -> int:
        near = min(high, max(low, self.random.randint(-200, 200)))
        return self.random.choice([low, high, near, self.random.randint(low, high)])

    def text(self) -> str:
        return "".join(
            self.random.choices("ab\0\u00e9\u20ac\U0001f680", k=self.random.randrange(4))
        )

    def damaged(self, value: bytes) -> bytes:
        out = bytearray(value)
        for _ in range(self.random.choice([0, 0, 1, 2])):
            at = self.random.randint(5, len(out))
            some = self.random.choices([0, 1, 2, 3, 0x7F, 0x80, 0xFF], k=self.random.randrange(4))
            out[at : at + self.random.randrange(3)] = bytes(some)
        return bytes(out)

    def written_as(self, type_: Any) -> Any:
        """A type another version of the contract might have had."""
        if isinstance(type_, list):
            changed = self.written_as(next(each for each in type_ if each != "null"))
            return changed if self.chance(0.5) or isinstance(changed, list) else ["null", changed]
        if isinstance(type_, str):
            changed = self.random.choice([type_, *PROMOTED.get(type_, [])])
            return changed if self.chance(0.7) else self.shuffled(["null", changed])
        changed = dict(type_)
        for inside in {"items", "values"} & type_.keys():
            changed[inside] = self.written_as(type_[inside])
        if type_["type"] == "enum":
            more = ["X"] if self.chance(0.5) else []
            changed["symbols"] = self.shuffled(type_["symbols"] + more)
        return self.other_record(type_) if type_["type"] == "record" else changed

    def other_record(self, record: Any) -> Any:
        fields = [
            {"name": each["name"], "type": self.written_as(each["type"])}
            for each in record["fields"]
            if "default" not in each or self.chance(0.5)
        ]
        if not fields or self.chance(0.5):
            fields.append({"name": self.name("x"), "type": self.type(1)})
        return {**record, "fields": self.shuffled(fields)}

    def with_defaults(self, schema: Any) -> Any:
        """The schema with a default on some of its fields."""
        if isinstance(schema, list):
            return [self.with_defaults(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        out = {key: self.with_defaults(each) for key, each in schema.items()}
        for each in out.get("fields", []):
            kind = each["type"][0] if isinstance(each["type"], list) else each["type"]
            kind = kind["type"] if isinstance(kind, dict) and "logicalType" not in kind else kind
            if isinstance(kind, str) and kind in DEFAULTS and self.chance(0.5):
                each["default"] = DEFAULTS[kind]
        if out.get("type") == "enum" and self.chance(0.3):
            out["default"] = out["symbols"][0]
        return out


def unscaled(number: int, size: int | None) -> bytes:
    """A decimal's number as Avro writes it."""
    least = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return number.to_bytes(size or least, "big", signed=True)


def physical(schema: Any, *, but: str = "") -> Any:
    """The schema without logical types, but for one."""
    if isinstance(schema, list):
        return [physical(each, but=but) for each in schema]
    if isinstance(schema, dict):
        held = {key: physical(each, but=but) for key, each in schema.items()}
        if held.get("logicalType", but) != but:
            del held["logicalType"]
        return held
    return schema


def write(schema: Any, record: Any) -> bytes:
    """A framed value as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(physical(schema)), record)
    return PREFIX + out.getvalue()


def read(body: bytes, writer: Any, reader: Any) -> Any:
    """A record as the reader sees it, physical."""
    wanted = fastavro.parse_schema(physical(reader))
    tell_bytes(wanted)
    return fastavro.schemaless_reader(io.BytesIO(body), physical(writer), wanted)


def tell_bytes(parsed: Any) -> None:
    """Have defaults of bytes be bytes: in Avro's JSON code points 0 to 255 stand for them.

    fastavro demands that text of a schema, and then gives it as it stands.
    """
    if isinstance(parsed, dict):
        first = parsed["type"][0] if isinstance(parsed.get("type"), list) else parsed.get("type")
        kind = first["type"] if isinstance(first, dict) else first
        if kind in {"bytes", "fixed"} and isinstance(parsed.get("default"), str):
            parsed["default"] = parsed["default"].encode("iso-8859-1")
    for each in parsed.values() if isinstance(parsed, dict) else parsed:
        if isinstance(each, dict | list):
            tell_bytes(each)


def repr_of(body: bytes, schema: Any) -> str:
    """A record with NaN equal to NaN, and decimals by value: they have more than one encoding."""
    decimals = physical(schema, but="decimal")
    return repr(fastavro.schemaless_reader(io.BytesIO(body), decimals, None))


def contract(schema: Any) -> Contract:
    """The contract of a schema."""
    return parse_contract(json.dumps(schema), topic="a.b", version=1, path=Path("v1.avsc"))


def decoder(reader: Any, writer: Any | None = None) -> Decoder:
    """A decoder of records written under the writer's schema."""
    return Decoder(contract(reader), lambda _: json.dumps(writer or reader))


@LAWS
@given(SEEDS)
def test_what_fastavro_writes_decodes_the_same_on_both_paths_and_encodes_to_the_same_bytes(
    seed: int,
) -> None:
    """Columnar = row = fastavro, in both directions."""
    maker = Maker(seed)
    schema = maker.record()
    written = [write(schema, each) for each in maker.values(schema)]
    both = decoder(schema)
    decoded = both.decode(written)
    assert not decoded.quarantined
    assert decoded.frame["_row"].to_list() == list(range(len(written)))
    assert decoded.frame.equals(both.decode_by_row(written).frame)
    encoded = Encoder(contract(schema), ID).encode(decoded.frame)
    assert not encoded.quarantined
    assert encoded.values == written


@LAWS
@given(SEEDS)
def test_damaged_bytes_meet_the_same_fate_on_both_paths(seed: int) -> None:
    """The same accept or reject, the same code and message, the same value."""
    maker = Maker(seed)
    schema = maker.record()
    damaged = [maker.damaged(write(schema, each)) for each in maker.values(schema)]
    both = decoder(schema)
    columnar, by_row = both.decode(damaged), both.decode_by_row(damaged)
    event("some refused" if by_row.quarantined else "all taken")
    assert columnar.quarantined == by_row.quarantined
    assert columnar.frame.equals(by_row.frame)
    encoded = Encoder(contract(schema), ID).encode(columnar.frame)
    for row, value in zip(encoded.rows, encoded.values, strict=True):
        assert repr_of(value[5:], schema) == repr_of(damaged[row][5:], schema)


@LAWS
@given(SEEDS)
def test_another_writers_records_resolve_as_fastavro_resolves_them(seed: int) -> None:
    """Defaults, promotions, dropped and reordered fields, null into required, unknown symbols."""
    maker = Maker(seed)
    reader = maker.with_defaults(maker.record())
    writer = maker.written_as(reader)
    written = [write(writer, each) for each in maker.values(writer)]
    both = decoder(reader, writer)
    assert both.check(json.dumps(writer)) == []
    decoded, by_row = both.decode(written), both.decode_by_row(written)
    assert decoded.quarantined == by_row.quarantined
    assert decoded.frame.equals(by_row.frame)
    encoded = Encoder(contract(reader), ID).encode(decoded.frame)
    expected = {}
    for row, value in enumerate(written):
        try:
            expected[row] = write(reader, read(value[5:], writer, reader))
        except (ValueError, fastavro.read.SchemaResolutionError):
            event("refused in a row")
    assert dict(zip(encoded.rows, encoded.values, strict=True)) == expected


@LAWS
@given(SEEDS)
def test_a_table_gives_back_the_frame_it_was_made_of(seed: int) -> None:
    """What Delta stores loses nothing, and hashes of its rows are those of the log."""
    maker = Maker(seed)
    schema = maker.record()
    written = [write(schema, each) for each in maker.values(schema)]
    frame = decoder(schema).decode(written).frame.drop("_row")
    table = to_arrow(frame, contract(schema))
    assert from_arrow(table, contract(schema)).equals(frame)
    if written:
        encoder = Encoder(contract(schema), ID)
        rest = from_arrow(table.slice(1), contract(schema))
        assert encoder.bodies(rest).values.equals(encoder.bodies(frame).values[1:])
