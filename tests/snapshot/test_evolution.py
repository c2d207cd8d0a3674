"""What a table takes of a contract's next version, held against the real Delta."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import SchemaMismatchError

from headwater.contract import Contract, arrow_schema, parse_contract
from headwater.snapshot.evolution import table_refusals
from headwater.snapshot.layout import Layout

INNER = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "int", "doc": "d"}]}
WIDER = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "long", "doc": "d"}]}


def contract(version: int, /, **fields: Any) -> Contract:
    """A version with these fields; a type, or a type with attributes."""
    listed = [
        {"name": name, "doc": "d"} | (given if _is_field(given) else {"type": given})
        for name, given in fields.items()
    ]
    schema = {"type": "record", "name": "R", "fields": listed}
    path = Path(f"v{version}.avsc")
    return parse_contract(json.dumps(schema), topic="a.b", version=version, path=path)


def _is_field(given: Any) -> bool:
    return isinstance(given, dict) and "aliases" in given


def decimal(precision: int, scale: int = 2) -> dict[str, Any]:
    """A decimal over bytes."""
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


@pytest.mark.parametrize(
    ("old", "new", "iceberg"),
    [
        ("int", "long", True),
        ("float", "double", True),
        (decimal(9), decimal(12), True),
        ("int", "double", False),
        ("long", "double", False),
        ("string", "bytes", False),
        (decimal(12), decimal(9), False),
        ("long", {"type": "long", "logicalType": "timestamp-micros"}, False),
    ],
)
def test_delta_widens_no_column_and_iceberg_three_kinds(
    tmp_path: Path, old: Any, new: Any, iceberg: bool
) -> None:
    """Delta keeps the stored type whatever it is given; Iceberg's is what its specification says.

    https://iceberg.apache.org/spec/#schema-evolution
    """
    older, newer = contract(1, x=old), contract(2, x=new)
    (refusal,) = table_refusals(older, newer, "delta")
    assert (refusal.path, refusal.stored) == ("x", str(arrow_schema(older).field("x").type))
    assert table_refusals(older, newer, "parquet") == [refusal]
    assert (table_refusals(older, newer, "iceberg") == []) is iceberg
    _append(tmp_path, older)
    with suppress(SchemaMismatchError):  # refused, or cast: never widened
        _append(tmp_path, newer)
    assert _stored(tmp_path).field("x").type == arrow_schema(older).field("x").type


def test_delta_refuses_a_value_the_stored_type_does_not_hold(tmp_path: Path) -> None:
    """Hence a promotion would work until the first large number."""
    _append(tmp_path, contract(1, x="int"))
    rows = pa.table({"x": pa.array([1 << 40], pa.int64())})
    with pytest.raises(Exception, match="Cast error"):
        write_deltalake(tmp_path, rows, mode="append", schema_mode="merge")


@pytest.mark.parametrize("format_", ["delta", "iceberg", "parquet"])
def test_new_columns_are_taken_also_inside_structs(tmp_path: Path, format_: Any) -> None:
    """They are null for the rows before them; a dropped one stays, and is null from then on."""
    more = {**INNER, "fields": [*INNER["fields"], {"name": "b", "type": "int", "doc": "d"}]}
    older = contract(1, x=INNER, gone="int", items={"type": "array", "items": "int"})
    newer = contract(2, x=more, y="string", items={"type": "array", "items": "int"})
    assert table_refusals(older, newer, format_) == []
    _append(tmp_path, older)
    _append(tmp_path, newer)
    stored = _stored(tmp_path)
    assert set(stored.names) == {"x", "gone", "items", "y"}
    assert {each.name for each in stored.field("x").type} == {"a", "b"}


def test_what_is_refused_inside_a_column_has_its_path() -> None:
    """In a struct, in a list, in a map."""
    older = contract(1, x={"type": "array", "items": INNER}, y={"type": "map", "values": "int"})
    newer = contract(2, x={"type": "array", "items": WIDER}, y={"type": "map", "values": "long"})
    refusals = table_refusals(older, newer, "delta")
    assert [(each.path, each.stored, each.wanted) for each in refusals] == [
        ("x[].a", "int32", "int64"),
        ("y{}", "int32", "int64"),
    ]


def test_types_a_table_stores_alike_are_no_change() -> None:
    """Delta knows microseconds only, and an enum is a text there."""
    at = [{"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("millis", "micros")]
    kind = {"type": "enum", "name": "E", "symbols": ["A"]}
    older, newer = contract(1, at=at[0], kind=kind), contract(2, at=at[1], kind="string")
    assert table_refusals(older, newer, "delta") == []


def test_a_renamed_field_keeps_its_column() -> None:
    """The name it began with, through every alias on the way; without one it is a new column."""
    versions = [
        contract(1, carrier="string"),
        contract(2, airline={"type": "string", "aliases": ["carrier"]}),
        contract(4, operator={"type": "string", "aliases": ["airline"]}, carrier2="string"),
    ]
    layout = Layout(versions[0]).of_next(versions[1]).of_next(versions[2])
    assert layout.stored_names == {"operator": "carrier"}
    assert layout.columns.names[:2] == ["carrier", "carrier2"]
    renamed = contract(2, airline={"type": "int", "aliases": ["carrier"]})
    (refusal,) = table_refusals(versions[0], renamed, "delta")
    assert (refusal.path, refusal.stored, refusal.wanted) == ("airline", "string", "int32")


def _append(directory: Path, of: Contract) -> None:
    """One row of nulls in a contract's columns."""
    schema = arrow_schema(of)
    rows = pa.Table.from_arrays([pa.nulls(1, each.type) for each in schema], schema=schema)
    write_deltalake(directory, rows, mode="append", schema_mode="merge")


def _stored(directory: Path) -> pa.Schema:
    return pa.schema(DeltaTable(directory).schema().to_arrow())
