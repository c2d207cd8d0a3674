"""What moved between two cuts, column by column, judged from their statistics alone.

Every shift is a part of the rows, 0 to 1, with the bound of its own error; a column moved when one
of its shifts is above what both sketches may be wrong by.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from headwater.snapshot.column_statistics import ColumnStatistics
from headwater.snapshot.sketches import Estimate, Frequent, FrequentValue, Quantiles
from headwater.snapshot.statistics import TableStatistics

LEAST_SHIFT: Final = 0.01  # of the rows: exact counts move with every commit, people ask for more
HEAVY: Final = 0.01  # of the rows: what a value has at least to be a heavy hitter here
MOST: Final = 100  # values looked at: more than that cannot have HEAVY
RANKS: Final = 1_024  # where distributions are compared; more than a sketch keeps numbers

What = Literal["nulls", "nans", "quantiles", "frequent"]


@dataclass(frozen=True, slots=True)
class Shift:
    """By how much something differs, and how much of that may be the sketches' error."""

    what: What
    size: float
    bound: float

    @property
    def is_moved(self) -> bool:
        """Whether it is more than what cannot be told apart."""
        return self.size > max(self.bound, LEAST_SHIFT)


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """A column at the earlier and at the later cut; None where it was not there.

    `new` and `lost` are values that have at least HEAVY of the rows at one cut for certain, and
    less than half as much at the other.
    """

    name: str
    earlier: ColumnStatistics | None
    later: ColumnStatistics | None
    shifts: tuple[Shift, ...] = ()
    new: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["moved", "alike", "added", "gone"]:
        """What became of the column."""
        if self.earlier is None:
            return "added"
        if self.later is None:
            return "gone"
        is_moved = bool(self.new or self.lost) or any(each.is_moved for each in self.shifts)
        return "moved" if is_moved else "alike"


def drift(earlier: TableStatistics, later: TableStatistics) -> list[ColumnDrift]:
    """Every column, in the order of the later cut; what only the earlier has comes last."""
    names = [*later.columns, *(name for name in earlier.columns if name not in later.columns)]
    return [_drift(name, earlier.columns.get(name), later.columns.get(name)) for name in names]


def _drift(
    name: str, earlier: ColumnStatistics | None, later: ColumnStatistics | None
) -> ColumnDrift:
    if earlier is None or later is None or not earlier.rows or not later.rows:
        return ColumnDrift(name, earlier, later)
    return ColumnDrift(
        name,
        earlier,
        later,
        shifts=tuple(_shifts(earlier, later)),
        new=_heavy_only(later, earlier),
        lost=_heavy_only(earlier, later),
    )


def _shifts(earlier: ColumnStatistics, later: ColumnStatistics) -> Iterator[Shift]:
    nulls = abs(earlier.nulls / earlier.rows - later.nulls / later.rows)
    yield Shift("nulls", nulls, 0.0)
    if earlier.nans is not None and later.nans is not None:
        yield Shift("nans", abs(earlier.nans / earlier.rows - later.nans / later.rows), 0.0)
    if earlier.quantiles is not None and later.quantiles is not None:
        yield from _distance(earlier.quantiles, later.quantiles)
    if earlier.frequent is not None and later.frequent is not None:
        yield _shares(earlier, later)


def _distance(earlier: Quantiles, later: Quantiles) -> Iterator[Shift]:
    """The distance of Kolmogorov and Smirnov: how far apart the two distribution functions are."""
    ranks = [rank / RANKS for rank in range(RANKS + 1)]
    if points := sorted({*earlier.at(ranks), *later.at(ranks)}):
        parts = [each.parts_up_to(points) if each.at([0]) else None for each in (earlier, later)]
        if parts[0] is not None and parts[1] is not None:
            size = max(abs(one - other) for one, other in zip(*parts, strict=True))
            yield Shift("quantiles", size, 2 * Quantiles.ERROR)


def _shares(earlier: ColumnStatistics, later: ColumnStatistics) -> Shift:
    """The largest change of a heavy hitter's part of the rows."""
    names = {each.value for column in (earlier, later) for each in _most(column)}
    found = [_share(name, earlier, later) for name in sorted(names)]
    return max(found, key=lambda each: each.size - each.bound, default=Shift("frequent", 0.0, 0.0))


def _share(name: str, earlier: ColumnStatistics, later: ColumnStatistics) -> Shift:
    one, other = _part(earlier, name), _part(later, name)
    bound = (one.high - one.low + other.high - other.low) / 2
    return Shift("frequent", abs(one.value - other.value), bound)


def _heavy_only(here: ColumnStatistics, there: ColumnStatistics) -> tuple[str, ...]:
    if here.frequent is None or there.frequent is None:
        return ()
    return tuple(
        each.value
        for each in _most(here)
        if (low := _part(here, each.value).low) >= HEAVY and _part(there, each.value).high < low / 2
    )


def _most(column: ColumnStatistics) -> list[FrequentValue]:
    frequent: Frequent | None = column.frequent
    return [] if frequent is None else frequent.most(MOST)


def _part(column: ColumnStatistics, value: str) -> Estimate:
    """Of the rows; the middle of its bounds is as good as any."""
    if column.frequent is None:
        return Estimate(0.0, 0.0, 0.0)
    found = column.frequent.of(value)
    low, high = found.low / column.rows, min(found.high / column.rows, 1.0)
    return Estimate((low + high) / 2, low, high)
