"""Names that authors may give, and rows that one record made."""

from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
import pytest
from tests.flow.stateful import World

from headwater import DataProduct, Flow, aggregates, hopping, session, tumbling
from headwater.errors import DeclarationError
from headwater.flow import Columns, Ground, Plan
from headwater.product.windows import Windows

COLUMNS: Columns = {"key": pl.String(), "at": pl.Datetime("ms", "UTC"), "n": pl.Int64()}
GROUPED = ("key",)


def stream() -> Flow:
    """A flow without steps."""
    return DataProduct("a.b", owner="me").stream("c.d", contract=1)


def at(second: int) -> datetime:
    """Some seconds into the epoch."""
    return datetime.fromtimestamp(second, UTC)


def numbers(world: World, name: str, *batches: Sequence[Sequence[object]]) -> list[object]:
    """A column of all that came out, batch by batch; every row is of task 0."""
    found: list[object] = []
    for rows in batches:
        frame, quarantined = world.batch(rows, [0] * len(rows))
        assert quarantined == []
        found += frame[name].to_list()
    return found


@pytest.mark.parametrize(
    "windows", [tumbling("10s"), hopping("10s", every="5s"), session(gap="5s")], ids=str
)
def test_a_group_may_be_called_key(windows: Windows) -> None:
    """As any column that is not Headwater's own."""
    flow = stream().group_by("key").window(windows).agg(n=aggregates.count())
    world = World(flow, COLUMNS, GROUPED)
    assert numbers(world, "n", [["a", at(1), 1], ["a", at(2), 1]], [["b", at(90), 1]])[0] == 2


def test_a_mean_is_told_where_the_total_is_beyond_an_integer() -> None:
    """Times in nanoseconds, say: the total is held in 128 bits."""
    flow = stream().group_by("key").agg(mean=aggregates.mean("n"))
    world = World(flow, COLUMNS, GROUPED)
    rows = [["a", at(1), 1_763_000_000_000_000_000]] * 9
    assert numbers(world, "mean", rows)[-1] == pytest.approx(1.763e18)


def test_first_and_last_need_an_event_time() -> None:
    """Told before anything runs, not of each record."""
    flow = stream().group_by("key").agg(first=aggregates.first("n"))
    with pytest.raises(DeclarationError) as told:
        Plan(flow, COLUMNS, ground=Ground(GROUPED))
    assert [problem.code for problem in told.value.problems] == ["NO_EVENT_TIME"]


@pytest.mark.parametrize("size", [1, 15])
def test_of_rows_that_one_record_made_the_first_is_first(size: int) -> None:
    """They have one time and one offset, and stand in the order in which they were made."""
    twice = [pl.col("n"), pl.col("n") + 1]
    flow = (
        stream()
        .map(lambda frame: frame.with_columns(n=pl.concat_list(twice)).explode("n"))
        .group_by("key")
        .agg(first=aggregates.first("n"), last=aggregates.last("n"))
    )
    rows = [["a", at(second), 10 * second] for second in range(1, 31)]
    firsts, lasts = World(flow, COLUMNS, GROUPED), World(flow, COLUMNS, GROUPED)
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    assert numbers(firsts, "first", *batches) == [10] * 60
    assert numbers(lasts, "last", *batches) == [
        number for second in range(1, 31) for number in (10 * second, 10 * second + 1)
    ]
