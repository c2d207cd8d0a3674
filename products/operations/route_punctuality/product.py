"""How punctual each route was, hour by hour."""

import polars as pl

from headwater import DataProduct, Snapshot, aggregates, tumbling

LATE_MINUTES = 15  # the usual bound of on-time statistics

product = DataProduct(
    name="operations.route-punctuality",
    owner="flight-operations@airport.example",
    snapshot=Snapshot(every="1h", mode="append"),
)
departures = product.stream("operations.departures", contract=1, start="earliest")

delay = pl.col("dep_delay")
judged = departures.with_columns(is_cancelled=delay.is_null(), is_late=delay > LATE_MINUTES)
hours = judged.group_by(["origin", "dest"]).window(tumbling("1h"))
punctuality = hours.agg(
    flights=aggregates.count(),
    cancelled=aggregates.sum("is_cancelled"),
    mean_delay=aggregates.mean("dep_delay"),
    p95_delay=aggregates.quantile("dep_delay", 0.95),
    share_late=aggregates.mean("is_late"),
)
product.publish(
    punctuality.select(
        "origin",
        "dest",
        "flights",
        "cancelled",
        "mean_delay",
        "p95_delay",
        "share_late",
        hour="window_start",
    ),
    contract=1,
)
