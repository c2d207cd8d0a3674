"""One step, made to run on frames: what every stage takes, gives and may raise."""

import difflib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import polars as pl

from headwater.contract import ROW, ROW_TYPE
from headwater.errors import DeclarationError, Problem
from headwater.model import Quarantine
from headwater.product import Origin, Step

Columns = Mapping[str, pl.DataType]
"""Column names and types of a frame, without `_row`."""

Defaults = Mapping[str, pl.Series]
"""The default of each column that has one, as a series of one value."""

MAX_ROWS: Final = 20_000  # two polls: what stays unseen is only what needs a larger batch still
"""How many rows are computed in other batches too, to see that these do not matter."""

_QUOTED: Final = re.compile(r'"([^"]+)"')
MISSING: Final = (
    pl.exceptions.ColumnNotFoundError,
    pl.exceptions.SchemaFieldNotFoundError,
    pl.exceptions.StructFieldNotFoundError,
)
"""What Polars raises for a column or field that is not there."""


@dataclass(frozen=True, slots=True)
class Processed:
    """The rows that went through, in order, and the input rows that did not.

    `late` counts the rows that were dropped because they came late, by the step's name;
    `duplicates` those that had come already, `superseded` those whose key had a later row,
    `unordered` those without a value to be ordered by.
    Of those quarantined, a plan tells which were `alone`: no other row had a part in it; and which
    the first step with state refused before anything of them was in its state (`by_state`).
    `is_broken_off`: rows behind one of these were not run.
    """

    frame: pl.DataFrame
    quarantined: list[Quarantine]
    late: Mapping[str, int] = field(default_factory=dict)
    duplicates: Mapping[str, int] = field(default_factory=dict)
    superseded: Mapping[str, int] = field(default_factory=dict)
    unordered: Mapping[str, int] = field(default_factory=dict)
    alone: frozenset[int] = frozenset()
    by_state: frozenset[int] = frozenset()
    is_broken_off: bool = False


class Stage(Protocol):
    """A step compiled for the columns it gets."""

    @property
    def step(self) -> Step:
        """The declared step."""
        ...

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out; None when only data can tell.

        Raises DeclarationError when the step cannot run on these columns.
        """
        ...

    def run(self, frame: pl.DataFrame) -> Processed:
        """The step on a frame with `_row`. Raises what the author's code raises."""
        ...


Around = Callable[[Step], AbstractContextManager[None]]
"""Made anew for each run of a step: what happens before and after it."""


@dataclass(frozen=True, slots=True)
class Surrounded:
    """A stage with something around each of its runs."""

    stage: Stage
    around: Around

    @property
    def step(self) -> Step:
        """The declared step."""
        return self.stage.step

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out."""
        return self.stage.columns(given)

    def run(self, frame: pl.DataFrame) -> Processed:
        """The step on a frame."""
        with self.around(self.step):
            return self.stage.run(frame)


def as_columns(run: Callable[[pl.DataFrame], pl.DataFrame], frame: pl.DataFrame) -> pl.DataFrame:
    """What `run` makes of a frame, the same for a row alone as among others.

    Polars takes one value, also one that makes up a chunk, for a scalar and computes some things
    otherwise: `n / 7` of it has another last bit than in a longer column. So chunks are joined, and
    a row that is alone is run twice, side by side: a step that looks at one row at a time gives
    both the same.
    """
    if frame.height != 1:
        return run(frame.rechunk())
    # by columns: a frame keeps a value that is repeated as a single one
    twice = [pl.concat([each, each], rechunk=True) for each in frame.iter_columns()]
    result = run(pl.DataFrame(twice))
    return result.head(result.height // 2)


def empty(columns: Columns) -> pl.DataFrame:
    """A frame of these columns and `_row`, without rows."""
    return pl.DataFrame(schema={ROW: ROW_TYPE, **columns})


def columns_of(frame: pl.DataFrame) -> Columns:
    """The columns of a frame without `_row`."""
    return {name: dtype for name, dtype in frame.schema.items() if name != ROW}


def refused(step: Step, code: str, text: str, origin: Origin | None = None) -> DeclarationError:
    """The author's mistake in a step, as an error with file and line."""
    place = origin or step.origin
    return DeclarationError([Problem(code, f"{step.name}: {text}", place.file, place.line)])


def cannot_run(
    step: Step, error: BaseException, given: Columns, origin: Origin | None = None
) -> DeclarationError:
    """Why a step fails on a frame without rows; no payload can be in such an error."""
    if isinstance(error, MISSING):
        name = next(iter(_QUOTED.findall(str(error))), str(error))
        return refused(step, "UNKNOWN_COLUMN", unknown_column(name, given), origin)
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return refused(step, "INVALID_STEP", f"{type(error).__name__}: {text}", origin)


def unknown_column(name: str, given: Columns) -> str:
    """The sentence for a column that is not there, with the nearest that is."""
    near = difflib.get_close_matches(name, given, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(given)}"
    return f"no column {name!r} here; {hint}"


def instance(dtype: Any) -> pl.DataType:
    """A type as an instance: polars hands out the class of a type without parameters."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
