"""What is fuzzed: the real topics with real rows, random schemas, and schemas made to hurt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
from tests.contract.test_properties import ID, Maker, write
from tests.contract.writing import contract, written

from headwater.assembly.flights import SOURCES, data_directory
from headwater.contract import Encoder, load_contract

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
ROWS: Final = 200  # of each real topic
RANDOM_SCHEMAS: Final = 60
RANDOM_VALUES: Final = 12

Target = dict[str, Any]
"""Name, contract and writer's schema as JSON text, and framed values in hexadecimal digits."""


def all_targets() -> list[Target]:
    """Every target; the real topics as often as all the others together."""
    real = list(_real())
    others = [*_random(), *_hostile()]
    return [*others, *(real * (len(others) // len(real)))]


def _real() -> Iterator[Target]:
    for source in SOURCES:
        loaded = load_contract(SCHEMAS, source.topic, source.contract)
        frame = source.read(data_directory()).head(ROWS)
        numbered = frame.with_columns(pl.int_range(frame.height, dtype=pl.UInt32).alias("_row"))
        values = Encoder(loaded, ID).encode(numbered).values
        yield _target(source.topic, loaded.text, loaded.text, values)


def _random() -> Iterator[Target]:
    for seed in range(RANDOM_SCHEMAS):
        maker = Maker(seed)
        reader = maker.with_defaults(maker.record())
        writer = reader if seed % 2 else maker.written_as(reader)
        values = [write(writer, maker.value(writer)) for _ in range(RANDOM_VALUES)]
        yield _target(f"schema {seed}", json.dumps(reader), json.dumps(writer), values)


def _hostile() -> Iterator[Target]:
    """Writers of a plain contract whose further fields nobody reads, but everybody passes."""
    plain = contract("int")
    nulls = [{"name": f"n{place}", "type": "null"} for place in range(200)]
    node = [{"name": "next", "type": ["null", "Node"]}, {"name": "all", "type": "bytes"}]
    tree = [{"name": "all", "type": {"type": "array", "items": "Tree"}}]
    empty = {"type": "fixed", "name": "Nothing", "size": 0}

    def of(count: int) -> dict[str, int]:
        return dict.fromkeys((f"i{place}" for place in range(count)), 7)

    kinds: dict[str, tuple[Any, Any]] = {
        "nulls": ({"type": "array", "items": "null"}, [None, None]),
        "empties": ({"type": "array", "items": empty}, [b"", b""]),
        "wide": (
            {"type": "array", "items": {"type": "record", "name": "Wide", "fields": nulls}},
            [dict.fromkeys(each["name"] for each in nulls)],
        ),
        "list": (
            {"type": "record", "name": "Node", "fields": node},
            {"next": {"next": None, "all": b"a"}, "all": b"b"},
        ),
        "tree": (
            {"type": "record", "name": "Tree", "fields": tree},
            {"all": [{"all": []}, {"all": [{"all": []}]}]},
        ),
        "map": ({"type": "map", "values": ["null", "long"]}, {"a": 1, "b": None}),
        "union": (["null", "int", "string", "boolean"], "text"),
        "optional records": ({"type": "array", "items": ["null", _ints(63)]}, [None, of(63)]),
        "too wide for columns": ({"type": "array", "items": ["null", _ints(64)]}, [of(64), None]),
        "optional values": ({"type": "map", "values": ["null", _ints(9)]}, {"": None, "a": of(9)}),
        "records in records": ({"type": "array", "items": _chain(8)}, [_link(8), _link(8)]),
    }
    for name, (type_, value) in kinds.items():
        fields = [{"name": "f0", "type": "int"}, {"name": "x", "type": type_}]
        writer = {"type": "record", "name": "R", "fields": fields}
        values = [written(writer, {"f0": number, "x": value}) for number in (0, -1, 2**31 - 1)]
        yield _target(name, plain.text, json.dumps(writer), values)


def _ints(count: int) -> dict[str, Any]:
    fields = [{"name": f"i{place}", "type": "int"} for place in range(count)]
    return {"type": "record", "name": "Ints", "fields": fields}


def _chain(levels: int) -> Any:
    """A record in a record, and so on; one int takes the only byte."""
    if not levels:
        return "int"
    fields = [{"name": "in", "type": _chain(levels - 1)}]
    return {"type": "record", "name": f"C{levels}", "fields": fields}


def _link(levels: int) -> Any:
    return {"in": _link(levels - 1)} if levels else 1


def _target(name: str, reader: str, writer: str, values: list[bytes]) -> Target:
    return {
        "name": name,
        "contract": reader,
        "writer": writer,
        "seeds": [value.hex() for value in values],
    }
