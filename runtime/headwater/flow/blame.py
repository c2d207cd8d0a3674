"""Which rows are to blame when the author's code raises. A message holds types, never values."""

import errno
from collections.abc import Callable
from typing import Any, Final

import polars as pl
from pydantic import ValidationError

from headwater.contract import ROW
from headwater.errors import DeclarationError
from headwater.flow.stage import Processed, Stage, cannot_run, columns_of
from headwater.model import Code, Quarantine
from headwater.product import Map, MapEvents, Origin, Process, Step
from headwater.product.origin import deepest_in

INTERRUPTIONS: Final = (KeyboardInterrupt, GeneratorExit)
"""What comes up in the author's code and is no fault of it: catch them before `FAULTS`."""

FAULTS: Final = BaseException
"""What the author's code may raise: a library's panic or a cancelled task is no Exception, and
exit() ends no runtime. Whatever passes by would show its text, which may hold a payload."""

_SCHEMA_FAULTS: Final = (
    pl.exceptions.ColumnNotFoundError,
    pl.exceptions.SchemaError,
    pl.exceptions.SchemaFieldNotFoundError,
    pl.exceptions.StructFieldNotFoundError,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory left: Python says so in one way, the kernel in another."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    )


class FieldError(TypeError):
    """Something is wrong with a field, whose name is the text."""


class MissingFieldError(FieldError):
    """A returned event leaves out a field that has no default."""


Function = Callable[..., Any]


def quarantine(
    step: Step, row: int, error: BaseException, function: Function | None = None
) -> Quarantine:
    """The record of a step that raised: exception type, step, and the author's file and line.

    `function` is the one that raised, where the step has several.
    """
    called = function or _function(step)
    name = f" ({_name(called)})" if called else ""
    text = f"{_kind(error)} in step {step.name}{name} at {blamed_line(step, error, called)}"
    return Quarantine(row=row, code=Code.STEP_FAILED, message=text, step=step.name)


def blamed_line(step: Step, error: BaseException, function: Function | None = None) -> Origin:
    """The innermost line of the author's file in the traceback, else the line of the step."""
    code = getattr(function or _function(step), "__code__", None)
    file = step.origin.file if code is None else code.co_filename
    return deepest_in(file, error.__traceback__) or step.origin


def run_without_guilty(stage: Stage, frame: pl.DataFrame) -> Processed:
    """Run a stage; when it raises, find the guilty rows and leave them out.

    Raises DeclarationError when the step fails whatever the rows are.
    """
    try:
        return stage.run(frame)
    except (DeclarationError, *INTERRUPTIONS):
        raise
    except FAULTS as error:
        _raise_if_broken(stage, frame, error)
        good, guilty = _sorted_out(stage, frame, error)
        if not good:
            return Processed(pl.DataFrame({ROW: frame[ROW].clear()}), guilty)
        # in one piece: what follows would pay for each of them
        return Processed(pl.concat(good, how="vertical_relaxed", rechunk=True), guilty)


def _sorted_out(
    stage: Stage, frame: pl.DataFrame, error: BaseException | None
) -> tuple[list[pl.DataFrame], list[Quarantine]]:
    """What the stage makes of the good rows, and the guilty; it raised `error` on all together.

    From the first row on: a guilty row is found by halving, and behind it as many rows are tried at
    once as lay between the last two, twice as many after each success. So rows that stand side by
    side cost a run each, and rows far apart little more than the halving.
    """
    into: tuple[list[pl.DataFrame], list[Quarantine]] = ([], [])
    start = behind_last = 0
    reach = frame.height
    while start < frame.height:
        part = frame.slice(start, reach)
        error = error or _tried(stage, part, into)
        if error is None:
            start, reach = start + part.height, 2 * reach
            continue
        start += _pass_guilty(stage, part, error, into)
        reach, behind_last, error = start - behind_last, start, None
    return into


def _pass_guilty(
    stage: Stage,
    part: pl.DataFrame,
    error: BaseException | None,
    into: tuple[list[pl.DataFrame], list[Quarantine]],
) -> int:
    """How many rows end with the first guilty one of `part`, on which the stage raised `error`.

    Should the step look at more than a row, none may be guilty alone; then all of them were good.
    """
    low, high = 0, part.height  # rows before `low` are good, one before `high` is guilty
    while high - low > 1:
        middle = (low + high) // 2
        raised = _tried(stage, part.slice(low, middle - low), into)
        # The first half went well: the second raises, which costs no run to know.
        low, high, error = (middle, high, None) if raised is None else (low, middle, raised)
    error = error or _tried(stage, part.slice(low, 1), into)
    if error is not None:
        into[1].append(quarantine(stage.step, part[ROW][low], error))
    return high


def _tried(
    stage: Stage, frame: pl.DataFrame, into: tuple[list[pl.DataFrame], list[Quarantine]]
) -> BaseException | None:
    """What the stage raises on these rows; what it makes of them goes `into` when it does not."""
    good, guilty = into
    try:
        done = stage.run(frame)
    except (DeclarationError, *INTERRUPTIONS):
        raise
    except FAULTS as error:
        return error
    good.append(done.frame)
    guilty.extend(done.quarantined)
    return None


def _raise_if_broken(stage: Stage, frame: pl.DataFrame, error: BaseException) -> None:
    """A missing column or a wrong type fails for every row: halving would quarantine them all."""
    if not isinstance(error, _SCHEMA_FAULTS):
        return
    parts = frame.clear(), frame.head(1), frame.tail(1)
    raised = [_tried(stage, part, ([], [])) for part in parts]
    if all(isinstance(each, type(error)) for each in raised):
        told = raised[0] or error  # the one of no rows: its text can hold no payload
        raise cannot_run(stage.step, told, columns_of(frame), blamed_line(stage.step, told))


def _function(step: Step) -> Function | None:
    return step.function if isinstance(step, (Map, MapEvents, Process)) else None


def _name(function: Function) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _kind(error: BaseException) -> str:
    """The exception's type; for a model that refuses, also the fields and the rules they broke."""
    name = type(error).__name__
    if isinstance(error, FieldError):
        return f"{name} ({error})"
    if not isinstance(error, ValidationError):
        return name
    # Locations below the first may be keys of the data; the first is a field of the model.
    rules = sorted({f"{item['loc'][0]}: {item['type']}" for item in error.errors() if item["loc"]})
    return f"{name} ({', '.join(rules)})" if rules else name
