"""What bad input costs: batches through `Task.process`, sound ones beside those with bad records.

Bad values of six kinds stand evenly among the good ones, or side by side; or a step of the author
raises for some. Another writer's schema shows what resolution costs. No broker takes part.

Run: python tests/benchmarks/bad_input.py
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from headwater import DataProduct, Flow
from headwater.assembly.flights import data_directory, departures
from headwater.contract import Contract, Decoder, Encoder, KeyReader, load_contract, parse_contract
from headwater.engine import LetterWriter, Route, Task
from headwater.engine.screening import screen
from headwater.errors import UnknownSchemaError
from headwater.flow import Plan
from headwater.model import Headers, Partition, Positions, RawRecord

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
INPUT: Final = "operations.departures"
OUTPUT: Final = "operations.departure-delays"
ROWS: Final = 10_000  # of a batch: what the loop polls at most
REPEATS: Final = 20
ID: Final = 1
OLDER_ID: Final = 2
SHARES: Final = {"0.1 %": 0.001, "5 %": 0.05}  # at most 2 and 6 times a clean batch
AT_MS: Final = 1_357_000_000_000


def bad_values(good: bytes) -> list[bytes]:
    """One value of each kind of being bad."""
    frame, body = good[:5], good[5:]
    length = body[0] // 2  # of the first text, zigzag
    at = 1 + length + 1 + body[1 + length] // 2  # of the flight's number, two bytes, mostly
    return [
        good[:-3],
        good + b"\0",
        b"\1" + good[1:],
        b"\0\x7f\xff\xff\xff" + body,
        frame + body[:1] + b"\xff" * length + body[1 + length :],
        frame + body[:at] + b"\xff\xff\xff\xff\x7f" + body[at + 2 :],
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


def strict(frame: pl.DataFrame) -> pl.DataFrame:
    """A step on frames that raises for some flights."""
    if (frame["flight"] < 0).any():
        raise ValueError
    return frame


class Batch:
    """Records of one partition whose columns are there already (the port `Records`)."""

    topic = INPUT

    def __init__(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> None:
        self.values = values
        self._keys = keys

    def __len__(self) -> int:
        return len(self.values)

    def raw(self, row: int) -> RawRecord:
        """One record with everything."""
        return RawRecord(Partition(INPUT, 0), row, AT_MS, self._keys[row], self.values[row])

    def keys(self) -> Sequence[bytes | None]:
        """The keys."""
        return self._keys

    def partitions(self) -> Sequence[int]:
        """All in the first."""
        return [0] * len(self)

    def offsets(self) -> Sequence[int]:
        """From 0 on."""
        return range(len(self))

    def headers(self) -> Mapping[int, Headers]:
        """None has any."""
        return {}

    def ends(self) -> Positions:
        """The next offset."""
        return {Partition(INPUT, 0): len(self)}

    def timestamps_ms(self) -> Sequence[int]:
        """One publish time for all."""
        return [AT_MS] * len(self)


class Bench:
    """One batch of real departures, and the tasks that read it."""

    def __init__(self) -> None:
        self.contract = load_contract(SCHEMAS, INPUT, 1)
        self.output = load_contract(SCHEMAS, OUTPUT, 1)
        flights = departures(data_directory()).filter(pl.col("dep_delay").is_not_null()).head(ROWS)
        numbered = flights.with_columns(pl.int_range(ROWS, dtype=pl.UInt32).alias("_row"))
        encoded = Encoder(self.contract, ID).encode(numbered)
        self.keys, self.values = encoded.keys, encoded.values
        row = pl.col("_row")
        self.raising = {
            "evenly": self._refused(numbered, row % 1_000 == 500),
            "side by side": self._refused(numbered, row.is_between(5_000, 5_009)),
        }
        self.older = older(self.contract)
        other = parse_contract(self.older, topic=INPUT, version=1, path=Path("older.avsc"))
        written = numbered.with_columns(pl.col("distance").cast(pl.Float32), gone=pl.lit(1))
        written = written.with_columns(pl.col("gone").cast(pl.Int32))
        self.resolving = Encoder(other, OLDER_ID).encode(written).values

    def _refused(self, flights: pl.DataFrame, rows: pl.Expr) -> Sequence[bytes]:
        """The values, those of `rows` such that `strict` raises."""
        flight = pl.when(rows).then(-1).otherwise(pl.col("flight")).cast(pl.Int32)
        return Encoder(self.contract, ID).encode(flights.with_columns(flight=flight)).values

    def lookup(self, schema_id: object) -> str:
        """The registry."""
        if schema_id == ID:
            return self.contract.text
        if schema_id == OLDER_ID:
            return self.older
        raise UnknownSchemaError(f"no schema of id {schema_id}")

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
            keys=[KeyReader(self.contract, self.lookup)],
        )
        task.skip_proofs()
        return task

    def process_us(self, task: Task, values: Sequence[bytes]) -> float:
        """Microseconds per event of the best of several batches."""
        records = Batch(self.keys, values)
        return best_us(lambda: task.process(records))


def older(contract: Contract) -> str:
    """A writer's schema with the fields in another order, one of them narrower, one more."""
    schema = json.loads(contract.text)
    fields = [*reversed(schema["fields"]), {"name": "gone", "type": "int", "doc": "No more."}]
    for field in fields:
        if field["name"] == "distance":
            field["type"] = "float"
    return json.dumps({**schema, "fields": fields})


def best_us(work: Callable[[], object]) -> float:
    """Microseconds of processor time per event: other processes do not count. The best repeat."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times) / ROWS * 1e6


def measure() -> dict[str, Any]:
    """Microseconds per event, and for bad input how many times a clean batch."""
    bench = Bench()
    clean = bench.task()
    clean_us = bench.process_us(clean, bench.values)
    records = Batch(bench.keys, bench.values)
    keys = KeyReader(bench.contract, bench.lookup)
    decoder = Decoder(bench.contract, bench.lookup)
    results: dict[str, Any] = {
        "clean_us": round(clean_us, 3),
        "screening_us": round(
            best_us(lambda: (screen(records, records.headers()), keys.faults(records.keys()))), 3
        ),
        "decode_us": round(best_us(lambda: decoder.decode(bench.values)), 3),
        "decode_resolving_us": round(best_us(lambda: decoder.decode(bench.resolving)), 3),
    }
    for name, share in SHARES.items():
        for clustered in (False, True):
            values = spoilt(bench.values, share, clustered=clustered)
            us = bench.process_us(clean, values)
            where = "side by side" if clustered else "evenly"
            results[f"{name} bad, {where}, ratio"] = round(us / clean_us, 2)
    stepping = bench.task(strict)
    harmless_us = bench.process_us(stepping, bench.values)
    for where, raising in bench.raising.items():
        raising_us = bench.process_us(stepping, raising)
        results[f"0.1 % raising, {where}, ratio"] = round(raising_us / harmless_us, 2)
    return results


if __name__ == "__main__":
    print(json.dumps(measure()))
