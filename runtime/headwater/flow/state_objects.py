"""The typed object that a `process` step keeps for each key, and rows of a store."""

import dataclasses
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, get_type_hints

import polars as pl
from pydantic import BaseModel, TypeAdapter, ValidationError

from headwater.errors import DeclarationError
from headwater.flow.annotations import column_type
from headwater.flow.blame import FieldError
from headwater.flow.stage import Columns, refused
from headwater.flow.values import from_values, to_values
from headwater.product import Process

Fields = dict[str, Any]


class StateMisfitError(FieldError):
    """The state holds a value that is not of the type its field is declared with."""


class StateObjects:
    """Objects of the type a step declares, from and to columns named as its fields.

    `columns` are those of its fields. Raises DeclarationError when the type is no pydantic model or
    dataclass, cannot be changed, has a field without a column type, or cannot be made without
    arguments.
    """

    def __init__(self, step: Process) -> None:
        self._step: Final = step
        self.columns: Final = _columns(step)
        self._adapter: Final[TypeAdapter[Any]] = TypeAdapter(step.state)
        self._is_nested: Final = any(kind.is_nested() for kind in self.columns.values())
        try:
            self.new()
        except (TypeError, ValueError) as error:
            text = f"{_name(step)}() cannot be made; give each of its fields a default"
            raise _refused(step, text) from error

    def new(self) -> Any:
        """The state of a key that has none."""
        return self._step.state()

    def values(self, state: Any) -> Sequence[Any]:
        """What an object holds, to be `put_back` whatever is done to the object."""
        values = [getattr(state, name, None) for name in self.columns]
        return deepcopy(values) if self._is_nested else values

    def put_back(self, state: Any, values: Sequence[Any]) -> None:
        """Let an object hold these values again."""
        for name, value in zip(self.columns, values, strict=True):
            object.__setattr__(state, name, value)  # a model may refuse, or compute

    def loaded(self, frame: pl.DataFrame) -> list[Any]:
        """The objects of rows. Raises DeclarationError when the type does not take them any more.

        A store keeps the names of its columns: rows of other fields are refused by it.
        """
        names = list(self.columns)
        if not names:
            return [self.new() for _ in range(frame.height)]
        rows = zip(*(to_values(frame[name]) for name in names), strict=True)
        validate = self._adapter.validator.validate_python
        try:
            return [
                validate(dict(zip(names, row, strict=True)), by_name=True, by_alias=False)
                for row in rows
            ]
        except ValidationError as error:
            fields = sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]})
            text = (
                f"what is stored is no {_name(self._step)} any more ({', '.join(fields)}); let it"
                " take what it took before, or begin anew (docs/state.md, To begin anew)"
            )
            raise refused(self._step, "STATE_MISFIT", text) from error

    def frame(self, states: Sequence[Any]) -> pl.DataFrame:
        """The objects in columns. Raises StateMisfitError with the name of a field."""
        columns = []
        for name, kind in self.columns.items():
            try:
                # by attribute: a serializer would warn of a value that does not fit, and show it
                values = [_plain(getattr(state, name)) for state in states]
                columns.append(from_values(name, values, kind))
            except (AttributeError, TypeError, ValueError, OverflowError) as error:
                raise StateMisfitError(name) from error
        return pl.DataFrame(columns)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.__pydantic_serializer__.to_python(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _columns(step: Process) -> Columns:
    hints = _hints(step)
    columns: dict[str, pl.DataType] = {}
    for name, hint in hints.items():
        kind = column_type(hint)
        if kind is None:
            text = f"field {name!r} of {_name(step)} has no column type; use a plain one"
            raise refused(step, "UNSUPPORTED_TYPE", text)
        columns[name] = kind
    return columns


def _hints(step: Process) -> Mapping[str, Any]:
    state: Any = step.state
    if isinstance(state, type) and issubclass(state, BaseModel):
        if state.model_config.get("frozen"):
            raise _refused(step, f"{_name(step)} is frozen; the function changes it in place")
        return {name: field.annotation for name, field in state.model_fields.items()}
    if isinstance(state, type) and dataclasses.is_dataclass(state):
        if getattr(state, "__dataclass_params__").frozen:  # noqa: B009 - typeshed lacks it
            raise _refused(step, f"{_name(step)} is frozen; the function changes it in place")
        hints = get_type_hints(state)
        return {field.name: hints[field.name] for field in dataclasses.fields(state)}
    raise _refused(step, f"state={state!r} is no pydantic model or dataclass")


def _refused(step: Process, text: str) -> DeclarationError:
    return refused(step, "INVALID_STEP", text)


def _name(step: Process) -> str:
    return step.state.__name__
