"""Rows of two definitions beside each other: which were added, removed or changed, and where.

Knows frames only. Rows are matched by the input record they were made of, by key, and by their
place among the rows of both. A step looks at one record alone, so what one definition makes of a
record stands beside what the other makes of it, wherever a batch ends. Matching by key alone would
take the second event of a key for its first as soon as one side drops the first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from headwater.assembly.diff.values import common_type, converted, differing, fields_of
from headwater.contract import ROW

NTH: Final = "_nth"
LEFT: Final = "_left"
RIGHT: Final = "_right"


@dataclass(frozen=True, slots=True)
class Column:
    """One value that both sides have; `path` leads into records, `type` holds both sides' values.

    Without a type they have nothing in common, so that only two nulls are equal.
    """

    path: tuple[str, ...]
    type: pl.DataType | None

    @property
    def name(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)

    def differs(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.Series:
        """Which rows of two frames of one height differ here."""
        return differing(self.within(left), self.within(right), self.type)

    def values(self, frame: pl.DataFrame) -> pl.Series:
        """Its values in a frame, in the common type; null where that cannot hold them."""
        series = self.within(frame)
        return series if self.type is None else converted(series, self.type)

    def within(self, frame: pl.DataFrame) -> pl.Series:
        """Its values in a frame, in the frame's own type."""
        series = frame[self.path[0]]
        for name in self.path[1:]:
            series = series.struct.field(name)
        return series


@dataclass(frozen=True, slots=True)
class Presence(Column):
    """Whether a record is there at all, when its fields are compared one by one."""

    def differs(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.Series:
        """Which rows have the record on one side only."""
        return self.within(left).is_null() != self.within(right).is_null()


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of two sides. `retyped` maps a name to the types it has on either."""

    shared: list[Column] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    retyped: dict[str, tuple[str, str]] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Every column that can differ."""
        return {*(each.name for each in self.shared), *self.removed, *self.added}


@dataclass(frozen=True, slots=True)
class RowDiff:
    """Two frames matched: rows of one side only, and pairs of rows at equal places.

    `differs` tells of each pair where it differs: a column of booleans per shared column.
    """

    removed: pl.DataFrame
    added: pl.DataFrame
    pairs: tuple[pl.DataFrame, pl.DataFrame]
    differs: pl.DataFrame


def lay_out(left: Mapping[str, pl.DataType], right: Mapping[str, pl.DataType]) -> Layout:
    """The columns of two sides beside each other; records of other fields are looked into."""
    found = Layout()
    for each in _columns((), left, right, found):
        found.shared.append(each)
    return found


def _columns(
    path: tuple[str, ...],
    left: Mapping[str, pl.DataType],
    right: Mapping[str, pl.DataType],
    found: Layout,
) -> Iterator[Column]:
    found.removed.extend(".".join((*path, name)) for name in left if name not in right)
    found.added.extend(".".join((*path, name)) for name in right if name not in left)
    for name in left:
        if name not in right:
            continue
        at, one, other = (*path, name), left[name], right[name]
        common = common_type(one, other)
        if common is None and isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
            yield Presence(at, None)
            yield from _columns(at, fields_of(one), fields_of(other), found)
            continue
        if one != other:
            found.retyped[".".join(at)] = (str(one), str(other))
        yield Column(at, common)


def compare(
    left: pl.DataFrame, right: pl.DataFrame, key: Sequence[Column], shared: Sequence[Column]
) -> RowDiff:
    """Match the rows of two frames by `_row`, `key` and place, and compare the shared columns.

    Columns of `key` have a type; there may be none.
    """
    one, other = (_names(frame, key) for frame in (left, right))
    if one.equals(other):  # the usual case, and several times cheaper than a join
        removed, added, pairs = left.clear(), right.clear(), (left, right)
    else:
        found = _numbered(one, LEFT).join(
            _numbered(other, RIGHT),
            on=[*one.columns, NTH],
            how="full",
            nulls_equal=True,
            maintain_order="left_right",
        )
        removed = left[found.filter(pl.col(RIGHT).is_null())[LEFT]]
        added = right[found.filter(pl.col(LEFT).is_null())[RIGHT]]
        both = found.drop_nulls([LEFT, RIGHT])
        pairs = left[both[LEFT]], right[both[RIGHT]]
    differs = pl.DataFrame([each.differs(*pairs).alias(each.name) for each in shared])
    return RowDiff(removed, added, pairs, differs)


def _names(frame: pl.DataFrame, key: Sequence[Column]) -> pl.DataFrame:
    """What makes a row the same on both sides."""
    return pl.DataFrame([frame[ROW], *(each.values(frame) for each in key)])


def _numbered(names: pl.DataFrame, index: str) -> pl.DataFrame:
    """With the place of a row among those of one name, and in its frame."""
    nth = pl.int_range(pl.len()).over(names.columns).alias(NTH)
    return names.with_columns(nth, pl.int_range(pl.len(), dtype=pl.UInt32).alias(index))
