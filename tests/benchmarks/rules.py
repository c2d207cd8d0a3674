"""What rules cost: departures in batches as the engine polls them, five rules and what is built in.

Run: python -m tests.benchmarks.rules
"""

import json
from pathlib import Path

import polars as pl
from tests.benchmarks.codec import ROWS, best_us, departures

from headwater.contract import Contract, Rules, parse_contract

SCHEMA = Path(__file__).parents[2] / "schemas/operations/departures/v1.avsc"
REPEATS = 50
CHECKS = {
    "origin": "origin IN ('EWR', 'JFK', 'LGA')",
    "carrier": "carrier ~ '^[A-Z0-9]{2}$'",
    "flight-id": "LENGTH(flight_id) BETWEEN 10 AND 40",
    "air-time": "air_time BETWEEN 10 AND 1000",
    "arrival": "dep_delay IS NULL OR arr_delay - dep_delay < 500",
}
AGE = "_age BETWEEN INTERVAL '-1 hour' AND INTERVAL '10000 days'"


def contract(rules: dict[str, str], *, keep: bool = False, finite: bool = True) -> Contract:
    """The departures' contract with these rules; `keep` its own, `finite` what is built in."""
    schema = json.loads(SCHEMA.read_text())
    for field in schema["fields"]:
        if not keep:
            field.pop("rule", None)
        field["nonFinite"] = not finite
    schema["rules"] = [{"name": name, "check": check} for name, check in rules.items()]
    text = json.dumps(schema)
    return parse_contract(text, topic="operations.departures", version=1, path=SCHEMA)


def measure() -> dict[str, float]:
    """Microseconds per event of asking rules, of frames that break none and of some that do."""
    frame = departures(ROWS)
    published = pl.Series([1_358_000_000_000] * ROWS, dtype=pl.Int64)
    some = frame.with_columns(
        origin=pl.when(pl.col("_row") % 1000 == 0).then(pl.lit("XXX")).otherwise("origin")
    )
    none, five = Rules(contract({}, finite=False)), Rules(contract(CHECKS, finite=False))
    aged, own = Rules(contract({**CHECKS, "age": AGE})), Rules(contract({}, keep=True))
    return {
        "none_us": best_us(lambda: none.broken(frame), REPEATS),
        "own_rule_and_finite_us": best_us(lambda: own.broken(frame), REPEATS),
        "five_us": best_us(lambda: five.broken(frame), REPEATS),
        "five_age_and_finite_us": best_us(lambda: aged.broken(frame, published), REPEATS),
        "five_one_in_a_thousand_broken_us": best_us(lambda: five.broken(some), REPEATS),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
