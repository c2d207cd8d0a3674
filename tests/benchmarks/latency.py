"""Open-loop latency: 10,000 departures a second in, the delay until their outputs can be read.

The producer keeps its schedule whatever the processor does, so waiting is counted (no coordinated
omission). The time of handing over travels as the scheduled departure, which the product copies.
Prints one JSON line.

Usage: latency.py OUTPUT_TOPIC SECONDS, in the folder of the project that publishes it.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Final, cast

import numpy as np
import polars as pl
from confluent_kafka import Consumer, Producer

from headwater.adapters.registry import SchemaRegistry
from headwater.assembly.addresses import resolve
from headwater.assembly.registration import lookup_ids
from headwater.assembly.root import project_root
from headwater.config import Settings, load_settings
from headwater.contract import Decoder, Encoder, load_contract

RATE: Final = 10_000  # records per second
TICK_S: Final = 0.005  # one hand-over of 50 records
PER_TICK: Final = int(RATE * TICK_S)
WARM_UP_S: Final = 5.0  # not counted: first fetches, first transactions
INPUT: Final = "bench.departures"
QUIET_S: Final = 5.0  # without an output for so long after the last input, it is over


def departures(first: int) -> pl.DataFrame:
    """One tick of departures, handed over now."""
    number = pl.int_range(first, first + PER_TICK, eager=True).cast(pl.String)
    now = pl.lit(time.time_ns() // 1_000_000).cast(pl.Datetime("ms", "UTC"))
    return number.to_frame("flight_id").select(
        "flight_id",
        carrier=pl.lit("UA"),
        flight=pl.lit(1545, pl.Int32),
        tailnum=pl.lit("N14228"),
        origin=pl.lit("EWR"),
        dest=pl.lit("IAH"),
        sched_dep=now,
        dep_time=now,
        dep_delay=pl.lit(2.0),
        arr_delay=pl.lit(11.0),
        air_time=pl.lit(227.0),
        distance=pl.lit(1400.0),
        _row=pl.int_range(PER_TICK, dtype=pl.UInt32),
    )


def produce(settings: Settings, encoder: Encoder, seconds: float) -> None:
    """Hand over one tick after another, on schedule."""
    producer = Producer({**settings.kafka, "linger.ms": 1, "partitioner": "murmur2_random"})
    began_s = time.perf_counter()
    for tick in range(int(seconds / TICK_S)):
        time.sleep(max(0.0, began_s + tick * TICK_S - time.perf_counter()))
        encoded = encoder.encode(departures(tick * PER_TICK))
        pairs = zip(encoded.keys, encoded.values, strict=True)
        producer.produce_batch(INPUT, [{"key": key, "value": value} for key, value in pairs])
        producer.poll(0)
    producer.flush(10)


def collect(settings: Settings, output: str, expected: int) -> list[tuple[int, bytes]]:
    """Arrival time (ms) and value of every output, as a read_committed consumer sees them."""
    consumer = Consumer(
        {
            **settings.kafka,
            "group.id": f"{output}.reader",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.subscribe([output])
    found: list[tuple[int, bytes]] = []
    last_s = time.perf_counter() + WARM_UP_S * 4
    while len(found) < expected and time.perf_counter() < last_s + QUIET_S:
        # one at a time from the local queue: consume(n) would wait for n
        message = consumer.poll(0.05)
        if message is None or message.error() is not None:
            continue
        found.append((time.time_ns() // 1_000_000, cast("bytes", message.value())))
        last_s = max(last_s, time.perf_counter())
    consumer.close()
    return found


def main(output: str, seconds: float) -> None:
    """Measure for `seconds` after the warm-up and print the figures."""
    settings = resolve(load_settings())
    registry = SchemaRegistry(settings.registry)
    schemas = project_root(Path.cwd()) / "schemas"
    source = load_contract(schemas, INPUT, 1)
    ids = lookup_ids([source], registry)[INPUT]
    total_s = WARM_UP_S + seconds
    expected = int(total_s / TICK_S) * PER_TICK
    feeding = threading.Thread(
        target=produce, args=(settings, Encoder(source, *ids), total_s), daemon=True
    )
    feeding.start()
    found = collect(settings, output, expected)
    feeding.join()
    arrived_ms = np.array([at for at, _ in found])
    decoder = Decoder(load_contract(schemas, output, 1), registry.schema)
    frame = decoder.decode([value for _, value in found]).frame
    handed_ms = frame["sched_dep"].to_physical().to_numpy()
    latency_ms = (arrived_ms - handed_ms)[handed_ms >= handed_ms.min() + WARM_UP_S * 1000]
    figures = {
        "records_per_second": RATE,
        "records": len(latency_ms),
        "missing": expected - len(found),
        **{f"p{share}_ms": float(np.percentile(latency_ms, share)) for share in (50, 99, 99.9)},
        "max_ms": float(latency_ms.max()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
