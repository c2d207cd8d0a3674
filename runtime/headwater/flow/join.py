"""`join`: columns of a broadcast table beside the rows of a stream."""

from dataclasses import dataclass

import polars as pl

from headwater.contract import Contract
from headwater.contract.dataset import comparable
from headwater.flow.stage import Columns, Processed, refused, unknown_column
from headwater.flow.table_rows import FOUND, TableRows
from headwater.product import Join


@dataclass(frozen=True, slots=True)
class HeldTable:
    """A broadcast table: the contract it is read with, and its rows, held once for all joins."""

    contract: Contract
    rows: TableRows


@dataclass(frozen=True, slots=True)
class JoinStage:
    """A left or inner join; of each key there is one row at most, so no row is multiplied."""

    step: Join
    table: HeldTable

    @property
    def names(self) -> dict[str, str]:
        """The names in the result by those in the table."""
        if self.step.columns is not None:
            return dict(self.step.columns)
        (key,) = self.table.contract.key
        return {name: name for name in self.table.contract.columns if name != key}

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out. Raises DeclarationError when they cannot be joined."""
        step, held = self.step, self.table.contract.columns
        (key,) = self.table.contract.key
        if step.on not in given:
            raise refused(step, "UNKNOWN_COLUMN", unknown_column(step.on, given))
        if comparable(given[step.on]) != comparable(held[key]):
            text = (
                f"{step.on} is {given[step.on]}, {key} of {step.table.topic} is {held[key]}; they"
                " never equal, cast the column in a step before"
            )
            raise refused(step, "JOIN_MISFIT", text)
        for name, renamed in self.names.items():
            if name not in held:
                text = f"{step.table.topic}: {unknown_column(name, held)}"
                raise refused(step, "UNKNOWN_COLUMN", text)
            if renamed in given:
                text = (
                    f"{renamed} of {step.table.topic} is a column here already; rename it, as"
                    f' columns={{"{name}": "{step.table.topic.rpartition(".")[2]}_{name}"}}'
                )
                raise refused(step, "COLUMN_CLASH", text)
        return {**given, **{new: held[name] for name, new in self.names.items()}}

    def run(self, frame: pl.DataFrame) -> Processed:
        """The rows with what each found; a null found nothing."""
        rows = self.table.rows
        keys = frame[self.step.on].cast(rows.columns[rows.key])
        found = rows.find(keys)
        added = [found[name].alias(new) for name, new in self.names.items()]
        joined = frame.with_columns(added)
        return Processed(joined if self.step.how == "left" else joined.filter(found[FOUND]), [])
