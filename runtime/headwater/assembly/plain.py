"""Plain values, as people write them in JSON or Python, to the columns of a contract and back.

Times are ISO 8601 (or numbers since the epoch in the contract's unit), decimals are texts,
bytes are hexadecimal, maps are objects.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import polars as pl

from headwater.contract import Contract
from headwater.flow import ROW, from_values, instance, loosen

Event = Mapping[str, Any]

_PER_SECOND: Final = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PlainValueError(ValueError):
    """A value that is not of its column's type; the message names the field."""


def frames_of(events: Mapping[int, Event], contract: Contract) -> Iterator[pl.DataFrame]:
    """Events by row, as frames of contract columns and `_row`, one per set of fields left out.

    A field left out is no column: whoever encodes puts the contract's default there.
    Raises PlainValueError.
    """
    by_fields: dict[frozenset[str], list[int]] = {}
    for row, event in events.items():
        by_fields.setdefault(frozenset(event), []).append(row)
    for names, rows in by_fields.items():
        unknown = sorted(names - contract.columns.keys())
        if unknown:
            raise PlainValueError(f"{contract.topic} has no field {', '.join(unknown)}")
        columns = [
            column_of(name, [events[row][name] for row in rows], dtype)
            for name, dtype in contract.columns.items()
            if name in names
        ]
        yield pl.DataFrame([pl.Series(ROW, rows, dtype=pl.UInt32), *columns])


def plain(value: Any, dtype: pl.DataType) -> Any:
    """A value of a column, as JSON can write it."""
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        inner = _inner(dtype)
        if _is_map(dtype):
            entry = _fields(inner)["value"]
            return {item["key"]: plain(item["value"], entry) for item in value}
        return [plain(item, inner) for item in value]
    if isinstance(dtype, pl.Struct):
        return {name: plain(value[name], inner) for name, inner in _fields(dtype).items()}
    return _plain_scalar(value)


def plain_events(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as JSON can write them, without `_row`."""
    types = {name: dtype for name, dtype in frame.schema.items() if name != ROW}
    return [
        {name: plain(row[name], dtype) for name, dtype in types.items()}
        for row in frame.iter_rows(named=True)
    ]


def canonical(event: Event, contract: Contract) -> dict[str, Any]:
    """An event as `plain_events` writes it: fields in the contract's order, unknown ones last.

    Raises PlainValueError.
    """
    known = {
        name: plain(column_of(name, [event[name]], dtype).item(), dtype)
        for name, dtype in contract.columns.items()
        if name in event
    }
    return known | {name: value for name, value in event.items() if name not in known}


def line_of(event: Event) -> str:
    """One event as one line of JSON."""
    return json.dumps(event, ensure_ascii=False)


def _plain_scalar(value: Any) -> Any:
    match value:
        case date() | time():  # a datetime is a date
            return value.isoformat().replace("+00:00", "Z")
        case Decimal():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            return value


def column_of(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """Plain values as a column of this type, or one that casts to it. Raises PlainValueError."""
    try:
        return from_values(name, [_typed(value, dtype) for value in values], loosen(dtype))
    except (TypeError, ValueError, ArithmeticError, KeyError, AttributeError) as error:
        raise PlainValueError(f"a value of {name!r} is no {dtype}") from error


def _typed(value: Any, dtype: pl.DataType) -> Any:
    """The Python value of a JSON value; Python values stay as they are."""
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        inner = _inner(dtype)
        if _is_map(dtype) and isinstance(value, Mapping):
            value = [{"key": key, "value": item} for key, item in value.items()]
        return [_typed(item, inner) for item in value]
    if isinstance(dtype, pl.Struct):
        return {name: _typed(value.get(name), inner) for name, inner in _fields(dtype).items()}
    if isinstance(dtype, pl.Datetime) and isinstance(value, int):
        since = _EPOCH + timedelta(microseconds=value * 1_000_000 // _PER_SECOND[dtype.time_unit])
        return since if dtype.time_zone else since.replace(tzinfo=None)
    if isinstance(dtype, pl.Decimal) and not isinstance(value, float):
        return Decimal(value)
    return _from_text(value, dtype) if isinstance(value, str) else value


def _from_text(text: str, dtype: pl.DataType) -> Any:
    match dtype:
        case pl.Datetime():
            return datetime.fromisoformat(text)
        case pl.Date():
            return date.fromisoformat(text)
        case pl.Time():
            return time.fromisoformat(text)
        case pl.Binary():
            return bytes.fromhex(text)
        case _:
            return text


def _is_map(dtype: pl.List) -> bool:
    inner = _inner(dtype)
    return isinstance(inner, pl.Struct) and list(_fields(inner)) == ["key", "value"]


def _inner(dtype: pl.List) -> pl.DataType:
    return instance(dtype.inner)


def _fields(dtype: Any) -> dict[str, pl.DataType]:
    return {field.name: instance(field.dtype) for field in dtype.fields}
