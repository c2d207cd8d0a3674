"""What a table can take of a contract's next version, by the table's format.

A table holds the rows of every version, so a version is held against all before it. A column keeps
the name its field began with; a new column, also inside a struct, is null for the rows before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from headwater.contract import Contract, arrow_schema, former_name

Format = Literal["delta", "iceberg", "parquet"]

WIDENS: Final[Mapping[Format, frozenset[tuple[Any, Any]]]] = {
    # delta-rs writes no type widening: it casts what it is given back to the stored type.
    "delta": frozenset(),
    # Iceberg's specification, "Schema Evolution", of its format version 2.
    "iceberg": frozenset({(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}),
    # Its columns are promised as they are to readers of the files alone.
    "parquet": frozenset(),
}
WIDENS_DECIMALS: Final[Mapping[Format, bool]] = {"delta": False, "iceberg": True, "parquet": False}


@dataclass(frozen=True, slots=True)
class TableRefusal:
    """A column that a table of this format cannot take as the newer version has it.

    `path` is of the newer contract's fields; `stored` and `wanted` are the table's types.
    """

    path: str
    stored: str
    wanted: str


def table_columns(versions: Sequence[Contract]) -> dict[str, str]:
    """The column of each field of the newest version: the name that field began with.

    `versions` are those of one topic, oldest first. A renamed field with an alias keeps its column.
    """
    if not versions:
        return {}
    columns: dict[str, str] = {}
    before: Contract | None = None
    for each in versions:
        columns = {
            name: columns.get(former, former)
            for name in each.columns
            for former in [name if before is None else former_name(name, each, before) or name]
        }
        before = each
    return columns


def table_refusals(older: Contract, newer: Contract, format_: Format) -> list[TableRefusal]:
    """The columns of a table that holds `older` which cannot become those of `newer`."""
    columns = table_columns([older, newer])
    stored = {each.name: each.type for each in arrow_schema(older)}
    return [
        refusal
        for each in arrow_schema(newer)
        if columns[each.name] in stored
        for refusal in _refusals(stored[columns[each.name]], each.type, format_, each.name)
    ]


def _refusals(stored: Any, wanted: Any, format_: Format, path: str) -> Iterator[TableRefusal]:
    if stored.equals(wanted):
        return
    if pa.types.is_struct(stored) and pa.types.is_struct(wanted):
        held = {each.name: each.type for each in stored}
        for each in wanted:
            if each.name in held:
                yield from _refusals(held[each.name], each.type, format_, f"{path}.{each.name}")
    elif pa.types.is_list(stored) and pa.types.is_list(wanted):
        yield from _refusals(stored.value_type, wanted.value_type, format_, path + "[]")
    elif pa.types.is_map(stored) and pa.types.is_map(wanted):
        yield from _refusals(stored.item_type, wanted.item_type, format_, path + "{}")
    elif not _widens(stored, wanted, format_):
        yield TableRefusal(path, str(stored), str(wanted))


def _widens(stored: Any, wanted: Any, format_: Format) -> bool:
    if pa.types.is_decimal(stored) and pa.types.is_decimal(wanted):
        is_wider = stored.scale == wanted.scale and stored.precision <= wanted.precision
        return is_wider and WIDENS_DECIMALS[format_]
    return (stored, wanted) in WIDENS[format_]
