"""What the products of this repository must publish, computed of whole frames with Polars alone.

Frames are those of the data set (`headwater.assembly.flights`), in the order they are fed in.
"""

from typing import Final

import polars as pl

HOUR: Final = pl.duration(hours=1)
NIGHT: Final = pl.duration(hours=8)
QUANTILE_ERROR: Final = 0.008  # up to which a quantile may be nearer to zero, as a share


def departure_delays(departures: pl.DataFrame, aircraft: pl.DataFrame) -> pl.DataFrame:
    """A row for each flight that left, with its aircraft where it is known."""
    planes = aircraft.select("tailnum", aircraft_manufacturer="manufacturer", aircraft_built="year")
    miles = pl.col("distance")
    is_long, is_medium = miles >= 1500, miles >= 500
    no_short = pl.when(is_long).then(pl.lit("long")).otherwise(pl.lit("medium"))
    return (
        departures.drop_nulls("dep_delay")
        .join(planes, on="tailnum", how="left")
        .select(
            *("flight_id", "carrier", "origin", "dest", "sched_dep"),
            *("aircraft_manufacturer", "aircraft_built"),
            delay_minutes="dep_delay",
            late=pl.col("dep_delay") > 15,
            speed_class=pl.when(is_medium).then(no_short).otherwise(pl.lit("short")),
        )
    )


def route_punctuality(departures: pl.DataFrame) -> pl.DataFrame:
    """A row for each route and hour with a scheduled departure."""
    delay = pl.col("dep_delay")
    hour = pl.col("sched_dep").dt.truncate("1h").alias("hour")
    return departures.group_by("origin", "dest", hour).agg(
        flights=pl.len().cast(pl.Int64),
        cancelled=delay.null_count().cast(pl.Int64),
        mean_delay=delay.mean(),
        p95_delay=delay.quantile(0.95, "lower"),
        share_late=(delay > 15).mean(),
    )


def weather_delays(departures: pl.DataFrame, observations: pl.DataFrame) -> pl.DataFrame:
    """A row for each flight that left, with the newest observation at most an hour old."""
    weather = observations.select(
        *("origin", "observed_at", "wind_speed", "wind_gust"),
        temperature="temp",
        precipitation="precip",
        visibility="visib",
    )
    left = departures.drop_nulls("dep_delay").with_columns(
        hour=pl.col("sched_dep").dt.truncate("1h")
    )
    by = ["origin", "hour"]
    now = weather.with_columns(hour="observed_at")
    found = left.join(now, on=by, how="left")
    # the hour has no observation: at its very beginning the one before is an hour old
    before = now.with_columns(pl.col("hour") + HOUR)
    is_without = pl.col("observed_at").is_null() & (pl.col("sched_dep") == pl.col("hour"))
    without = found.filter(is_without).select(left.columns).join(before, on=by, how="left")
    return pl.concat([found.filter(~is_without), without]).select(
        *("flight_id", "origin", "dest", "sched_dep"),
        *("observed_at", "temperature", "wind_speed", "wind_gust", "precipitation", "visibility"),
        delay_minutes="dep_delay",
    )


def utilisation(departures: pl.DataFrame) -> pl.DataFrame:
    """A row for each flying day; `latest_airports` are all that may be the latest one.

    Of flights of one aircraft and one time which is the last depends on their order in the log.
    """
    at = pl.col("sched_dep")
    flown = departures.filter(pl.col("dep_time").is_not_null(), pl.col("tailnum").is_not_null())
    is_first = (at.diff() > NIGHT).fill_null(value=True).over("tailnum")
    return (
        flown.sort("tailnum", "sched_dep", maintain_order=True)
        .with_columns(day=is_first.cum_sum().over("tailnum"))
        .group_by("tailnum", "day")
        .agg(
            first_departure=at.min(),
            last_departure=at.max(),
            flights=pl.len().cast(pl.Int64),
            latest_airports=pl.col("dest").filter(at == at.max()),
            distinct_routes=pl.struct("origin", "dest").n_unique().cast(pl.Int64),
        )
        .drop("day")
    )


def assert_delays(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    """Equal, flight by flight."""
    assert found.height == wanted.height
    assert found.sort("flight_id").equals(wanted.select(found.columns).sort("flight_id"))


def assert_punctuality(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    """Equal, but for quantiles beyond 255, which are within the bound of the sketch."""
    by = ["origin", "dest", "hour"]
    assert found.height == wanted.height
    found, wanted = found.sort(by), wanted.select(found.columns).sort(by)
    assert found.drop("p95_delay").equals(wanted.drop("p95_delay"))
    exact, p95 = wanted["p95_delay"], found["p95_delay"]
    assert (p95.is_null() == exact.is_null()).all()
    assert (p95.filter(exact.abs() <= 255) == exact.filter(exact.abs() <= 255)).all()
    assert (p95 <= exact).all()  # beyond 255 all are positive
    assert (exact - p95 <= QUANTILE_ERROR * exact.abs()).all()


def assert_utilisation(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    """Equal; the latest airport is one of those that may be it."""
    by = ["tailnum", "first_departure"]
    assert found.height == wanted.height
    found, wanted = found.sort(by), wanted.sort(by)
    same = [name for name in found.columns if name != "latest_airport"]
    assert found.select(same).equals(wanted.select(same))
    latest = wanted.select("latest_airports", found["latest_airport"])
    may_be = pl.col("latest_airports").list.contains(pl.col("latest_airport"))
    assert latest.select(may_be.all()).item()
