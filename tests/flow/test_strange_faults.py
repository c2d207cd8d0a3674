"""Whatever a step raises costs the record alone, and what it says goes nowhere."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import polars as pl
import pytest

from headwater import DataProduct
from headwater.errors import DeclarationError
from headwater.flow import ROW, Plan
from headwater.model import Code

CANARY: Final = "canary-17"
COLUMNS: Final = {"id": pl.String()}


class Panic(BaseException):
    """As libraries written in Rust raise it."""


STRANGE: Final[dict[str, Callable[[str], BaseException]]] = {
    "cancelled": asyncio.CancelledError,
    "exit": SystemExit,
    "panic": Panic,
    "panic of polars": pl.exceptions.PanicException,
    "group": lambda text: BaseExceptionGroup(text, [SystemExit(text)]),
    "stop": StopIteration,
}


def process(whole: Callable[[Any], Any] | None, alone: Callable[[Any], Any] | None) -> list[str]:
    """The messages of what three records became, of which the second is strange."""
    flow = DataProduct("a.b", owner="me@x.example").stream("a.in", contract=1)
    flow = flow.map(whole) if whole else flow
    plan = Plan(flow.map_events(alone) if alone else flow, COLUMNS, COLUMNS)
    rows = pl.Series(ROW, [0, 1, 2], dtype=pl.UInt32)
    done = plan.process(pl.DataFrame([rows, pl.Series("id", ["a", CANARY, "c"])]))
    assert done.frame["id"].to_list() == ["a", "c"]
    assert [(each.row, each.code) for each in done.quarantined] == [(1, Code.STEP_FAILED)]
    return [each.message for each in done.quarantined]


@pytest.mark.parametrize("name", STRANGE)
def test_a_step_on_events_may_raise_anything(name: str) -> None:
    """Only the type is told."""

    def strange(event: Any) -> Any:
        if event["id"] == CANARY:
            raise STRANGE[name](event["id"])
        return event

    assert CANARY not in str(process(None, strange))


@pytest.mark.parametrize("name", STRANGE)
def test_a_step_on_frames_may_raise_anything(name: str) -> None:
    """The guilty row is found by halving, and its neighbours go through."""

    def strange(frame: pl.DataFrame) -> pl.DataFrame:
        if CANARY in frame["id"]:
            raise STRANGE[name](CANARY)
        return frame

    assert CANARY not in str(process(strange, None))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
def test_an_interruption_passes_through(kind: type[BaseException]) -> None:
    """It is no fault of the record."""

    def interrupted(event: Any) -> Any:
        raise kind

    with pytest.raises(kind):
        process(None, interrupted)
    with pytest.raises(kind):
        process(lambda frame: interrupted(frame) if frame.height else frame, None)


def test_a_step_that_fails_for_all_rows_is_told_in_the_words_of_no_row() -> None:
    """The same error over real rows may quote one of them."""
    planned: list[bool] = []

    def broken(frame: pl.DataFrame) -> pl.DataFrame:
        if not planned:
            return frame
        raise pl.exceptions.SchemaError(f"no such type: {frame['id'].to_list()}")

    flow = DataProduct("a.b", owner="me@x.example").stream("a.in", contract=1).map(broken)
    plan = Plan(flow, COLUMNS)
    planned.append(True)
    rows = pl.Series(ROW, [0, 1], dtype=pl.UInt32)
    with pytest.raises(DeclarationError, match=r"no such type: \[\]") as caught:
        plan.process(pl.DataFrame([rows, pl.Series("id", ["a", CANARY])]))
    assert CANARY not in str(caught.value)
