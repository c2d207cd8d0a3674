"""Windows of event time, on columns: which window, which rows are late, which windows close.

Times are milliseconds since 1970-01-01 UTC, as integers: before 1970 they are negative, and
daylight saving does not exist. Nothing here knows a batch: each function is one of a row and of
the watermark as it stood at that row.

The words are Flink's and Kafka Streams'. What deviates:
- A window closes, and a row is late, when the watermark reaches the window's end plus the allowed
  lateness (both have it so). A row of a hopping window may be late for some of its windows only;
  it is a late row when it is late for all of them (Flink; Kafka Streams counts each window).
- The end of a session is its last event plus the gap (Flink; Kafka Streams: its last event).
  Events exactly a gap apart are in one session, as in both.
- A row is late for its session when its own time plus the allowed lateness is behind the watermark.
  Both others would still take it when the session it falls into is open, or open a second session
  beside a closed one that it belongs to; what a session holds would then depend on the order of
  arrival. Here the sessions are those of a batch computation over the rows that were not late.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from headwater.product.windows import LONGEST_MS, SessionWindows, TimeWindows, Windows

WINDOW_START: Final = "window_start"
WINDOW_END: Final = "window_end"
"""Columns of a window's bounds, Int64 in milliseconds; the start is in the window, the end not."""

EARLIEST_MS: Final = -62_135_596_800_000 + 2 * LONGEST_MS
LATEST_MS: Final = 253_402_300_799_999 - 2 * LONGEST_MS
"""Event times from year 21 to 9979: every bound, and every bound plus a lateness, is then within
the years 1 to 9999, which all readers can write as a timestamp, and no sum overflows."""
_APART_MS: Final = 2 * (LATEST_MS - EARLIEST_MS)  # more than between any two times


def has_window(time: str) -> pl.Expr:
    """Whether the event time in this column can be put into a window: not null, not beyond."""
    return pl.col(time).is_between(EARLIEST_MS, LATEST_MS).fill_null(value=False)


def assign(frame: pl.DataFrame, windows: TimeWindows, *, time: str) -> pl.DataFrame:
    """Each row once per window it is in, by start, with the window's bounds; rows keep their order.

    Raises OverflowError when a row's time is none that `has_window`.
    """
    _refuse_beyond(frame, time)
    every, size = windows.every_ms, windows.size_ms
    latest = pl.col(time) - pl.col(time) % every  # % has the sign of `every`: right before 1970
    if every == size:
        return frame.with_columns(latest.alias(WINDOW_START), (latest + size).alias(WINDOW_END))
    reach = -(-size // every)
    back = pl.Series(WINDOW_END, range((reach - 1) * every, -1, -every), dtype=pl.Int64)
    started = frame.with_columns(latest.alias(WINDOW_START)).join(
        back.to_frame(), how="cross", maintain_order="left_right"
    )
    bounded = started.with_columns(pl.col(WINDOW_START) - pl.col(WINDOW_END)).with_columns(
        (pl.col(WINDOW_START) + size).alias(WINDOW_END)
    )
    return bounded if size % every == 0 else bounded.filter(pl.col(WINDOW_END) > pl.col(time))


def open_sessions(frame: pl.DataFrame, gap_ms: int, *, time: str) -> pl.DataFrame:
    """Each row with the session it would be alone: from its time to its time plus the gap.

    Raises OverflowError when a row's time is none that `has_window`.
    """
    _refuse_beyond(frame, time)
    return frame.with_columns(
        pl.col(time).alias(WINDOW_START), (pl.col(time) + gap_ms).alias(WINDOW_END)
    )


def merge_sessions(frame: pl.DataFrame, *, by: Sequence[str]) -> pl.DataFrame:
    """The rows in their order, with the bounds of the session each is in after merging.

    Takes sessions held in state and those of `open_sessions` alike. Sessions of the same values in
    the columns `by` that overlap or touch are one. Merging the merged changes nothing.
    """
    place, key, island = "_place", "_key", "_island"
    placed = frame.with_columns(pl.int_range(pl.len()).alias(place))
    ordered = placed.with_columns(pl.col(place).first().over(by).alias(key)).sort(
        key, WINDOW_START, WINDOW_END
    )
    # One cumulation over all keys, each above the one before it: one for each costs ten times more.
    floor = pl.col(key).cast(pl.Int128) * _APART_MS
    reached = (floor + pl.col(WINDOW_END)).cum_max().shift()
    begins = (floor + pl.col(WINDOW_START) > reached).fill_null(value=True)
    merged = ordered.with_columns(begins.cum_sum().alias(island)).with_columns(
        pl.col(WINDOW_START).min().over(island), pl.col(WINDOW_END).max().over(island)
    )
    return merged.sort(place).drop(place, key, island)


def stream_times(times: pl.Series, partitions: pl.Series, before: Mapping[int, int]) -> pl.Series:
    """The stream time of its partition at each row, the row itself included.

    It is the greatest event time so far; `before` is that of the rows before these, by partition.
    """
    carried = partitions.replace_strict(before, default=None, return_dtype=pl.Int64)
    frame = pl.DataFrame({"time": times, "partition": partitions, "carried": carried})
    return frame.select(
        # a null time tells nothing: the row has the stream time of the row before it
        stream_time=pl.max_horizontal(
            pl.col("time").cum_max().forward_fill().over("partition"), "carried"
        )
    ).to_series()


def is_late(watermark: str, lateness_ms: int) -> pl.Expr:
    """Whether an assigned row is late for its time window: it had closed at the row's watermark."""
    return _closed(lateness_ms, pl.col(watermark))


def is_late_for_all(windows: Windows, time: str, watermark: str, lateness_ms: int) -> pl.Expr:
    """Whether a row came when every window it is in had closed: the last of them, by its start."""
    if isinstance(windows, SessionWindows):
        return is_late_for_session(time, watermark, lateness_ms)
    last = pl.col(time) // windows.every_ms * windows.every_ms + windows.size_ms
    return (last + lateness_ms <= pl.col(watermark)).fill_null(value=False)


def is_late_for_session(time: str, watermark: str, lateness_ms: int) -> pl.Expr:
    """Whether a row is late for any session: the watermark is ahead of it by more than allowed."""
    return (pl.col(time) + lateness_ms < pl.col(watermark)).fill_null(value=False)


def closing(held: pl.DataFrame, after: int, *, lateness_ms: int, by: Sequence[str]) -> pl.DataFrame:
    """The held time windows that are closed at the watermark `after`, ordered by (end, *by).

    Whoever takes them out of what is held each time the watermark moves gives the same rows in the
    same order however many moves that takes.
    """
    return held.filter(_closed(lateness_ms, pl.lit(after))).sort(WINDOW_END, *by)


def closing_sessions(
    held: pl.DataFrame, after: int, *, lateness_ms: int, by: Sequence[str]
) -> pl.DataFrame:
    """The held sessions that are closed at the watermark `after`, ordered by (end, *by).

    A millisecond later than a time window: a row at the end of a session still belongs to it.
    """
    return closing(held, after, lateness_ms=lateness_ms + 1, by=by)


def _closed(lateness_ms: int, watermark: pl.Expr) -> pl.Expr:
    return (pl.col(WINDOW_END) + lateness_ms <= watermark).fill_null(value=False)


def _refuse_beyond(frame: pl.DataFrame, time: str) -> None:
    if not frame.select(has_window(time).all()).item():
        message = "An event time is null or lies outside the years 21 to 9979."
        raise OverflowError(message)
