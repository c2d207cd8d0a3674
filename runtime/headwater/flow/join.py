"""`join` and `join_asof`: columns of a table beside the rows of a stream."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import polars as pl

from headwater.contract import ROW, Contract
from headwater.contract.dataset import comparable
from headwater.flow.stage import Columns, Processed, refused, unknown_column
from headwater.flow.stateful import Batch
from headwater.flow.table_rows import FOUND, TableRows
from headwater.flow.versioned_rows import VersionedRows
from headwater.product import Join, JoinAsof


@dataclass(frozen=True, slots=True)
class HeldTable:
    """A table: the contract it is read with, and its rows, held once for all joins."""

    contract: Contract
    rows: TableRows | VersionedRows


class TableStage(ABC):
    """A left or inner join; a row finds one row at most, so none is multiplied.

    `stream_key` are the columns of the key that the records come under: with a co-partitioned table
    a flow is joined on that key, which no step before may have changed.
    """

    def __init__(
        self, step: Join | JoinAsof, table: HeldTable, stream_key: tuple[str, ...]
    ) -> None:
        self.step = step
        self.table = table
        self.stream_key = stream_key
        (self._key,) = table.contract.key
        if self.is_copartitioned and stream_key != (step.on,):
            raise refused(step, "NOT_THE_KEY", self._other_key())

    @property
    def is_copartitioned(self) -> bool:
        """Whether each task looks up in a partition of its own."""
        return not self.step.table.broadcast

    @property
    def asks(self) -> bool:
        """Whether it wants to know more of the records than is in the frame."""
        return self.is_copartitioned

    @property
    def names(self) -> dict[str, str]:
        """The names in the result by those in the table."""
        if self.step.columns is not None:
            return dict(self.step.columns)
        return {name: name for name in self.table.contract.columns if name != self._key}

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out. Raises DeclarationError when they cannot be joined."""
        step, held = self.step, self.table.contract.columns
        if step.on not in given:
            raise refused(step, "UNKNOWN_COLUMN", unknown_column(step.on, given))
        self._check_types(given[step.on], held[self._key])
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

    def run(self, frame: pl.DataFrame, batch: Batch) -> Processed:
        """The rows with what each found; a null found nothing."""
        rows = self.table.rows
        found = self._find(frame[self.step.on].cast(rows.columns[rows.key]), frame[ROW], batch)
        added = [found[name].alias(new) for name, new in self.names.items()]
        joined = frame.with_columns(added)
        return Processed(joined if self.step.how == "left" else joined.filter(found[FOUND]), [])

    @abstractmethod
    def _find(self, keys: pl.Series, rows: pl.Series, batch: Batch) -> pl.DataFrame:
        """What each key finds, and FOUND; `rows` are the `_row` of each."""

    def _tasks(self, rows: pl.Series, batch: Batch) -> pl.Series | None:
        """The task of each row, where it matters."""
        return self._known(batch.tasks, rows, batch) if self.is_copartitioned else None

    def _known(self, column: pl.Series, rows: pl.Series, batch: Batch) -> pl.Series:
        """What is known of the record of each row. Raises DeclarationError where no record is."""
        if rows.len() and rows.max() == batch.no_row:
            text = "rows that a window or a timer made are of no one record; join before it"
            raise refused(self.step, "NO_RECORD", text)
        return column.gather(rows)

    def _check_types(self, asked: pl.DataType, held: pl.DataType) -> None:
        step = self.step
        said = f"{step.on} is {asked}, {self._key} of {step.table.topic} is {held}"
        if comparable(asked) != comparable(held):
            text = f"{said}; they never equal, cast the column in a step before"
            raise refused(step, "JOIN_MISFIT", text)
        if asked != held and self.is_copartitioned:
            text = f"{said}; such keys go to other partitions, take the table with broadcast=True"
            raise refused(step, "JOIN_MISFIT", text)

    def _other_key(self) -> str:
        step = self.step
        keyed = f"is keyed by {', '.join(self.stream_key)}" if self.stream_key else "has no key"
        return (
            f"joins {step.table.topic} on {step.on}, but the stream {keyed}; take the table with"
            f' broadcast=True, or put .rekey("{step.on}") before it'
        )


class JoinStage(TableStage):
    """`join`: the newest row of the key."""

    step: Join

    def _find(self, keys: pl.Series, rows: pl.Series, batch: Batch) -> pl.DataFrame:
        held = cast("TableRows", self.table.rows)  # else the declaration refuses the join
        return held.find(keys, self._tasks(rows, batch))


class AsofStage(TableStage):
    """`join_asof`: the latest row of the key at or before the event time of the record."""

    step: JoinAsof

    @property
    def asks(self) -> bool:
        """For the event times."""
        return True

    def _find(self, keys: pl.Series, rows: pl.Series, batch: Batch) -> pl.DataFrame:
        held = cast("VersionedRows", self.table.rows)  # else the declaration refuses the join
        times = self._known(batch.times, rows, batch)
        return held.find(keys, times, self.step.within_ms, self._tasks(rows, batch))


@dataclass(frozen=True, slots=True)
class OnBatch:
    """A join of one batch, as a stage among others."""

    stage: TableStage
    batch: Batch

    @property
    def step(self) -> Join | JoinAsof:
        """The declared step."""
        return self.stage.step

    def columns(self, given: Columns) -> Columns | None:
        """The columns that come out."""
        return self.stage.columns(given)

    def run(self, frame: pl.DataFrame) -> Processed:
        """The step on a frame."""
        return self.stage.run(frame, self.batch)
