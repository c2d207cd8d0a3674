"""What each aggregate costs: 1,000,000 rows of 10,000 keys, at once and in batches of 10,000.

Microseconds per row: lifted, merged and turned into results at once; and lifted and merged with the
states that a store holds of their keys, batch after batch. Bytes are those of a state in the store
at the end. Run: python -m tests.benchmarks.aggregates
"""

import json
import random
import time
from collections.abc import Callable
from typing import Final

import polars as pl

from headwater.contract import StateRows
from headwater.flow.aggregates import Aggregation
from headwater.flow.aggregators import EVENT_TIME, OFFSET
from headwater.product import aggregates as of
from headwater.product.aggregates import Aggregate

ROWS: Final = 1_000_000
KEYS: Final = 10_000
BATCH: Final = 10_000
SEED: Final = 20130101
KEY: Final = "key"
AGGREGATES: Final[dict[str, Aggregate]] = {
    "count": of.count(),
    "sum of integers": of.sum("minutes"),
    "sum of doubles": of.sum("amount"),
    "share": of.mean("late"),
    "variance": of.variance("amount"),
    "max": of.max("amount"),
    "last": of.last("amount"),
    "collect 10": of.collect("amount", limit=10),
    "approx_distinct of integers": of.approx_distinct("number"),
    "approx_distinct of text": of.approx_distinct("text"),
    "quantile of doubles": of.quantile("amount", 0.95),
    "quantile of minutes": of.quantile("minutes", 0.95),
    "top_k of text": of.top_k("text", 3),
    "mergeable": of.mergeable(
        state={"n": pl.col("minutes")},
        merge={"n": pl.col("n").sum()},
        result=pl.col("n"),
    ),
}


def rows(count: int) -> pl.DataFrame:
    """Rows of random keys: amounts of two decades, minutes about 0, texts of 5,000 values."""
    draw = random.Random(SEED)
    return pl.DataFrame(
        {
            KEY: [draw.randrange(KEYS) for _ in range(count)],
            "amount": [draw.lognormvariate(3, 1) for _ in range(count)],
            "minutes": [round(draw.gauss(0, 20)) for _ in range(count)],
            "text": [f"N{draw.randrange(5_000)}UA" for _ in range(count)],
        }
    ).with_columns(
        pl.int_range(pl.len()).alias("number"),
        (pl.col("minutes") > 15).alias("late"),
        pl.int_range(pl.len()).alias(EVENT_TIME),
        pl.int_range(pl.len()).alias(OFFSET),
    )


def microseconds(work: Callable[[], object]) -> float:
    """CPU microseconds per row."""
    begun = time.process_time()
    work()
    return (time.process_time() - begun) / ROWS * 1e6


def in_batches(aggregation: Aggregation, given: pl.DataFrame) -> pl.DataFrame:
    """The states of all keys after the last batch; each batch takes out those of its keys."""
    held = pl.DataFrame(schema={KEY: pl.Int64(), **aggregation.state})
    for batch in given.iter_slices(BATCH):
        states = aggregation.lift(batch).select(held.columns)
        touched = held.join(batch, on=KEY, how="semi")
        merged = aggregation.merge(pl.concat([touched, states]), by=[KEY])
        held = pl.concat([held.join(batch, on=KEY, how="anti"), merged])
    return held


def figures(aggregation: Aggregation, given: pl.DataFrame) -> dict[str, float]:
    """Those of one aggregate."""
    held = pl.DataFrame()

    def at_once() -> None:
        aggregation.result(aggregation.merge(aggregation.lift(given), by=[KEY]))

    def batched() -> None:
        nonlocal held
        held = in_batches(aggregation, given)

    found = {"at_once_us": microseconds(at_once), "batched_us": microseconds(batched)}
    stored = StateRows(aggregation.state).encode(held.head(100).drop(KEY))
    return {**found, "state_bytes": sum(map(len, stored)) / len(stored)}


def measure() -> dict[str, dict[str, float]]:
    """The figures by aggregate."""
    given = rows(ROWS)
    columns = {name: kind for name, kind in given.schema.items() if name != KEY}
    return {
        name: {
            what: round(figure, 3)
            for what, figure in figures(Aggregation({"x": declared}, columns), given).items()
        }
        for name, declared in AGGREGATES.items()
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
