"""Stored values as rows of columns, and which of them are over."""

import polars as pl

from headwater.contract import StateRows
from headwater.ports.state import Values
from headwater.state.settings import TimeToLive


def rows_of(rows: StateRows, values: Values) -> pl.DataFrame:
    """One row per value, all null where there is none. Raises RebuildError for what is damaged."""
    held = [value for value in values if value is not None]
    frame = rows.decode(held)
    if len(held) == len(values):
        return frame
    is_held = pl.Series([value is not None for value in values], dtype=pl.Boolean)
    places = pl.select(pl.when(is_held).then(is_held.cum_sum() - 1)).to_series()
    return frame.select(pl.all().gather(places))


def expired(frame: pl.DataFrame, life: TimeToLive, now: pl.Series) -> pl.Series:
    """Whether each row has outlived its time to live at the event time beside it."""
    return (frame[life.column] + life.duration <= now).fill_null(False)  # noqa: FBT003 - Polars' signature
