"""How late every departure left, and with what aircraft."""

import polars as pl

from headwater import DataProduct, Snapshot

LATE_MINUTES = 15  # the usual bound of on-time statistics
SHORT_MILES, LONG_MILES = 500, 1500

product = DataProduct(
    name="operations.departure-delays",
    owner="flight-operations@airport.example",
    snapshot=Snapshot(every="15m", mode="append"),
)
departures = product.stream("operations.departures", contract=1, start="earliest")
aircraft = product.table("fleet.aircraft", contract=1, broadcast=True)

distance = pl.col("distance")
left = departures.filter(pl.col("dep_delay").is_not_null()).join(
    aircraft,
    on="tailnum",
    columns={"manufacturer": "aircraft_manufacturer", "year": "aircraft_built"},
)
delays = left.select(
    "flight_id",
    "carrier",
    "origin",
    "dest",
    "sched_dep",
    "aircraft_manufacturer",
    "aircraft_built",
    delay_minutes="dep_delay",
    late=pl.col("dep_delay") > LATE_MINUTES,
    speed_class=pl.when(distance < SHORT_MILES)
    .then(pl.lit("short"))
    .when(distance < LONG_MILES)
    .then(pl.lit("medium"))
    .otherwise(pl.lit("long")),
)
product.publish(delays, contract=2)
