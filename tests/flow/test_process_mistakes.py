"""`process`: mistakes of its declaration, told without data."""

import dataclasses
from typing import Any

import pytest
from tests.flow.test_process import COLUMNS, SUMS, Total, Visit, add, close, stream, visits

from headwater import Flow
from headwater.errors import DeclarationError
from headwater.flow import Ground, Plan


def refused(flow: Flow, event_time: str | None = "at") -> list[str]:
    """The problems of a flow that cannot be planned."""
    with pytest.raises(DeclarationError) as caught:
        Plan(flow, COLUMNS, SUMS, ground=Ground(("id",), event_time=event_time))
    return [f"{p.code} {p.message}" for p in caught.value.problems]


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A state that cannot be changed."""

    total: int = 0


@dataclasses.dataclass
class Bare:
    """A state that wants an argument."""

    total: int


@dataclasses.dataclass
class Mapped:
    """A state with a field that has no column type."""

    totals: dict[str, int] = dataclasses.field(default_factory=dict)


async def late(event: dict[str, Any], state: Total) -> None:
    """Nothing would await it."""


def test_mistakes_are_told_without_data() -> None:
    """Of the state's type, of the functions, of the contract."""
    told = [
        refused(stream().process(add, state=dict)),
        refused(stream().process(add, state=Frozen)),
        refused(stream().process(add, state=Bare)),
        refused(stream().process(add, state=Mapped)),
        refused(stream().process(len, state=Total)),  # type: ignore[arg-type]  # what is told
        refused(stream().process(late, state=Total)),
        refused(stream().process(add, state=Visit, on_timer=close), event_time=None),
        refused(visits().latest("id", by="numbers")),
    ]
    assert told == [
        ["INVALID_STEP process-1: state=<class 'dict'> is no pydantic model or dataclass"],
        ["INVALID_STEP process-1: Frozen is frozen; the function changes it in place"],
        ["INVALID_STEP process-1: Bare() cannot be made; give each of its fields a default"],
        [
            (
                "UNSUPPORTED_TYPE process-1: field 'totals' of Mapped has no column type; use a"
                " plain one"
            )
        ],
        [
            (
                "INVALID_STEP process-1: len takes 1 arguments; let it take (event, state), and a"
                " third for the context"
            )
        ],
        [
            (
                "INVALID_STEP process-1: takes a plain function, not one of `async def`; nothing"
                " would await it"
            )
        ],
        [
            (
                "NO_EVENT_TIME process-1: works on event time; name it in the contract of the"
                ' stream, "eventTime"'
            )
        ],
        [
            (
                "BEHIND_TIMERS latest-1: has state behind process-1, of which rows come when timers"
                " are due; publish those, and go on in a product that reads them"
            )
        ],
    ]
