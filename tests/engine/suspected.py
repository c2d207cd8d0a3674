"""Flows with state whose steps refuse what they are given, for tests of what is refused."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel
from tests.engine.test_task import SCHEMA, stream

from headwater import Flow, ProcessContext, aggregates, hopping, tumbling
from headwater.contract import parse_contract

TASKS = 2
NO_ROW = -1  # of what no record made
TIME = pl.Datetime("ms", "UTC")

Event = tuple[int, int, int]
"""A partition, a number, and an event time in seconds."""


class Order(BaseModel):
    """What a sum is made of."""

    id: str
    n: int
    at: datetime


def refuse_three(order: Order) -> Order:
    """A step that cannot do a three."""
    if order.n == 3:
        raise ValueError
    return order


def rules(**checks: str) -> Any:
    """The contract of outputs, with a rule of each severity that is given."""
    written = [
        {"name": severity, "check": check, "severity": severity}
        for severity, check in checks.items()
    ]
    schema = json.dumps(json.loads(SCHEMA) | {"rules": written})
    return parse_contract(schema, topic="out", version=1, path=Path("v1.avsc"))


LIMITED = rules(reject="n <= 100")


def summed() -> Flow:
    """The sum of all numbers so far; a three is refused before the state."""
    total = stream().map_events(refuse_three).group_by("id").agg(n=aggregates.sum("n"))
    return total.with_columns(pl.col("n").cast(pl.Int32), at=pl.lit(0).cast(TIME))


def windowed() -> Flow:
    """The sum in each ten seconds, told on change; what is late is a dead letter."""
    windows = (
        stream()
        .map_events(refuse_three)
        .group_by("id")
        .window(tumbling("10s"), emit="on_change", late="dead-letter")
    )
    told = windows.agg(n=aggregates.sum("n"))
    return told.select("id", pl.col("n").cast(pl.Int32), at="window_start")


def scaled() -> Flow:
    """The sum of numbers of which 64 are more than a result of 64 bits can hold."""
    large = stream().with_columns(large=pl.col("n").cast(pl.Int64) * 2**57)
    total = large.group_by("id").agg(large=aggregates.sum("large"))
    return total.select("id", n=(pl.col("large") // 2**57).cast(pl.Int32), at=pl.lit(0).cast(TIME))


def closed() -> Flow:
    """The same of windows of ten seconds, told when they close."""
    large = stream().with_columns(large=pl.col("n").cast(pl.Int64) * 2**57)
    windows = large.group_by("id").window(tumbling("10s"))
    return windows.agg(large=aggregates.sum("large")).select(
        "id", n=(pl.col("large") // 2**57).cast(pl.Int32), at="window_start"
    )


def hopping_late() -> Flow:
    """Windows that overlap, told when they close; what is late is a dead letter."""
    windows = stream().group_by("id").window(hopping("20s", every="5s"), late="dead-letter")
    return windows.agg(n=aggregates.count()).select(
        "id", n=pl.col("n").cast(pl.Int32), at="window_start"
    )


def kept() -> Flow:
    """What is latest by its number; a three is refused behind the state."""
    return stream().latest("id", by="n").map_events(refuse_three)


def kept_shortly() -> Flow:
    """What is latest by its time, as far as that is ten seconds back; a three is refused."""
    return stream().latest("id", by="at", keep="10s").map_events(refuse_three)


def deduped() -> Flow:
    """What did not come within five seconds; a three is refused behind the state."""
    return stream().dedupe(["id", "n"], within="5s").map_events(refuse_three)


@dataclass
class Total:
    """What `process` keeps of a key."""

    n: int = 0


def added(order: Order, state: Total, context: ProcessContext) -> Order:
    """The sum so far; it cannot do a fifty, and asks to be called ten seconds later."""
    state.n += order.n
    context.set_timer(order.at + timedelta(seconds=10))
    if order.n == 50:
        raise ValueError
    return Order(id=order.id, n=state.n, at=order.at)


def told_later(state: Total, at: datetime) -> Order:
    """The sum so far, a tenth of it."""
    return Order(id="a", n=state.n // 10, at=at)


def processed() -> Flow:
    """A function per key with a timer."""
    return stream().process(added, state=Total, on_timer=told_later)


def rejecting() -> Flow:
    """No state: a three is refused by a step."""
    return stream().map_events(refuse_three)
