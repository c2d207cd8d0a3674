"""The flights that never left."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from headwater import DataProduct, Snapshot

product = DataProduct(
    name="operations.cancellations",
    owner="flight-operations@airport.example",
    snapshot=Snapshot(every="1h", mode="append"),
)


class Departure(BaseModel):
    """What this product needs to know of a departure."""

    flight_id: str
    carrier: str
    origin: str
    dest: str
    sched_dep: datetime
    dep_time: datetime | None
    tailnum: str | None


class Cancellation(BaseModel):
    """A flight that was scheduled and never left."""

    flight_id: str
    carrier: str
    origin: str
    dest: str
    sched_dep: datetime
    stage: Literal["unassigned", "assigned"]


def cancelled(departure: Departure) -> Cancellation | None:
    """A cancellation when the flight has no departure time, else nothing."""
    if departure.dep_time is not None:
        return None
    return Cancellation(
        flight_id=departure.flight_id,
        carrier=departure.carrier,
        origin=departure.origin,
        dest=departure.dest,
        sched_dep=departure.sched_dep,
        stage="unassigned" if departure.tailnum is None else "assigned",
    )


departures = product.stream("operations.departures", contract=1, start="earliest")
product.publish(departures.map_events(cancelled), contract=1)
