"""Columns as Iceberg has them, in Arrow's plain types."""

from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema


def in_iceberg(columns: pa.Schema) -> pa.Schema:
    """Columns in Iceberg's own types: it knows neither milliseconds nor small integers."""
    return in_arrow(to_schema(columns))


def to_schema(columns: pa.Schema) -> Schema:
    """Columns as a schema of Iceberg's, with ids of their own."""
    return Catalog._convert_schema_if_needed(columns)  # noqa: SLF001  no public way without a table


def in_arrow(schema: Schema, *, with_ids: bool = False) -> pa.Schema:
    """A schema of Iceberg's as a contract's columns are; ids stand in the metadata of fields."""
    fields = schema_to_pyarrow(schema, include_field_ids=with_ids)
    return pa.schema([_plain_field(each) for each in fields])


def _plain_field(field: Any) -> Any:
    return field.with_type(_plain(field.type))


def _plain(kind: Any) -> Any:
    """Offsets of 32 bits, where pyiceberg asks for 64: what a contract's columns have."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field))
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(each) for each in kind])
    return kind
