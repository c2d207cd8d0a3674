"""What the codec costs: departures of about 100 bytes, in batches as the engine polls them.

Run: python tests/benchmarks/codec.py
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from headwater.contract import Decoder, Encoder, load_contract

SCHEMAS = Path(__file__).parents[2] / "schemas"
ROWS = 8_000
REPEATS = 30
SLOW_REPEATS = 2  # of the row codec


def departures(rows: int) -> pl.DataFrame:
    """Rows that look like departures; every tenth was cancelled."""
    row = pl.int_range(rows, eager=False)
    gone = row % 10 != 0
    at = 1_357_000_000_000 + row * 60_000
    delay = (row % 50).cast(pl.Float64)
    return pl.select(
        flight_id=pl.format("20130101-UA{}-EWR-0515", row),
        carrier=pl.lit("UA"),
        flight=row.cast(pl.Int32),
        tailnum=pl.when(gone).then(pl.lit("N12345")),
        origin=pl.lit("EWR"),
        dest=pl.lit("IAH"),
        sched_dep=at.cast(pl.Datetime("ms", "UTC")),
        dep_time=pl.when(gone).then(at.cast(pl.Datetime("ms", "UTC"))),
        dep_delay=pl.when(gone).then(delay),
        arr_delay=pl.when(gone).then(delay),
        air_time=pl.when(gone).then(delay + 100),
        distance=delay + 1400,
    ).with_row_index("_row")


def best_us(work: Callable[[], object], repeats: int) -> float:
    """Microseconds per row of the best repeat."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(min(times) / ROWS * 1e6, 3)


def measure() -> dict[str, float]:
    """Microseconds per event of each way through the codec."""
    contract = load_contract(SCHEMAS, "operations.departures", 1)
    frame = departures(ROWS)
    encoder = Encoder(contract, 1)
    decoder = Decoder(contract, lambda _: contract.text)
    values = encoder.encode(frame).values
    trailing = [*values[:-1], values[-1] + b"\0"]
    short = [*values[:-1], values[-1][:-1]]
    return {
        "bytes": round(sum(map(len, values)) / ROWS, 1),
        "encode_us": best_us(lambda: encoder.encode(frame), REPEATS),
        "bodies_us": best_us(lambda: encoder.bodies(frame), REPEATS),
        "decode_us": best_us(lambda: decoder.decode(values), REPEATS),
        "decode_one_trailing_us": best_us(lambda: decoder.decode(trailing), REPEATS),
        "decode_one_truncated_us": best_us(lambda: decoder.decode(short), REPEATS),
        "decode_by_row_us": best_us(lambda: decoder.decode_by_row(values), SLOW_REPEATS),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
