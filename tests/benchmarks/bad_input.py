"""What bad input costs: batches through `Task.process`, sound ones beside those with bad records.

Bad values of six kinds stand evenly among the good ones, or side by side; or a step of the author
raises for some. Another writer's schema shows what resolution costs. No broker takes part.

Run: python tests/benchmarks/bad_input.py
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater import DataProduct, Flow
from headwater.adapters.memory.reader import MemoryRecords
from headwater.assembly.flights import data_directory, departures
from headwater.contract import Contract, Decoder, Encoder, KeyReader, load_contract
from headwater.engine import LetterWriter, Route, Task
from headwater.errors import UnknownSchemaError
from headwater.flow import Plan
from headwater.model import Partition, RawRecord

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
INPUT: Final = "operations.departures"
OUTPUT: Final = "operations.departure-delays"
ROWS: Final = 10_000  # of a batch: what the loop polls at most
REPEATS: Final = 7
ID: Final = 1
OLDER_ID: Final = 2
SHARES: Final = {"0.1 %": 0.001, "5 %": 0.05}
LIMITS: Final = {"0.1 %": 2.0, "5 %": 6.0, "raising 0.1 %": 2.0}
"""How many times the cost of a clean batch is allowed."""


def bad_values(good: bytes) -> list[bytes]:
    """One value of each kind of being bad."""
    frame, body = good[:5], good[5:]
    length = body[0] // 2  # of the first text, zigzag
    return [
        good[:-3],
        good + b"\0",
        b"\1" + good[1:],
        b"\0\x7f\xff\xff\xff" + body,
        frame + body[:1] + b"\xff" * length + body[1 + length :],
        frame + body[: 1 + length] + b"\xff" * 9 + b"\1" + body[1 + length :],
    ]


def spoilt(values: Sequence[bytes], share: float, *, clustered: bool) -> list[bytes]:
    """The values, a share of them bad: side by side in the middle, or evenly."""
    count = round(len(values) * share)
    step = 1 if clustered else len(values) // count
    first = len(values) // 2 if clustered else step // 2
    out = list(values)
    for place in range(count):
        row = first + place * step
        out[row] = bad_values(values[row])[place % 6]
    return out


def raising(share: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A step on frames that raises for a share of all flights."""
    modulus = round(1 / share)

    def step(frame: pl.DataFrame) -> pl.DataFrame:
        if (frame["flight_id"].hash(seed=1) % modulus == 0).any():
            raise ValueError
        return frame

    return step


class Bench:
    """One batch of real departures, and the tasks that read it."""

    def __init__(self) -> None:
        self.contract = load_contract(SCHEMAS, INPUT, 1)
        self.output = load_contract(SCHEMAS, OUTPUT, 1)
        flights = departures(data_directory()).filter(pl.col("dep_delay").is_not_null()).head(ROWS)
        numbered = flights.with_columns(pl.int_range(ROWS, dtype=pl.UInt32).alias("_row"))
        encoded = Encoder(self.contract, ID).encode(numbered)
        self.keys, self.values = encoded.keys, encoded.values
        self.older = older(self.contract)

    def lookup(self, schema_id: object) -> str:
        """The registry."""
        if schema_id == ID:
            return self.contract.text
        if schema_id == OLDER_ID:
            return self.older
        raise UnknownSchemaError(f"no schema of id {schema_id}")

    def records(self, values: Sequence[bytes]) -> MemoryRecords:
        """A batch of one partition."""
        place = Partition(INPUT, 0)
        return MemoryRecords(
            INPUT,
            [
                RawRecord(place, row, 1_357_000_000_000, key, value)
                for row, (key, value) in enumerate(zip(self.keys, values, strict=True))
            ],
        )

    def task(self, step: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> Task:
        """The delays, after a further step where one is given."""
        departed = DataProduct(OUTPUT, owner="me@airport.example").stream(INPUT, contract=1)
        flow: Flow = departed if step is None else departed.map(step)
        delays = flow.select(
            "flight_id",
            "carrier",
            "origin",
            "dest",
            "sched_dep",
            delay_minutes="dep_delay",
            late=pl.col("dep_delay") > 15,
            speed_class=pl.when(pl.col("distance") < 500)
            .then(pl.lit("short"))
            .otherwise(pl.lit("long")),
        )
        plan = Plan(delays, self.contract.columns, self.output.columns)
        task = Task(
            Decoder(self.contract, self.lookup),
            [Route(OUTPUT, plan, Encoder(self.output, ID))],
            dead_letters=LetterWriter(f"{OUTPUT}.dead-letters"),
            keys=KeyReader(self.contract, self.lookup),
        )
        task.skip_proofs()
        return task

    def process_us(self, task: Task, values: Sequence[bytes]) -> float:
        """Microseconds per event of the best of several batches."""
        records = self.records(values)
        return best_us(lambda: task.process(records))


def older(contract: Contract) -> str:
    """A writer's schema with the fields in another order, one of them narrower, one more."""
    schema = json.loads(contract.text)
    fields = [*reversed(schema["fields"]), {"name": "gone", "type": "int"}]
    for field in fields:
        if field["name"] == "distance":
            field["type"] = "float"
    return json.dumps({**schema, "fields": fields})


def best_us(work: Callable[[], object]) -> float:
    """Microseconds per event of the best repeat."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / ROWS * 1e6


def measure() -> dict[str, Any]:
    """Microseconds per event, and for bad input how many times a clean batch."""
    bench = Bench()
    clean = bench.task()
    clean_us = bench.process_us(clean, bench.values)
    results: dict[str, Any] = {"clean_us": round(clean_us, 3)}
    for name, share in SHARES.items():
        for clustered in (False, True):
            values = spoilt(bench.values, share, clustered=clustered)
            us = bench.process_us(clean, values)
            where = "clustered" if clustered else "even"
            results[f"{name} bad, {where}, ratio"] = round(us / clean_us, 2)
    harmless_us = bench.process_us(bench.task(raising(1e-9)), bench.values)
    raising_us = bench.process_us(bench.task(raising(0.001)), bench.values)
    results["raising 0.1 %, ratio"] = round(raising_us / harmless_us, 2)
    return results


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
