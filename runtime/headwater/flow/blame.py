"""Which rows are to blame when the author's code raises. A message holds types, never values."""

from typing import Final

import polars as pl
from pydantic import ValidationError

from headwater.contract import ROW
from headwater.errors import DeclarationError
from headwater.flow.stage import Processed, Stage, cannot_run, columns_of
from headwater.model import Code, Quarantine
from headwater.product import Map, MapEvents, Origin, Step
from headwater.product.origin import deepest_in

FAULTS: Final = (Exception, SystemExit, pl.exceptions.PanicException)
"""What the author's code may raise: polars' panics are no Exception, and exit() ends no runtime."""

_SCHEMA_FAULTS: Final = (
    pl.exceptions.ColumnNotFoundError,
    pl.exceptions.SchemaError,
    pl.exceptions.SchemaFieldNotFoundError,
    pl.exceptions.StructFieldNotFoundError,
)


class MissingFieldError(TypeError):
    """A returned event leaves out a field that has no default; the text is the field's name."""


def quarantine(step: Step, row: int, error: BaseException) -> Quarantine:
    """The record of a step that raised: exception type, step, and the author's file and line."""
    function = f" ({name})" if (name := _function_name(step)) else ""
    text = f"{_kind(error)} in step {step.name}{function} at {blamed_line(step, error)}"
    return Quarantine(row=row, code=Code.STEP_FAILED, message=text, step=step.name)


def blamed_line(step: Step, error: BaseException) -> Origin:
    """The innermost line of the author's file in the traceback, else the line of the step."""
    file = step.origin.file
    if isinstance(step, (Map, MapEvents)):
        code = getattr(step.function, "__code__", None)
        file = file if code is None else code.co_filename
    return deepest_in(file, error.__traceback__) or step.origin


def run_without_guilty(stage: Stage, frame: pl.DataFrame) -> Processed:
    """Run a stage; when it raises, halve the rows until the guilty ones stand alone.

    Raises DeclarationError when the step fails whatever the rows are.
    """
    try:
        return stage.run(frame)
    except DeclarationError:
        raise
    except FAULTS as error:
        _raise_if_broken(stage, frame, error)
        good: list[pl.DataFrame] = []
        guilty: list[Quarantine] = []
        _halve(stage, frame, error, (good, guilty))
        if not good:
            return Processed(pl.DataFrame({ROW: frame[ROW].clear()}), guilty)
        return Processed(pl.concat(good, how="vertical_relaxed"), guilty)


def _halve(
    stage: Stage,
    frame: pl.DataFrame,
    error: BaseException | None,
    into: tuple[list[pl.DataFrame], list[Quarantine]],
) -> None:
    """Rows of `frame`, on which the stage raises, sorted into good and guilty.

    `error` is what it raised; None when the half before this one went well, which says the same and
    costs no run. Should the step look at more than a row, that is found out one by one.
    """
    if frame.height == 1:
        error = error or _tried(stage, frame, into)
        if error is not None:
            into[1].append(quarantine(stage.step, frame[ROW].item(), error))
        return
    middle = frame.height // 2
    first, second = frame.head(middle), frame.tail(frame.height - middle)
    error = _tried(stage, first, into)
    if error is None:
        _halve(stage, second, None, into)
        return
    _halve(stage, first, error, into)
    error = _tried(stage, second, into)
    if error is not None:
        _halve(stage, second, error, into)


def _tried(
    stage: Stage, frame: pl.DataFrame, into: tuple[list[pl.DataFrame], list[Quarantine]]
) -> BaseException | None:
    """What the stage raises on these rows; what it makes of them goes `into` when it does not."""
    good, guilty = into
    try:
        done = stage.run(frame)
    except DeclarationError:
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
    for part in (frame.clear(), frame.head(1), frame.tail(1)):
        try:
            stage.run(part)
        except type(error):
            continue
        except FAULTS:
            return
        return
    raise cannot_run(stage.step, error, columns_of(frame), blamed_line(stage.step, error))


def _function_name(step: Step) -> str | None:
    if isinstance(step, (Map, MapEvents)):
        return getattr(step.function, "__name__", type(step.function).__name__)
    return None


def _kind(error: BaseException) -> str:
    """The exception's type; for a model that refuses, also the fields and the rules they broke."""
    name = type(error).__name__
    if isinstance(error, MissingFieldError):
        return f"{name} ({error})"
    if not isinstance(error, ValidationError):
        return name
    # Locations below the first may be keys of the data; the first is a field of the model.
    rules = sorted({f"{item['loc'][0]}: {item['type']}" for item in error.errors() if item["loc"]})
    return f"{name} ({', '.join(rules)})" if rules else name
