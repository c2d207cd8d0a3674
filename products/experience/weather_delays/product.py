"""How late every departure left, and in what weather."""

import polars as pl

from headwater import DataProduct, Snapshot

WEATHER = {
    "observed_at": "observed_at",
    "temp": "temperature",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precipitation",
    "visib": "visibility",
}

product = DataProduct(
    name="experience.weather-delays",
    owner="passenger-experience@airport.example",
    snapshot=Snapshot(every="1h", mode="append"),
)
departures = product.stream("operations.departures", contract=1, start="earliest")
weather = product.table("meteorology.observations", contract=1, versioned=True, broadcast=True)

left = departures.filter(pl.col("dep_delay").is_not_null())
delays = left.join_asof(weather, by="origin", within="1h", columns=WEATHER).select(
    "flight_id",
    "origin",
    "dest",
    "sched_dep",
    *WEATHER.values(),
    delay_minutes="dep_delay",
)
product.publish(delays, contract=1)
