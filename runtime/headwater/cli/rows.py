"""Rows as people and other programs read them: a table, JSON lines, CSV."""

import csv
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, Final

import polars as pl
import typer

from headwater.cli.tables import show, table

SHOWN_ROWS: Final = 200  # of one table on a terminal: its widths are known once all of it is


class RowsFormat(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class RowsOut:
    """Writes frames of the same columns to standard output, one after the other."""

    def __init__(self, form: RowsFormat) -> None:
        self._form = form
        self._is_first = True

    def write(self, frame: pl.DataFrame) -> None:
        """Write all rows; flushed behind them, so that whoever reads on does not wait."""
        frame = frame.select(_exact(pl.col(name), kind) for name, kind in frame.schema.items())
        match self._form:
            case RowsFormat.TABLE:
                if self._is_first or not frame.is_empty():
                    for part in frame.iter_slices(SHOWN_ROWS):
                        _show(part)
            case RowsFormat.JSON:
                for row in frame.iter_rows(named=True):
                    print(_json(row))
            case RowsFormat.CSV:
                lines = csv.writer(sys.stdout, lineterminator="\n")
                if self._is_first:
                    lines.writerow(frame.columns)
                lines.writerows(map(_cells, frame.iter_rows()))
        self._is_first = False
        sys.stdout.flush()


@contextmanager
def until_closed() -> Iterator[None]:
    """Ends the command, done, when whoever reads its output wants no more, as `head` does."""
    try:
        yield
    except BrokenPipeError as error:
        # the interpreter flushes once more at its end, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from error


def _show(frame: pl.DataFrame) -> None:
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    made = table(*frame.columns, numbers=numbers)
    for row in frame.iter_rows():
        made.add_row(*map(str, _cells(row)))
    show(made)


def _cells(row: tuple[Any, ...]) -> list[Any]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return _json(value)
    return value if isinstance(value, str | int | float) else _plain(value)


def _exact(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Times in nanoseconds as text, at any depth: those of Python end with microseconds."""
    match kind:
        case pl.Datetime(time_unit="ns"):
            return column.dt.to_string("iso:strict")
        case pl.List(inner=pl.DataType() as inner):
            return column.list.eval(_exact(pl.element(), inner))
        case pl.Struct(fields=fields):
            inside = [_exact(pl.field(each.name), each.dtype) for each in fields]  # type: ignore[arg-type]  # instances
            return column.struct.with_fields(*inside)
        case _:
            return column


def _json(value: Any) -> str:
    """JSON that every reader takes: it has no NaN and no infinite numbers, which are text."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_plain)


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return json.dumps(value)
        case list():
            return [_finite(each) for each in value]
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case _:
            return value


def _plain(value: Any) -> str:
    """What JSON has no type for, as text."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
