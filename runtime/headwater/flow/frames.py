"""Stages that run on whole columns: expressions and the author's frame functions."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from headwater.contract import ROW, ROW_TYPE
from headwater.errors import DeclarationError
from headwater.flow.blame import FAULTS, INTERRUPTIONS
from headwater.flow.stage import (
    Columns,
    Processed,
    as_columns,
    cannot_run,
    columns_of,
    empty,
    refused,
)
from headwater.product import Filter, Map, Select, WithColumns
from headwater.product.origin import deepest_in, origin_of


@dataclass(frozen=True, slots=True)
class ExpressionStage:
    """`filter`, `select` and `with_columns`. The author's expressions never see `_row`."""

    step: Filter | Select | WithColumns

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out, learnt from a frame without rows."""
        try:
            return columns_of(self.run(empty(given)).frame)
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            raise cannot_run(self.step, error, given) from error

    def run(self, frame: pl.DataFrame) -> Processed:
        """The expressions on a frame; `_row` is carried beside them."""
        return Processed(as_columns(self._run, frame), [])

    def _run(self, frame: pl.DataFrame) -> pl.DataFrame:
        rows, body = frame[ROW], frame.drop(ROW)
        match self.step:
            case Filter(predicates=predicates):
                # Masks are columns of the frame's height even when one is a constant.
                masks = body.select(rows, *(_mask(place, p) for place, p in enumerate(predicates)))
                return frame.filter(*masks.drop(ROW).iter_columns())
            case Select(columns=columns, named=named):
                return body.select(rows, *columns, **named)
            case WithColumns(columns=columns, named=named):
                return body.with_columns(*columns, **named).insert_column(0, rows)


@dataclass(frozen=True, slots=True)
class FrameStage:
    """`map`: the author's function from frame to frame."""

    step: Map

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out; None when the function cannot run without rows."""
        try:
            return columns_of(self.run(empty(given)).frame)
        except (DeclarationError, *INTERRUPTIONS):
            raise
        except (pl.exceptions.ColumnNotFoundError, pl.exceptions.SchemaError) as error:
            code = getattr(self.step.function, "__code__", None)
            origin = None
            if code is not None:
                origin = deepest_in(code.co_filename, error.__traceback__) or origin_of(code)
            raise cannot_run(self.step, error, given, origin) from error
        except FAULTS:  # the author's code may raise anything; the rows will tell
            return None

    def run(self, frame: pl.DataFrame) -> Processed:
        """The function on a frame; a dropped `_row` is put back by position.

        Raises DeclarationError when the result cannot be led back to its input rows.
        """
        # A row alone stays alone: what an author's function does may take its time and memory.
        return Processed(self._run(frame.rechunk()), [])

    def _run(self, frame: pl.DataFrame) -> pl.DataFrame:
        result: object = self.step.function(frame)
        if not isinstance(result, pl.DataFrame):
            raise refused(self.step, "INVALID_STEP", f"returned {type(result).__name__}, no frame")
        if ROW in result.columns:
            # mostly so, and to look every row up costs ten times as much
            if result[ROW].equals(frame[ROW], check_dtypes=True):
                return result
            if not _is_led_back(result[ROW], frame[ROW]):
                raise refused(self.step, "ROWS_LOST", "changed the column _row; leave it as it is")
            if not result[ROW].is_sorted():
                text = "returned rows in another order; keep them in the order of _row"
                raise refused(self.step, "ROWS_REORDERED", text)
            return result
        if result.height != frame.height:
            raise refused(
                self.step,
                "ROWS_LOST",
                f"returned {result.height} rows for {frame.height} without the column _row;"
                " keep _row, or drop rows with .filter()",
            )
        return result.insert_column(0, frame[ROW])


def _mask(place: int, predicate: Any) -> pl.Expr:
    """A predicate as a column with a name of its own; a text is the name of a column."""
    expression = pl.col(predicate) if isinstance(predicate, str) else predicate
    if not isinstance(expression, pl.Expr):
        message = f"a predicate is an expression or a column's name, not {predicate!r}"
        raise TypeError(message)
    return expression.alias(f"{ROW}_{place}")


def _is_led_back(rows: pl.Series, given: pl.Series) -> bool:
    """Whether a returned `_row` holds nothing but rows that were given."""
    is_plain = rows.dtype == ROW_TYPE and rows.null_count() == 0
    return is_plain and bool(rows.is_in(given.implode()).all())
