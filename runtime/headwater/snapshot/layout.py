"""How the columns of a contract stand in a table that holds rows of several versions.

A column keeps the name its field began with, also inside structs; a field that was dropped stays
as a column, null from then on; a new one stands behind the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from headwater.contract import Contract, arrow_schema, former_names
from headwater.contract.arrays import (
    KEY,
    VALUE,
    children,
    entries,
    list_of,
    map_of,
    plain,
    struct,
    tight,
)
from headwater.snapshot.columns import has_fields_of, narrowed
from headwater.snapshot.place import PLACE

ITEMS: Final = "[]"
VALUES: Final = "{}"

Names = Mapping[str, str]
"""The stored name of each field that is stored under another than its own, by its path."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a table has the columns of one contract, and the place of each row."""

    contract: Contract
    stored_names: Names = field(default_factory=dict)

    @property
    def contract_columns(self) -> pa.Schema:
        """The columns of rows under the contract's own names."""
        return pa.schema([*arrow_schema(self.contract), *PLACE])

    @property
    def columns(self) -> pa.Schema:
        """The same under the names that they are stored by."""
        contract = arrow_schema(self.contract)
        fields = (self._stored_field(each, each.name) for each in contract)
        return pa.schema([*fields, *PLACE])

    def of_next(self, newer: Contract) -> "Layout":
        """Where the table has the columns of the contract that follows.

        A field that this contract has, under this name or an alias, stays where it is.
        """
        names = {}
        for path, former in former_names(newer, self.contract).items():
            stored = self.stored_names.get(former, _last(former))
            if stored != _last(path):
                names[path] = stored
        return Layout(newer, names)

    def to_stored(
        self, rows: pa.Table, columns: pa.Schema, beneath: pa.Table | None = None
    ) -> pa.Table:
        """Rows of the contract as rows of a table that has these columns.

        What the contract does not have is that of `beneath`, the same rows of the table as they
        were, else null.
        """
        fitting = _Fitting(self.stored_names, is_storing=True)
        sources = {self._stored_name(name, name): name for name in rows.column_names}
        arrays = []
        for each in columns:
            found = None if beneath is None else _held(beneath, each.name)
            if (name := sources.get(each.name)) is not None:
                found = fitting.fit(plain(rows[name]), each.type, name, found)
            arrays.append(pa.nulls(rows.num_rows, each.type) if found is None else found)
        cast = [array.cast(kind) for array, kind in zip(arrays, columns.types, strict=True)]
        return pa.Table.from_arrays(cast, schema=columns)

    def from_stored(self, rows: pa.Table) -> pa.Table:
        """Rows of a table as rows of the contract; what is not stored is null.

        Raises ArrowInvalid for a value that the contract's narrower type does not hold.
        """
        if self.is_as_stored(rows.schema):
            return rows
        fitting = _Fitting(self.stored_names, is_storing=False)
        wanted = self.contract_columns
        arrays = []
        for each in wanted:
            found = _held(rows, self._stored_name(each.name, each.name))
            if found is None:
                found = pa.nulls(rows.num_rows, each.type)
            elif each.name not in PLACE.names:
                found = fitting.fit(found, each.type, each.name)
            arrays.append(found)
        return pa.Table.from_arrays(arrays, names=wanted.names)

    def is_as_stored(self, stored: pa.Schema) -> bool:
        """Whether rows of these columns are already those of the contract, by names alone."""
        return not self.stored_names and _is_alike(stored, self.contract_columns)

    def holds_as(self, other: "Layout") -> bool:
        """Whether rows of this layout are rows of another as they stand."""
        return (
            self.stored_names == other.stored_names
            and self.contract.record == other.contract.record
        )

    def shared_names(self) -> list[str]:
        """The columns that several fields of the contract would be stored in, by their path."""
        return list(_repeated(list(self.columns), ""))

    def _stored_field(self, each: pa.Field, path: str) -> pa.Field:
        kind = self._stored_type(each.type, path)
        return pa.field(self._stored_name(path, each.name), kind, each.nullable)

    def _stored_type(self, kind: pa.DataType, path: str) -> pa.DataType:
        if not self.stored_names:
            return kind
        if pa.types.is_struct(kind):
            return pa.struct([self._stored_field(each, f"{path}.{each.name}") for each in kind])
        if pa.types.is_list(kind):
            return pa.list_(self._stored_type(kind.value_type, path + ITEMS))
        if pa.types.is_map(kind):
            return pa.map_(kind.key_type, self._stored_type(kind.item_type, path + VALUES))
        return kind

    def _stored_name(self, path: str, name: str) -> str:
        return self.stored_names.get(path, name)


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Gives arrays the fields that another type has, found by name on every level.

    `is_storing` tells which side has the stored names: the wanted type, or the array's.
    """

    names: Names
    is_storing: bool

    def fit(self, array: Any, wanted: pa.DataType, path: str, below: Any = None) -> Any:
        """The array with the fields of the wanted type; `path` is that of the contract's field."""
        if pa.types.is_struct(wanted):
            return self._struct(array, wanted, path, below)
        if pa.types.is_list(wanted):
            lists = tight(array)
            held = None if below is None else tight(below).values
            values = self.fit(lists.values, wanted.value_type, path + ITEMS, held)
            return list_of(values, lists)
        if pa.types.is_map(wanted):
            lists = entries(array)
            pairs = children(lists.values)
            held = None if below is None else children(entries(below).values)[VALUE]
            values = self.fit(pairs[VALUE], wanted.item_type, path + VALUES, held)
            return map_of(pairs[KEY], values, lists)
        return array if self.is_storing else narrowed(array, wanted)

    def _struct(self, array: Any, wanted: pa.DataType, path: str, below: Any) -> Any:
        held = children(array)
        beneath = {} if below is None else children(below)
        sources = self._sources(held, wanted, path)
        arrays = []
        for each in wanted:
            under = beneath.get(each.name)
            if (name := sources.get(each.name)) is None:
                arrays.append(pa.nulls(len(array), each.type) if under is None else under)
            else:
                at = f"{path}.{name if self.is_storing else each.name}"
                arrays.append(self.fit(held[name], each.type, at, under))
        return struct(arrays, [each.name for each in wanted], array)

    def _sources(self, held: Mapping[str, Any], wanted: pa.DataType, path: str) -> dict[str, str]:
        """The name in the array of each wanted field that it has."""
        if self.is_storing:
            return {self.names.get(f"{path}.{name}", name): name for name in held}
        found = {each.name: self.names.get(f"{path}.{each.name}", each.name) for each in wanted}
        return {name: source for name, source in found.items() if source in held}


def _is_alike(stored: pa.Schema, wanted: pa.Schema) -> bool:
    return stored.names == wanted.names and all(
        has_fields_of(held, asked) for held, asked in zip(stored.types, wanted.types, strict=True)
    )


def _held(rows: pa.Table, name: str) -> Any:
    """A column as one array; None where there is none."""
    return plain(rows[name]) if name in rows.column_names else None


def _repeated(fields: list[pa.Field], path: str) -> Iterator[str]:
    seen = set()
    for each in fields:
        if each.name in seen:
            yield f"{path}{each.name}"
        seen.add(each.name)
        inner = each.type
        while not pa.types.is_struct(inner) and inner.num_fields:
            inner = inner.field(inner.num_fields - 1).type  # items of a list, values of a map
        if pa.types.is_struct(inner):
            yield from _repeated(list(inner), f"{path}{each.name}.")


def _last(path: str) -> str:
    return path.rpartition(".")[2]
