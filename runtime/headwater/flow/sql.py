"""The stage of `.sql()`: a statement over the columns of an event."""

from collections import Counter
from typing import Final

import polars as pl

from headwater.contract import ROW, is_reserved
from headwater.contract.sql_tokens import BadSqlError
from headwater.flow.blame import FAULTS, INTERRUPTIONS
from headwater.flow.sql_statement import Statement, read_statement, told
from headwater.flow.stage import (
    MISSING,
    Columns,
    Processed,
    as_columns,
    cannot_run,
    empty,
    refused,
)
from headwater.product import Sql


class SqlStage:
    """`sql`: the rows for which WHERE is true, and of each the columns of SELECT.

    Raises DeclarationError for a statement that is none, or that looks at more than one row.
    """

    def __init__(self, step: Sql) -> None:
        self.step: Final = step
        self._statement: Final = _read(step)

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out, learnt from a frame without rows."""
        self._check_names(given)
        predicate = self._statement.predicate
        if predicate is not None:
            kept = self._type("WHERE", predicate, given)
            if kept != pl.Boolean():
                text = f"WHERE gives {kept}, not true or false; compare it with something"
                raise refused(self.step, "INVALID_SQL", text)
        made: dict[str, pl.DataType] = {}
        for name, expression in self._statement.columns:
            made |= given if name is None else {name: self._type(name, expression, given)}
        return made

    def run(self, frame: pl.DataFrame) -> Processed:
        """The statement on a frame; `_row` is carried beside it."""
        return Processed(as_columns(self._selected, as_columns(self._kept, frame)), [])

    def _kept(self, frame: pl.DataFrame) -> pl.DataFrame:
        predicate = self._statement.predicate
        return frame if predicate is None else frame.filter(predicate)

    def _selected(self, frame: pl.DataFrame) -> pl.DataFrame:
        names, columns = zip(*self._statement.columns, strict=True)
        if names == (None,):  # `SELECT *`: what is left is what comes out
            return frame
        return frame.drop(ROW).select(frame[ROW], *columns)

    def _type(self, part: str, expression: pl.Expr, given: Columns) -> pl.DataType:
        """The type of a part. Raises DeclarationError when it cannot be computed."""
        try:
            return empty(given).select(expression.alias(ROW)).dtypes[0]
        except INTERRUPTIONS:
            raise
        except FAULTS as error:
            if isinstance(error, MISSING):
                raise cannot_run(self.step, error, given) from error
            raise refused(self.step, "INVALID_SQL", f"{part}: {told(error)}") from error

    def _check_names(self, given: Columns) -> None:
        """Raises DeclarationError for two columns of one name, `*` being all that are given."""
        made: list[str] = []
        for name, _ in self._statement.columns:
            made += given if name is None else [name]
        for name, times in Counter(made).items():
            if times > 1:
                text = f"{times} columns that come out are named {name}; give each its own with AS"
                raise refused(self.step, "INVALID_SQL", text)


def _read(step: Sql) -> Statement:
    text: object = step.statement
    if not isinstance(text, str):
        raise refused(step, "INVALID_STEP", "takes a text: SELECT ... FROM events [WHERE ...]")
    try:
        statement = read_statement(text)
    except BadSqlError as error:
        raise refused(step, "INVALID_SQL", str(error)) from error
    for name, _ in statement.columns:
        if name is not None and is_reserved(name):
            said = f"the name {name} is Headwater's own column; choose another"
            raise refused(step, "RESERVED_NAME", said)
    return statement
