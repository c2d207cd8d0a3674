"""What each aircraft did on each of its flying days."""

import polars as pl

from headwater import DataProduct, Snapshot, aggregates, session

NIGHT = "8h"  # a longer pause between two departures from New York ends a flying day

product = DataProduct(
    name="fleet.utilisation",
    owner="fleet@airport.example",
    snapshot=Snapshot(every="1h", mode="append"),
)
departures = product.stream("operations.departures", contract=1, start="earliest")

flown = departures.filter(
    pl.col("dep_time").is_not_null(), pl.col("tailnum").is_not_null()
).with_columns(route=pl.concat_str("origin", "dest", separator="-"))
days = flown.group_by("tailnum").window(session(gap=NIGHT))
utilisation = days.agg(
    last_departure=aggregates.max("sched_dep"),
    flights=aggregates.count(),
    latest_airport=aggregates.last("dest"),
    distinct_routes=aggregates.approx_distinct("route"),
)
product.publish(
    utilisation.select(
        "tailnum",
        "last_departure",
        "flights",
        "latest_airport",
        "distinct_routes",
        first_departure="window_start",
    ),
    contract=1,
)
