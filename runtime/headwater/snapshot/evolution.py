"""What a table can take of a contract's next version, by the table's format.

A table holds the rows of every version, so a version is held against all before it. A column keeps
the name its field began with; a new column, also inside a struct, is null for the rows before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from headwater.contract import Contract, arrow_schema
from headwater.snapshot.columns import widens
from headwater.snapshot.layout import ITEMS, VALUES, Layout, Names

Format = Literal["delta", "iceberg", "parquet"]

WIDENS: Final[Mapping[Format, bool]] = {
    "delta": False,  # delta-rs writes no type widening: it casts what it is given back
    "iceberg": True,  # its specification, "Schema Evolution", of format version 2
    "parquet": False,  # its columns are promised as they are to readers of the files alone
}


@dataclass(frozen=True, slots=True)
class TableRefusal:
    """A column that a table of this format cannot take as the newer version has it.

    `path` is of the newer contract's fields; `stored` and `wanted` are the table's types.
    """

    path: str
    stored: str
    wanted: str


def table_refusals(older: Contract, newer: Contract, format_: Format) -> list[TableRefusal]:
    """The columns of a table that holds `older` which cannot become those of `newer`."""
    names = Layout(older).of_next(newer).stored_names
    return list(
        _fields(list(arrow_schema(older)), list(arrow_schema(newer)), "", _Gate(format_, names))
    )


@dataclass(frozen=True, slots=True)
class _Gate:
    format: Format
    names: Names


def _fields(
    stored: Sequence[pa.Field], wanted: Sequence[pa.Field], path: str, gate: _Gate
) -> Iterator[TableRefusal]:
    held = {each.name: each.type for each in stored}
    for each in wanted:
        at = f"{path}.{each.name}".lstrip(".")
        if (name := gate.names.get(at, each.name)) in held:
            yield from _refusals(held[name], each.type, at, gate)


def _refusals(stored: Any, wanted: Any, path: str, gate: _Gate) -> Iterator[TableRefusal]:
    if pa.types.is_struct(stored) and pa.types.is_struct(wanted):
        yield from _fields(list(stored), list(wanted), path, gate)
    elif pa.types.is_list(stored) and pa.types.is_list(wanted):
        yield from _refusals(stored.value_type, wanted.value_type, path + ITEMS, gate)
    elif pa.types.is_map(stored) and pa.types.is_map(wanted):
        yield from _refusals(stored.item_type, wanted.item_type, path + VALUES, gate)
    elif not stored.equals(wanted) and not (WIDENS[gate.format] and widens(stored, wanted)):
        yield TableRefusal(path, str(stored), str(wanted))
