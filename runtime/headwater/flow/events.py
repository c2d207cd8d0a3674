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
from headwater.product import MapEvents

Event = dict[str, Any]


class UnknownFieldError(TypeError):
    """A returned event has a field that its contract or model does not have."""


class NotAnEventError(TypeError):
    """A function returned something that is neither a mapping nor a model."""


class EventStage:
    """Runs a function on each event; what it returns is typed by its model, else the contract.

    A field left out is the contract's default; without one the event is quarantined.

    Raises DeclarationError when neither tells the columns that come out.
    """

    def __init__(
        self, step: MapEvents, output: Columns | None, defaults: Defaults | None = None
    ) -> None:
        self.step: Final = step
        self._model: Final = model_taken(step.function)
        self._returned: Final = _columns_returned(step, output)
        self._names: Final = frozenset(self._returned)
        self._defaults: Final[Event] = {
            name: to_values(default)[0]
            for name, default in (defaults or {}).items()
            if name in self._returned
        }
        self._call: Final = _validating(step.function, self._model)

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out. Raises DeclarationError when the model asks for others."""
        origin = self.step.origin
        missing = [
            Problem(
                "UNKNOWN_COLUMN",
                f"{self.step.name}: {unknown_column(_source(name, field), given)}",
                origin.file,
                origin.line,
            )
            for name, field in (self._model.model_fields if self._model else {}).items()
            if field.is_required() and _source(name, field) not in given
        ]
        if missing:
            raise DeclarationError(missing)
        return self._returned

    def run(self, frame: pl.DataFrame) -> Processed:
        """The function on every event; an event it raises for is quarantined, alone and whole."""
        rows: list[int] = []
        out: list[Event] = []
        quarantined: list[Quarantine] = []
        names, values = self._values(frame)
        call, as_events = self._call, self._as_events
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
        return Processed(self._frame(rows, out), quarantined)

    def _values(self, frame: pl.DataFrame) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
        """Names and rows of the columns the function can see: a model sees its fields only."""
        names = [name for name in frame.columns if name != ROW]
        if self._model is not None and self._model.model_config.get("extra", "ignore") == "ignore":
            wanted = {_source(name, field) for name, field in self._model.model_fields.items()}
            names = [name for name in names if name in wanted]
        if not names:
            return names, repeat((), frame.height)
        return names, zip(*(to_values(frame[name]) for name in names), strict=True)

    def _as_events(self, result: Any) -> Sequence[Event]:
        if result is None:
            return ()
        if isinstance(result, (dict, BaseModel, Mapping)):
            return (self._event(result),)
        return [self._event(item) for item in result]

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

    def _frame(self, rows: list[int], out: list[Event]) -> pl.DataFrame:
        columns = [
            from_values(name, [event[name] for event in out], dtype)
            for name, dtype in self._returned.items()
        ]
        return pl.DataFrame([pl.Series(ROW, rows, dtype=ROW_TYPE), *columns])


def _source(name: str, field: Any) -> str:
    return str(field.validation_alias or field.alias or name)


def _validating(
    function: Callable[[Any], Any], model: type[BaseModel] | None
) -> Callable[[Event], Any]:
    if model is None:
        return function
    validate = model.__pydantic_validator__.validate_python
    return lambda event: function(validate(event))


def _columns_returned(step: MapEvents, output: Columns | None) -> dict[str, pl.DataType]:
    model = model_returned(step.function)
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
