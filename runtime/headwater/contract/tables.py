"""Contract columns between Polars frames and the plain Arrow tables that Delta stores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contract.arrays import (
    KEY,
    VALUE,
    Faults,
    Place,
    children,
    entries,
    list_of,
    map_of,
    plain,
    repeated_keys,
    struct,
    tight,
    unexpected_nulls,
)
from headwater.contract.leaves import from_stored, to_stored
from headwater.contract.schema import Contract
from headwater.contract.tree import Array, Leaf, Map, Record, Type, optional
from headwater.contract.types import arrow_type
from headwater.model import Code

OLDEST: Final = pl.CompatLevel.oldest()  # offsets instead of string views: what Avro and Delta take


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Walks an array along its Avro type and applies `leaf` to the plain values inside.

    With `strict`, nulls where the type has none and map keys used twice mark their row as
    CONTRACT_VIOLATION. Maps come out as Arrow maps with `maps`, else as lists of (key, value).
    """

    leaf: Callable[[Any, Leaf, Place, Faults], Any]
    maps: bool
    strict: bool
    faults: Faults = field(default_factory=Faults)

    def apply(self, array: Any, type_: Type, place: Place) -> Any:
        """The array rebuilt."""
        inner = optional(type_)
        if self.strict and inner is None:
            self.mark(unexpected_nulls(array, place), place, "is null")
        match inner or type_:
            case Array(items):
                lists = tight(array)
                values = self.apply(lists.values, items, place.items(lists, "[]"))
                return list_of(values, lists)
            case Map(values):
                return self.map(array, values, place)
            case Record() as record:
                return self.record(array, record, place)
            case leaf:
                return self.leaf(array, leaf, place, self.faults)  # type: ignore[arg-type]  # matched above

    def record(self, array: Any, record: Record, place: Place) -> Any:
        """A struct array rebuilt; its fields are found by name."""
        held = children(array)
        arrays = [
            self.apply(held[each.name], each.type, place.field(each.name, array))
            for each in record.fields
        ]
        return struct(arrays, [each.name for each in record.fields], array)

    def map(self, array: Any, values: Type, place: Place) -> Any:
        """A map array, or a list of entries, rebuilt."""
        lists = entries(array)
        inside = place.items(lists, "{}")
        if self.strict:
            self.mark(unexpected_nulls(lists.values, inside), inside, "has a null entry")
        pairs = children(lists.values)
        keys, items = pairs[KEY].cast(pa.string()), pairs[VALUE]
        if self.strict:
            self.mark(unexpected_nulls(keys, inside), inside, "has a null key")
            self.mark(repeated_keys(lists, keys), inside, "has a key twice")
        rebuilt = self.apply(items, values, inside)
        if not self.maps:
            return list_of(pa.StructArray.from_arrays([keys, rebuilt], names=[KEY, VALUE]), lists)
        return map_of(pc.fill_null(keys, ""), rebuilt, lists)

    def mark(self, where: Any, place: Place, what: str) -> None:
        """Mark the rows of the elements for which the mask is true."""
        if where is not None:
            self.faults.add(place, where, Code.CONTRACT_VIOLATION, what)


def arrow_schema(contract: Contract, names: Sequence[str] | None = None) -> Any:
    """The Arrow schema of the contract's columns as Delta stores them: docs/types.md.

    Those in `names` and in their order, by default all.
    """
    types = {each.name: each.type for each in contract.record.fields}
    return pa.schema(
        [(name, arrow_type(types[name])) for name in (types if names is None else names)]
    )


def to_arrow(frame: pl.DataFrame, contract: Contract, names: Sequence[str] | None = None) -> Any:
    """The contract's columns of a frame as `arrow_schema` has them; other columns are left out.

    The frame's types are the contract's.
    """
    rebuild = Rebuild(to_stored, maps=True, strict=False)
    schema = arrow_schema(contract, names)
    types = {each.name: each.type for each in contract.record.fields}
    arrays = [
        rebuild.apply(exported(frame[each.name]), types[each.name], Place(each.name)).cast(
            each.type
        )
        for each in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def from_arrow(table: Any, contract: Contract) -> pl.DataFrame:
    """The inverse of `to_arrow`; columns that are not the contract's are kept as they are.

    Raises ArrowInvalid for a value that no row of the contract is stored as.
    """
    types = {each.name: each.type for each in contract.record.fields}
    rebuild = Rebuild(from_stored, maps=False, strict=False)
    arrays = [
        rebuild.apply(plain(table[name]), types[name], Place(name))
        if name in types
        else table[name]
        for name in table.column_names
    ]
    try:
        return as_frame(pa.Table.from_arrays(arrays, names=table.column_names), contract.columns)
    except pl.exceptions.InvalidOperationError:  # its message quotes the text
        message = "a text is no symbol of an enum"
        raise pa.ArrowInvalid(message) from None


def as_frame(table: Any, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """An Arrow table as a frame of exactly these types, without a copy where Arrow has the type."""
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        message = f"expected a table, not {type(table)}"
        raise TypeError(message)
    other = {
        name: kind for name, kind in columns.items() if name in frame and frame[name].dtype != kind
    }
    return frame.cast(other) if other else frame  # type: ignore[arg-type]  # stub too narrow


def exported(series: pl.Series) -> Any:
    """A series as one plain Arrow array."""
    return plain(series.rechunk().to_arrow(compat_level=OLDEST))
