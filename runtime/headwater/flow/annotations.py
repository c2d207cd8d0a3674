"""What the annotations of a per-event function say: the model it takes, the model it returns."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from enum import Enum
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Final, get_args, get_origin, get_type_hints

import polars as pl
from pydantic import BaseModel

from headwater.flow.stage import refused
from headwater.product import Step

_SCALARS: Final[Mapping[type, pl.DataType]] = {
    str: pl.String(),
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    bytes: pl.Binary(),
    date: pl.Date(),
    time: pl.Time(),
    datetime: pl.Datetime("us", "UTC"),
}


@contextmanager
def annotations_read(step: Step) -> Iterator[None]:
    """Annotations that cannot be resolved, or a callable without a signature, are a mistake.

    Raises DeclarationError.
    """
    try:
        yield
    except (NameError, TypeError, ValueError) as error:
        raise refused(step, "INVALID_STEP", f"{type(error).__name__}: {error}") from error


def check_function(step: Step, function: object) -> None:
    """Raises DeclarationError for what is no function, or one that somebody had to await."""
    if not callable(function):
        raise refused(step, "INVALID_STEP", "takes a function; give it one that can be called")
    called = (function, getattr(function, "__call__", None))  # noqa: B004 its code, not whether
    if any(iscoroutinefunction(each) or isasyncgenfunction(each) for each in called):
        text = "takes a plain function, not one of `async def`; nothing would await it"
        raise refused(step, "INVALID_STEP", text)


def model_taken(function: Callable[..., Any]) -> type[BaseModel] | None:
    """The model its first parameter is annotated with; None when it takes a mapping."""
    hints = get_type_hints(function) if hasattr(function, "__code__") else {}
    first = next(iter(inspect.signature(function).parameters), "")
    hint = hints.get(first)
    return hint if isinstance(hint, type) and issubclass(hint, BaseModel) else None


def model_returned(function: Callable[..., Any]) -> type[BaseModel] | None:
    """The one model it returns, alone, optional, listed or yielded; None when it does not say."""
    hints = get_type_hints(function) if hasattr(function, "__code__") else {}
    models = set(_models_in(hints.get("return")))
    return models.pop() if len(models) == 1 else None


def columns_of_model(model: type[BaseModel]) -> dict[str, pl.DataType | None]:
    """The column type of each field; None for a field that has none."""
    return {name: column_type(field.annotation) for name, field in model.model_fields.items()}


def _models_in(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [model for part in get_args(hint) for model in _models_in(part)]


def column_type(hint: Any) -> pl.DataType | None:
    """The column type of an annotation; None for one that has none."""
    if get_origin(hint) in {typing.Union, types.UnionType}:
        members = [part for part in get_args(hint) if part is not type(None)]
        return column_type(members[0]) if len(members) == 1 else None
    if get_origin(hint) is typing.Literal:
        return pl.String() if all(isinstance(value, str) for value in get_args(hint)) else None
    if get_origin(hint) is list:
        inner = column_type(get_args(hint)[0])
        return None if inner is None else pl.List(inner)
    if not isinstance(hint, type):
        return None
    return _class_type(hint)


def _class_type(hint: type) -> pl.DataType | None:
    if issubclass(hint, BaseModel):
        fields = columns_of_model(hint)
        known = {name: dtype for name, dtype in fields.items() if dtype is not None}
        return pl.Struct(known) if len(known) == len(fields) else None
    if issubclass(hint, str) and issubclass(hint, Enum):
        return pl.String()
    return _SCALARS.get(hint)
