"""What a row is told apart by: its number, from the log's bytes, its values, and the table's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from tests.contract.test_properties import PREFIX, SEEDS, Maker, write

from headwater.adapters.memory import MemoryBroker, MemoryRangeReader
from headwater.contract import from_arrow, parse_contract
from headwater.model import Partition
from headwater.ports import Records, TopicSettings
from headwater.snapshot.rows import NO_BODY, RowCodec

TOPIC = "shop.orders"
SCHEMA_ID = 7
DAY_US = 86_400_000_000
UUID = {"type": "fixed", "name": "F", "size": 16, "logicalType": "uuid"}
TIMES = [
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
]

CASES: dict[str, tuple[Any, Sequence[bytes], Any]] = {
    "a text that is no symbol": (
        {"type": "enum", "name": "E", "symbols": ["A", "B"]},
        [b"\0", b"\2"],
        "C",
    ),
    "a uuid in capitals": (
        UUID,
        [b"\xab" * 16, b"\1" * 16],
        "AB" * 4 + "-ABAB" * 3 + "-" + "AB" * 6,
    ),
    **{
        f"{stored} for no {each['logicalType']}": (["null", each], [b"\0", b"\2\2"], stored)
        for each in TIMES
        for stored in (-1, DAY_US, -(2**63))
    },
    "a list with a time of no day": (
        {"type": "array", "items": ["null", TIMES[1]]},
        [b"\2\0\0", b"\0"],
        [DAY_US],
    ),
}


@pytest.mark.parametrize(("type_", "bodies", "stored"), CASES.values(), ids=list(CASES))
def test_a_stored_value_that_no_value_of_the_log_is_stored_as_is_a_change(
    type_: Any, bodies: Sequence[bytes], stored: Any
) -> None:
    """Also where it would be read as the log has it; the rows beside it are what they were."""
    field = {"name": "f", "type": type_, "doc": "d"}
    codec = codec_of({"type": "record", "name": "R", "fields": [field]})
    rows = codec.from_log(records(bodies))
    table = codec.to_table(rows)
    assert codec.from_table(table).columns.equals(rows.numbered.columns)
    kind = table.schema.field(0).type
    changed = table.set_column(0, "f", pa.array([stored, table[0][1].as_py()], kind))
    numbers = codec.from_table(changed).digests
    assert numbers.to_list() == [NO_BODY, rows.numbered.digests[1]]
    with pytest.raises(pa.ArrowInvalid):  # which readers tell as damage
        from_arrow(changed, codec.contract)


def codec_of(schema: Any) -> RowCodec:
    """Of rows of a schema."""
    contract = parse_contract(json.dumps(schema), topic=TOPIC, version=1, path=Path("v1.avsc"))
    return RowCodec(contract, SCHEMA_ID, lookup=lambda _: contract.text)


def records(bodies: Sequence[bytes]) -> Records:
    """Bodies under one id, in a log of one partition."""
    broker = MemoryBroker()
    broker.create(TopicSettings(TOPIC, 1, "log", {"cleanup.policy": "delete"}))
    for body in bodies:
        broker.append(TOPIC, b"\0" + SCHEMA_ID.to_bytes(4, "big") + body, key=None)
    place = {Partition(TOPIC, 0): (0, len(bodies))}
    (found,) = MemoryRangeReader(broker).read(place, max_records=len(bodies))
    return found


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_rows_are_the_same_however_they_are_made(seed: int) -> None:
    """Proved by their bytes, decoded, read by row, or encoded again from the table; all types."""
    maker = Maker(seed)
    schema = maker.record()
    bodies = [write(schema, maker.value(schema)) for _ in range(maker.random.choice([1, 3, 40]))]
    if maker.chance(0.5):
        bodies = [maker.damaged(body) for body in bodies]
    codec = codec_of(schema)
    held = records([body[len(PREFIX) :] for body in bodies])
    rows, decoded = codec.from_log(held), codec._decoded(held)
    assert rows.frame.equals(decoded.frame)
    assert list(rows.refused) == decoded.refused
    assert rows.numbered.columns.equals(decoded.numbered.columns)
    refused = {offset for offset, _ in rows.refused}
    assert set(codec.recheck(held, rows.numbered, 1)[1]) <= refused
    if (table := codec.to_table(rows)).num_rows:
        first = maker.random.randrange(table.num_rows)
        again = codec.from_table(table.slice(first))
        assert again.columns.equals(rows.numbered.columns[first:])
