"""Bounds and quantiles of columns in words that people and JSON have."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from headwater.snapshot.column_statistics import Bound, ColumnStatistics, Kind
from headwater.snapshot.sketches import Estimate

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = {
    Kind.TIMESTAMP_US: 1.0,
    Kind.LOCAL_TIMESTAMP_US: 1.0,
    Kind.TIMESTAMP_NS: 1e-3,
    Kind.LOCAL_TIMESTAMP_NS: 1e-3,
    Kind.TIME_US: 1.0,
}
"""Microseconds in a unit."""
_LOCAL: Final = frozenset({Kind.LOCAL_TIMESTAMP_US, Kind.LOCAL_TIMESTAMP_NS})


def shown(bound: Bound | None, kind: Kind) -> int | float | str | None:
    """A bound as JSON has it: times in ISO 8601, infinite numbers as text."""
    if bound is None or isinstance(bound, str):
        return bound
    if kind is Kind.DATE:
        return (date(1970, 1, 1) + timedelta(days=bound)).isoformat()
    if kind in _US:
        return _time(int(bound * _US[kind]), kind)
    if isinstance(bound, float) and abs(bound) == float("inf"):
        return str(bound)
    return bound


def _time(microseconds: int, kind: Kind) -> str:
    when = _EPOCH + timedelta(microseconds=microseconds)
    if kind is Kind.TIME_US:
        found: time = when.time()
        return found.isoformat()
    text = when.replace(tzinfo=None).isoformat()
    return text if kind in _LOCAL else f"{text}Z"


def quantiles(column: ColumnStatistics, ranks: tuple[float, ...]) -> dict[str, Any] | None:
    """The numbers or times at ranks, by the rank; None where there are none."""
    if column.quantiles is None or not (found := column.quantiles.at(ranks)):
        return None
    is_whole = column.kind not in {Kind.FLOAT, Kind.DECIMAL}
    numbers = [round(each) if is_whole else each for each in found]
    return {
        str(rank): shown(number, column.kind) for rank, number in zip(ranks, numbers, strict=True)
    }


def estimate(found: Estimate | None) -> dict[str, Any] | None:
    """An estimate with its bounds as whole numbers."""
    if found is None:
        return None
    return {"value": round(found.value), "low": round(found.low), "high": round(found.high)}
