"""`map_events`: the author's function, one event at a time, between columns and columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import polars as pl
from pydantic import BaseModel

from headwater.contract import ROW, ROW_TYPE
from headwater.errors import DeclarationError, Problem
from headwater.flow.annotations import columns_of_model, model_returned, model_taken
from headwater.flow.blame import (
    FAULTS,
    INTERRUPTIONS,
    MissingFieldError,
    is_out_of_memory,
    quarantine,
)
from headwater.flow.stage import Columns, Defaults, Processed, refused, unknown_column
from headwater.flow.values import from_values, loosen, to_values
from headwater.model import Quarantine
from headwater.product import MapEvents, Step

Event = dict[str, Any]


class UnknownFieldError(TypeError):
    """A returned event has a field that its contract or model does not have."""


class NotAnEventError(TypeError):
    """A function returned something that is neither a mapping nor a model."""


class TakenEvents:
    """The events that a function takes: models when its first parameter is annotated so."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._model: Final = model_taken(function)
        self.validate: Final[Callable[[Event], Any] | None] = (
            self._model.__pydantic_validator__.validate_python if self._model else None
        )
        """Makes the model of a mapping; None when the function takes mappings."""

    def refuse_missing(self, step: Step, given: Columns) -> None:
        """Raises DeclarationError when the model asks for columns that are not given."""
        origin = step.origin
        missing = [
            Problem(
                "UNKNOWN_COLUMN",
                f"{step.name}: {unknown_column(_source(name, field), given)}",
                origin.file,
                origin.line,
            )
            for name, field in (self._model.model_fields if self._model else {}).items()
            if field.is_required() and _source(name, field) not in given
        ]
        if missing:
            raise DeclarationError(missing)

    def values(self, frame: pl.DataFrame) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
        """Names and rows of the columns the function can see: a model sees its fields only."""
        names = [name for name in frame.columns if name != ROW]
        if self._model is not None and self._model.model_config.get("extra", "ignore") == "ignore":
            wanted = {_source(name, field) for name, field in self._model.model_fields.items()}
            names = [name for name in names if name in wanted]
        if not names:
            return names, repeat((), frame.height)
        return names, zip(*(to_values(frame[name]) for name in names), strict=True)


class ReturnedEvents:
    """The events that functions of a step return, typed by their model, else the contract.

    A field left out is the contract's default.
    Raises DeclarationError when neither tells the columns that come out.
    """

    def __init__(
        self,
        step: Step,
        model: type[BaseModel] | None,
        output: Columns | None,
        defaults: Defaults | None = None,
    ) -> None:
        self.columns: Final = _columns_returned(step, model, output)
        self.is_nested: Final = any(kind.is_nested() for kind in self.columns.values())
        self._names: Final = frozenset(self.columns)
        self._defaults: Final[Event] = {
            name: to_values(default)[0]
            for name, default in (defaults or {}).items()
            if name in self.columns
        }

    def events(self, result: Any) -> Sequence[Event]:
        """What a call returned. Raises TypeError for what is no event, whole and known."""
        if result is None:
            return ()
        if isinstance(result, (dict, BaseModel, Mapping)):
            return (self._event(result),)
        return [self._event(item) for item in result]

    def frame(self, rows: Sequence[int], out: Sequence[Event]) -> pl.DataFrame:
        """The events in columns; `rows` are those of the batch they were made of."""
        columns = [
            from_values(name, [event[name] for event in out], dtype)
            for name, dtype in self.columns.items()
        ]
        return pl.DataFrame([pl.Series(ROW, rows, dtype=ROW_TYPE), *columns])

    def _event(self, item: Any) -> Event:
        event: Event
        if isinstance(item, dict):
            event = item.copy()  # a function may yield one dict again and again, changed
        elif isinstance(item, BaseModel):
            event = item.__pydantic_serializer__.to_python(item)
        elif isinstance(item, Mapping):
            event = dict(item)
        else:
            raise NotAnEventError
        if not self._names.issuperset(event):
            raise UnknownFieldError
        return event if len(event) == len(self._names) else self._complete(event)

    def _complete(self, event: Event) -> Event:
        missing = self._names - event.keys() - self._defaults.keys()
        if missing:
            raise MissingFieldError(min(missing))
        return self._defaults | event


class EventStage:
    """Runs a function on each event; what it returns is typed by its model, else the contract.

    A field left out is the contract's default; without one the event is quarantined.

    Raises DeclarationError when neither tells the columns that come out.
    """

    def __init__(
        self, step: MapEvents, output: Columns | None, defaults: Defaults | None = None
    ) -> None:
        self.step: Final = step
        self._taken: Final = TakenEvents(step.function)
        self._returned: Final = ReturnedEvents(
            step, model_returned(step.function), output, defaults
        )
        self._call: Final = _validating(step.function, self._taken.validate)

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out. Raises DeclarationError when the model asks for others."""
        self._taken.refuse_missing(self.step, given)
        return self._returned.columns

    def run(self, frame: pl.DataFrame) -> Processed:
        """The function on every event; an event it raises for is quarantined, alone and whole."""
        rows: list[int] = []
        out: list[Event] = []
        quarantined: list[Quarantine] = []
        names, values = self._taken.values(frame)
        call, as_events = self._call, self._returned.events
        for row, event in zip(frame[ROW].to_list(), values, strict=True):
            try:
                made = as_events(call(dict(zip(names, event))))  # noqa: B905 strict costs 0.1 µs
            except INTERRUPTIONS:
                raise
            except FAULTS as error:
                if is_out_of_memory(error):
                    raise  # a sandbox must see it; elsewhere the rows are halved down to this one
                quarantined.append(quarantine(self.step, row, error))
                continue
            if made:
                out += made
                rows += [row] * len(made)
        return Processed(self._returned.frame(rows, out), quarantined)


def _source(name: str, field: Any) -> str:
    return str(field.validation_alias or field.alias or name)


def _validating(
    function: Callable[[Any], Any], validate: Callable[[Event], Any] | None
) -> Callable[[Event], Any]:
    if validate is None:
        return function
    return lambda event: function(validate(event))


def _columns_returned(
    step: Step, model: type[BaseModel] | None, output: Columns | None
) -> dict[str, pl.DataType]:
    if model is None:
        if output is None:
            raise refused(
                step,
                "UNTYPED_EVENTS",
                "steps follow, so its columns must be known;"
                " annotate what it returns with a pydantic model, or make it the last step",
            )
        return {name: loosen(dtype) for name, dtype in output.items()}
    columns = {}
    for name, own in columns_of_model(model).items():
        dtype = own or (output or {}).get(name)
        if dtype is None:
            text = f"field {name!r} of {model.__name__} has no column type; use a plain one"
            raise refused(step, "UNSUPPORTED_TYPE", text)
        columns[name] = loosen(dtype)
    return columns
