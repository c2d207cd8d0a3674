"""Nested Arrow arrays: take apart, put together, and know which row an element belongs to.

Null parents are pushed down to their children (a field of a null struct is null), so that no step
looks at what happens to lie under a null.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from headwater.model import Code

KEY: Final = "key"
VALUE: Final = "value"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a schema an array stands, and how its elements lead back to rows.

    `lists` holds the list array whose items are at this level; None at the level of the rows.
    `parent` is the struct an array is a field of, if it has nulls.
    """

    path: str
    lists: Any = None
    above: "Place | None" = None
    parent: Any = None

    def field(self, name: str, parent: Any = None) -> "Place":
        """The place of a field of the struct at this place."""
        held = parent if parent is not None and parent.null_count else None
        return replace(self, path=f"{self.path}.{name}".lstrip("."), parent=held)

    def items(self, lists: Any, step: str) -> "Place":
        """The place of the items of the list array at this place."""
        return Place(self.path + step, lists, self)

    def rows(self, indices: Any) -> Any:
        """The rows that elements belong to."""
        if self.lists is None or self.above is None:
            return indices
        return self.above.rows(pc.list_parent_indices(self.lists).take(indices))


@dataclass(slots=True)
class Faults:
    """Rows that cannot be taken, each with the first reason found."""

    found: dict[int, tuple[Code, str]] = field(default_factory=dict)

    def add(self, place: Place, where: Any, code: Code, what: str) -> None:
        """Mark the rows of the elements for which the mask `where` is true."""
        message = f"{place.path} {what}"
        for row in place.rows(pc.indices_nonzero(where)).unique().to_pylist():
            self.found.setdefault(row, (code, message))


def null_where(array: Any, where: Any) -> Any:
    """The array with null wherever the mask is true."""
    return pc.if_else(where, pa.scalar(None, array.type), array)


def unexpected_nulls(array: Any, place: Place) -> Any:
    """A mask of nulls that are the element's own, not its parent's; None when there are none."""
    if not array.null_count:
        return None
    nulls = array.is_null()
    return pc.and_(nulls, place.parent.is_valid()) if place.parent is not None else nulls


def outside(array: Any, low: int, high: int) -> Any:
    """A mask of numbers outside [low, high]; None when there are none."""
    span = pc.min_max(array)
    least, most = span["min"].as_py(), span["max"].as_py()
    if least is None or (least >= low and most <= high):
        return None
    return pc.fill_null(pc.or_(pc.less(array, low), pc.greater(array, high)), False)  # noqa: FBT003 - Arrow's signature


def children(array: Any) -> dict[str, Any]:
    """The fields of a struct array by name, null where the struct is."""
    return dict(zip((each.name for each in array.type), array.flatten(), strict=True))


def struct(arrays: Sequence[Any], names: Sequence[str], like: Any) -> Any:
    """A struct array of these fields, null where `like` is."""
    mask = like.is_null() if like.null_count else None
    return pa.StructArray.from_arrays(arrays, names=names, mask=mask)


def list_of(values: Any, like: Any) -> Any:
    """A list array of these items, in the lists of `like`."""
    mask = like.is_null() if like.null_count else None
    return pa.ListArray.from_arrays(_offsets(like), values, mask=mask)


def map_of(keys: Any, values: Any, like: Any) -> Any:
    """A map array of these keys and values, in the lists of `like`."""
    mask = like.is_null() if like.null_count else None
    return pa.MapArray.from_arrays(_offsets(like), keys, values, mask=mask)


def tight(array: Any) -> Any:
    """A list array whose values are exactly its items, in order.

    A list that is null, or cut away, may still have items behind it; nobody should see them.
    """
    offsets, values = array.offsets, array.values
    if not array.null_count and offsets[0].as_py() == 0 and offsets[-1].as_py() == len(values):
        return array
    lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int32())
    starts = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
    return pa.ListArray.from_arrays(starts, array.flatten(), mask=array.is_null())


def entries(array: Any) -> Any:
    """A map array as a list of structs (key, value); a list array is one already."""
    if not pa.types.is_map(array.type):
        return tight(array)
    pairs = pa.StructArray.from_arrays([array.keys, array.items], names=[KEY, VALUE])
    return tight(list_of(pairs, array))


def plain(array: Any) -> Any:
    """One array without an offset, whatever it was cut from."""
    if isinstance(array, pa.ChunkedArray):
        return array.combine_chunks()
    return pa.concat_arrays([array]) if array.offset else array


def repeated_keys(lists: Any, keys: Any) -> Any:
    """A mask of map entries whose key came before in the same map; None when there are none."""
    if len(keys) < 2:  # noqa: PLR2004 - one key repeats nothing
        return None
    table = pa.table({"map": pc.list_parent_indices(lists), "key": keys})
    if table.group_by(["map", "key"]).aggregate([]).num_rows == len(keys):
        return None
    seen: set[tuple[int, str | None]] = set()
    pairs = zip(table["map"].to_pylist(), table["key"].to_pylist(), strict=True)
    return pa.array([pair in seen or bool(seen.add(pair)) for pair in pairs])  # type: ignore[func-returns-value]  # None is meant


def _offsets(array: Any) -> Any:
    """Offsets of 32 bits, as Avro's implementations want them."""
    offsets = array.offsets
    return offsets if offsets.type == pa.int32() else offsets.cast(pa.int32())
