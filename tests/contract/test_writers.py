"""Writers' schemas that are odd or hostile."""

from typing import Any

import pytest
from tests.contract.writing import FRAME, contract, decoder, written

from headwater.contract import Decoder
from headwater.model import Code


def parts(name: str, *fields: str, **more: Any) -> dict[str, Any]:
    """A record of numbers."""
    listed = [{"name": each, "type": "int", "doc": "d"} for each in fields]
    return {"type": "record", "name": name, **more, "fields": listed}


@pytest.mark.parametrize("is_list", [False, True])
def test_two_fields_may_read_different_parts_of_one_writers_field(is_list: bool) -> None:
    """By aliases; both codec paths read what either needs."""

    def around(inner: Any) -> Any:
        return {"type": "array", "items": inner} if is_list else inner

    types = {"a": parts("X", "p"), "b": parts("Y", "q", aliases=["X"])}
    tried = contract(
        fields=[
            {"name": name, "aliases": ["x"], "type": around(type_), "doc": "d"}
            for name, type_ in types.items()
        ]
    )
    x = {"name": "x", "type": around(parts("X", "p", "q"))}
    writer = {"type": "record", "name": "R", "fields": [x]}
    numbers = {"p": 1, "q": 2}
    value = written(writer, {"x": [numbers] if is_list else numbers})
    by_column = decoder(tried, writer).decode([value])
    by_row = decoder(tried, writer).decode_by_row([value])
    assert by_column.quarantined == by_row.quarantined == []
    assert by_column.frame.equals(by_row.frame)
    expected = ([{"p": 1}], [{"q": 2}]) if is_list else ({"p": 1}, {"q": 2})
    assert by_row.frame.select("a", "b").row(0) == expected


HOSTILE = [
    '{"type": "record", "name": "R", "fields": [{"name": "f0", "type": "int", "default": '
    + "1" * 5_000
    + "}]}",
    '{"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 1e9}',
    '{"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": '
    + "9" * 4_000
    + "}",
    '{"type": "fixed", "name": "F", "size": ' + "9" * 4_000 + ', "logicalType": "decimal"}',
    '{"type": "record", "name": "R", "namespace": {}, "fields": []}',
    '{"type": "record", "name": "\\ud800", "fields": []}',
    '{"type": "\\ud800"}',
    '"' + "x" * 1_000_000 + '"',
    "[" * 100_000,
    '{"type":' * 900 + '"int"' + "}" * 900,
    "NaN",
    "",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_schema_quarantines_its_records_and_nothing_else(text: str) -> None:
    """Whoever may register a schema must not stop a reader, nor make it write a huge message."""
    tried = contract("int")
    tried_decoder = Decoder(tried, lambda each: text if each == 1 else tried.text)
    done = tried_decoder.decode([FRAME + b"\2", b"\0\0\0\0\2\2"])
    assert [(q.row, q.code) for q in done.quarantined] == [(0, Code.INCOMPATIBLE_SCHEMA)]
    assert len(done.quarantined[0].message.encode()) < 5_000
    assert done.frame["f0"].to_list() == [1]


@pytest.mark.parametrize("logical", [[], {}, 5, ["date"], "own"])
def test_a_logical_type_nobody_knows_is_ignored_in_a_writers_schema(logical: Any) -> None:
    """As the specification asks: the type below it is what is on the wire."""
    type_ = {"type": "int", "logicalType": logical}
    writer = {"type": "record", "name": "R", "fields": [{"name": "f0", "type": type_}]}
    done = decoder(contract("int"), writer).decode([FRAME + b"\2"])
    assert (done.frame["f0"].to_list(), done.quarantined) == ([1], [])


@pytest.mark.parametrize("kind", ["array", "map"])
def test_a_default_of_a_collection_where_no_row_has_a_place_for_it(kind: str) -> None:
    """Records inside an empty array lack the field none at all times."""
    field = {
        "name": "g",
        "doc": "d",
        "type": {"type": kind, "items": "int", "values": "int"},
        "default": [] if kind == "array" else {},
    }
    plain = {"name": "n", "type": "int", "doc": "d"}
    item = {"type": "record", "name": "I", "fields": [plain, field]}
    tried = contract({"type": "array", "items": item})
    older = {"type": "record", "name": "I", "fields": [plain]}
    writer = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "f0", "type": {"type": "array", "items": older}}],
    }
    decoded = decoder(tried, writer).decode([written(writer, {"f0": []})])
    assert decoded.frame["f0"].to_list() == [[]]
