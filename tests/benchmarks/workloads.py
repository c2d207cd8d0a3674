"""The workloads of state: their contracts, their products and the events they are fed.

W3 joins with a table, by broadcast and by partition, W4 the latest by key, W5 windows of an hour.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from headwater.contract import ROW

BEGIN_MS: Final = 1_356_998_400_000  # 2013-01-01 UTC, where event time begins
HOUR_MS: Final = 3_600_000
RUN_MS: Final = 3 * HOUR_MS  # of event time in the measured events, and so three or four windows
LATE_SHARE: Final = 0.01
LATE_MS: Final = 2 * HOUR_MS  # at most
LEAST_WARM_UP: Final = 500_000  # events: a JVM compiles meanwhile
SLICE_ROWS: Final = 100_000
SITES: Final = 977
STEPS: Final = 1_000_000  # of the random numbers that tell who is late
SEED: Final = 1

TIME: Final = {"type": "long", "logicalType": "timestamp-millis"}
READING: Final = {"sensor": "string", "at": TIME, "value": "double"}
SENSOR: Final = {"sensor": "string", "site": "string", "factor": "double"}
JOINED: Final = {**READING, "site": ["null", "string"], "factor": ["null", "double"]}
WINDOW: Final = {
    "sensor": "string",
    "window_start": TIME,
    "window_end": TIME,
    "readings": "long",
    "total": "double",
    "average": "double",
}


@dataclass(frozen=True, slots=True)
class Size:
    """So many keys, each of which comes once before `measured` events of random keys."""

    keys: int
    measured: int

    @property
    def warm_up(self) -> int:
        """Events before the measured ones: every key once, and random ones up to the least."""
        return max(self.keys, LEAST_WARM_UP)

    @property
    def events(self) -> int:
        """All of them."""
        return self.warm_up + self.measured

    @property
    def name(self) -> str:
        """For topics and tables, such as `10k` or `1000k`."""
        return f"{self.keys // 1000}k"


@dataclass(frozen=True, slots=True)
class Workload:
    """A job: the fields of its output, and the product's flow as Python text."""

    name: str
    fields: Mapping[str, Any]
    flow: str
    imports: tuple[str, ...] = ()

    def product(self, topic: str, readings: str, table: str) -> str:
        """The text of a product that publishes to a topic."""
        return (
            f"from headwater import {', '.join(('DataProduct', *self.imports))}\n\n"
            f'product = DataProduct("{topic}", owner="benchmark")\n'
            f'readings = product.stream("{readings}", contract=1)\n'
            f"flow = {self.flow.format(table=table)}\n"
            "product.publish(flow, contract=1)\n"
        )


def _windows(declared: str) -> str:
    return (
        f'readings.group_by("sensor").window({declared}, allowed_lateness="1m")'
        '.agg(readings=aggregates.count(), total=aggregates.sum("value"),'
        ' average=aggregates.mean("value"))'
    )


def _join(how: str) -> str:
    return f'readings.join(product.table("{{table}}", contract=1{how}), on="sensor")'


WORKLOADS: Final = (
    Workload("broadcast-join", JOINED, _join(", broadcast=True")),
    Workload("table-join", JOINED, _join("")),
    Workload("latest", READING, 'readings.latest("sensor", by="at")'),
    Workload("tumbling", WINDOW, _windows('tumbling("1h")'), ("aggregates", "tumbling")),
    Workload("hopping", WINDOW, _windows('hopping("1h", every="10m")'), ("aggregates", "hopping")),
)


def contract(name: str, fields: Mapping[str, Any]) -> str:
    """An Avro contract under the sensor's key."""
    field = [{"name": each, "type": type_, "doc": "Synthetic."} for each, type_ in fields.items()]
    for each in field:
        if isinstance(each["type"], list):
            each["default"] = None
    document = {
        "type": "record",
        "name": name,
        "namespace": "bench",
        "doc": "Synthetic.",
        "owner": "benchmark",
        "key": "sensor",
        "fields": field,
    }
    if "at" in fields:
        document["eventTime"] = "at"
    return json.dumps(document)


def sensors(keys: int) -> pl.Series:
    """The names of so many sensors."""
    numbers = pl.int_range(keys, eager=True).cast(pl.String).str.zfill(8)
    return ("sensor-" + numbers).alias("sensor")


def table(size: Size) -> Iterator[pl.DataFrame]:
    """A row for each sensor."""
    rows = pl.DataFrame([sensors(size.keys)]).with_row_index("number")
    number = pl.col("number")
    rows = rows.select(
        "sensor", site=pl.format("site {}", number % SITES), factor=number.cast(pl.Float64) / 7
    )
    return _sliced(rows)


def readings(size: Size) -> Iterator[pl.DataFrame]:
    """Every key once in random order, then random keys; one in a hundred comes late.

    Event time rises evenly, so that what is measured lasts `RUN_MS`.
    """
    every = pl.int_range(size.keys, eager=True).shuffle(SEED)
    drawn = every.sample(size.events - size.keys, with_replacement=True, seed=SEED)
    random = pl.int_range(STEPS, eager=True).sample(size.events, with_replacement=True, seed=SEED)
    late = pl.col("random") / (LATE_SHARE * STEPS)  # below one for those that are late
    at = BEGIN_MS + pl.col("event").cast(pl.Int64) * RUN_MS // size.measured
    at -= pl.when(late < 1).then((late * LATE_MS).cast(pl.Int64)).otherwise(0)
    rows = pl.DataFrame({"key": pl.concat([every, drawn]), "random": random})
    rows = rows.with_row_index("event").select(
        sensor=sensors(size.keys).gather(rows["key"]),
        at=at.clip(lower_bound=BEGIN_MS).cast(pl.Datetime("ms", "UTC")),
        value=pl.col("random") / 7,
    )
    return _sliced(rows)


def _sliced(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for part in rows.iter_slices(SLICE_ROWS):
        yield part.with_row_index(ROW)
