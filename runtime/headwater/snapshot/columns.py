"""What the columns of a table become when those of a contract change, and what they cannot become.

A table holds the rows of every version: a column is never dropped, and never made narrower.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import StartRefusedError

WIDER: Final = frozenset({(pa.int32(), pa.int64()), (pa.float32(), pa.float64())})
"""Types that a column may go from and to where the format can: of Iceberg, version 2."""


def widens(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of one plain type is one of another, of more bits or digits.

    Iceberg's specification, "Schema Evolution", of its format version 2.
    """
    if pa.types.is_decimal(stored) and pa.types.is_decimal(wanted):
        return bool(stored.scale == wanted.scale and stored.precision < wanted.precision)
    return (stored, wanted) in WIDER


def narrowed(array: Any, wanted: pa.DataType) -> Any:
    """An array whose column was made wider, as it was; any other array as it is.

    Raises ArrowInvalid when a value is not one of the narrower type.
    """
    if not widens(wanted, array.type):
        return array
    narrow = array.cast(wanted)
    # of a double as a float: Arrow rounds without a word
    if not pa.types.is_floating(wanted) or _is_same(narrow.cast(array.type), array):
        return narrow
    message = f"a value is no {wanted}"
    raise pa.ArrowInvalid(message)


def _is_same(one: Any, other: Any) -> bool:
    """Whether floats are the same, every NaN being one."""
    equal = pc.or_(pc.equal(one, other), pc.and_(pc.is_nan(one), pc.is_nan(other)))
    return bool(pc.all(equal).as_py()) or one.null_count == len(one)


def has_fields_of(stored: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether one type has just the fields of another on every level, and is not made wider."""
    if pa.types.is_struct(stored) and pa.types.is_struct(wanted):
        pairs = list(zip(stored, wanted, strict=False))
        return len(stored) == len(wanted) == len(pairs) and all(
            held.name == asked.name and has_fields_of(held.type, asked.type)
            for held, asked in pairs
        )
    if pa.types.is_list(stored) and pa.types.is_list(wanted):
        return has_fields_of(stored.value_type, wanted.value_type)
    if pa.types.is_map(stored) and pa.types.is_map(wanted):
        return has_fields_of(stored.item_type, wanted.item_type)
    return not widens(wanted, stored)


def evolved(stored: pa.Schema, wanted: pa.Schema, location: str, *, widening: bool) -> pa.Schema:
    """The columns of a table that takes rows of other columns too, all in the table's types.

    With `widening` a column may become wider. Raises StartRefusedError (SNAPSHOT_COLUMNS).
    """
    if phrase := conflicts(stored, wanted, widening=widening):
        raise refused(location, phrase)
    return pa.schema(_union(stored, wanted))


def conflicts(stored: pa.Schema, wanted: pa.Schema, *, widening: bool) -> str:
    """The columns that a table does not take as they are wanted, as a phrase."""
    return ", ".join(_conflicts(stored, wanted, "", widening=widening))


def _union(stored: Iterable[pa.Field], wanted: Iterable[pa.Field]) -> list[pa.Field]:
    asked = {each.name: each for each in wanted}
    held = [each.name for each in stored]
    return [
        *(
            each.with_type(_type(each.type, asked[each.name].type)) if each.name in asked else each
            for each in stored
        ),
        *(each.with_nullable(nullable=True) for name, each in asked.items() if name not in held),
    ]


def _type(stored: pa.DataType, wanted: pa.DataType) -> pa.DataType:
    if stored.equals(wanted):
        return stored
    if pa.types.is_struct(stored):
        return pa.struct(_union(list(stored), list(wanted)))
    if pa.types.is_list(stored):
        field = stored.value_field
        return pa.list_(field.with_type(_type(stored.value_type, wanted.value_type)))
    if pa.types.is_map(stored):
        field = stored.item_field
        return pa.map_(stored.key_field, field.with_type(_type(stored.item_type, wanted.item_type)))
    return wanted if widens(stored, wanted) else stored


def _conflicts(
    stored: Iterable[pa.Field], wanted: Iterable[pa.Field], path: str, *, widening: bool
) -> Iterator[str]:
    held = {each.name: each.type for each in stored}
    for each in wanted:
        if each.name in held:
            at = f"{path}{each.name}"
            yield from _type_conflicts(held[each.name], each.type, at, widening=widening)


def _type_conflicts(
    stored: pa.DataType, wanted: pa.DataType, path: str, *, widening: bool
) -> Iterator[str]:
    is_wider = widening and (widens(stored, wanted) or widens(wanted, stored))
    if stored.equals(wanted) or is_wider:
        return
    if pa.types.is_struct(stored) and pa.types.is_struct(wanted):
        yield from _conflicts(list(stored), list(wanted), f"{path}.", widening=widening)
    elif pa.types.is_list(stored) and pa.types.is_list(wanted):
        held, asked = stored.value_type, wanted.value_type
        yield from _type_conflicts(held, asked, f"{path}[]", widening=widening)
    elif pa.types.is_map(stored) and pa.types.is_map(wanted):
        held, asked = stored.item_type, wanted.item_type
        yield from _type_conflicts(held, asked, f"{path}{{}}", widening=widening)
    else:
        yield f"{path} is {wanted}, stored as {stored}"


def differing(stored: pa.Schema, wanted: pa.Schema) -> str:
    """How the columns differ in name, type or order, as a phrase; empty when they do not."""
    held = {each.name: each.type for each in stored}
    asked = {each.name: each.type for each in wanted}
    other = [
        f"{name} is {kind}, stored as {held[name]}"
        for name, kind in asked.items()
        if name in held and held[name] != kind
    ]
    news = [f"{name} is not stored" for name in asked if name not in held]
    gone = [f"{name} is only stored" for name in held if name not in asked]
    if not (found := [*other, *news, *gone]) and list(held) != list(asked):
        return "they are in another order"
    return ", ".join(found)


def refused(location: str, phrase: str) -> StartRefusedError:
    """The error for columns that a table cannot take, with how they differ."""
    return StartRefusedError(
        f"The columns of the log cannot be those of the snapshot in {location} ({phrase});"
        f" nothing was written. `headwater check` tells which change of the contract it is: take"
        f" it back, or begin a new snapshot of the whole log in another directory with --to.",
        code="SNAPSHOT_COLUMNS",
    )
