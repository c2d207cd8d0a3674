"""Stages with state: what they know of a batch beside its frame, and the rows they keep by key.

A stateful stage runs once per batch and is never halved: it raises for no row, and what it wrote
for rows that a later stage refuses is dropped with the whole batch, which is then run without them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import polars as pl

from headwater.contract import ROW, StateRows
from headwater.errors import DeclarationError
from headwater.flow.stage import Columns, Processed, refused, unknown_column
from headwater.product import Latest, Step


class KeyedRows(Protocol):
    """Rows by task and key: what a stage needs of its store."""

    def read(self, partitions: pl.Series, keys: pl.Series) -> pl.DataFrame:
        """One row per key, in order, all null where there is none."""
        ...

    def write(self, partitions: pl.Series, keys: pl.Series, frame: pl.DataFrame) -> None:
        """Set the rows of keys; of a key that comes twice the last counts."""
        ...

    def delete(self, partitions: pl.Series, keys: pl.Series) -> None:
        """Delete the rows of keys."""
        ...


class NoRows:
    """Stands for a store where nothing is known and nothing will be: all that goes on goes on."""

    def __init__(self, rows: StateRows) -> None:
        self._columns = rows.columns

    def read(self, partitions: pl.Series, keys: pl.Series) -> pl.DataFrame:  # noqa: ARG002 - the port's
        """Nulls."""
        return self._columns.to_frame().clear(len(keys))

    def write(self, partitions: pl.Series, keys: pl.Series, frame: pl.DataFrame) -> None:
        """Nothing."""

    def delete(self, partitions: pl.Series, keys: pl.Series) -> None:
        """Nothing."""


def _unknown() -> pl.Series:
    return pl.Series(dtype=pl.Int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a stage may know of the records of a batch beside its frame, by `_row`.

    Series of the length of the batch: `tasks`, which they belong to; `offsets`; `times`, their
    event times, and `watermarks`, that of its task as it stands at the record, itself included:
    both Int64, milliseconds since 1970-01-01 UTC, null where nothing is known.
    `reached` is the watermark after the batch of each task where it moved, also of tasks without
    records in it.
    A row that no record made, as a window that closed, has the `_row` behind the last: `no_row`.
    """

    tasks: pl.Series
    offsets: pl.Series = field(default_factory=_unknown)
    times: pl.Series = field(default_factory=_unknown)
    watermarks: pl.Series = field(default_factory=_unknown)
    reached: Mapping[int, int] = field(default_factory=dict)

    @property
    def no_row(self) -> int:
        """The `_row` of rows that no record of the batch made."""
        return len(self.tasks)


NO_BATCH: Final = Batch(_unknown())
"""For plans without state."""


def event_times(
    records: int, frames: Sequence[pl.DataFrame], names: Sequence[str | None]
) -> pl.Series:
    """The event time of each record of a batch (Int64, milliseconds), null where none is known.

    `names` are the columns that hold it in each of the frames, None where none does.
    """
    times = pl.repeat(None, records, dtype=pl.Int64, eager=True)
    for frame, name in zip(frames, names, strict=True):
        if name is not None and frame.height:
            found = frame[name].dt.epoch("ms")
            times = found if frame.height == records else times.scatter(frame[ROW], found)
    return times


class StatefulStage(ABC):
    """A compiled step with a store: `rows` are what is stored by task and key.

    `given` are the columns it runs on; `stream_key` are the columns of the stream's key that must
    still be as they came, so that the state of a key is in the task its records come to.
    """

    step: Step
    rows: StateRows
    given: Columns
    stream_key: tuple[str, ...]

    @abstractmethod
    def columns(self, given: Columns) -> Columns:
        """The columns that come out."""

    @abstractmethod
    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The step on all rows of a batch, in order; the frame may have no rows.

        What it makes of each row is the same however records are cut into batches. Rows that it
        refuses are as if they had never come: the batch is run again without them.
        """


class LatestStage(StatefulStage):
    """`latest`: lets a row through unless its key had one with a greater `by` before.

    The store holds the greatest `by` of each key. A null `by` is later than nothing, not even
    than no row at all.
    Raises DeclarationError when the step cannot run on these columns; `stream_key` is the key that
    the records come under.
    """

    def __init__(self, step: Latest, given: Columns, stream_key: tuple[str, ...]) -> None:
        self.step: Latest = step
        self.given = given
        self.stream_key = stream_key
        if set(step.key) != set(stream_key):
            raise refused(step, "NOT_THE_KEY", _other_key(step.key, stream_key))
        for name in (*step.key, step.by):
            if name not in given:
                raise refused(step, "UNKNOWN_COLUMN", unknown_column(name, given))
        if not (given[step.by].is_integer() or given[step.by].is_temporal()):
            text = f"by={step.by!r} is {given[step.by]}; name a column of times or whole numbers"
            raise refused(step, "INVALID_STEP", text)
        try:
            self.rows = StateRows({step.by: given[step.by]})
            self._keys = StateRows({name: given[name] for name in sorted(step.key)})
        except DeclarationError as error:
            raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error

    def columns(self, given: Columns) -> Columns:
        """The columns that come out: those that come in."""
        return given

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The rows that are the latest of their key as they come, in order."""
        by = self.step.by
        frame = frame.filter(pl.col(by).is_not_null())
        if frame.is_empty():
            return Processed(frame, [])
        tasks = batch.tasks.gather(frame[ROW])
        keys = pl.Series(self._keys.encode(frame), dtype=pl.Binary)
        seen = pl.DataFrame({"task": tasks, "key": keys, "by": frame[by].to_physical()})
        once = seen.select("task", "key").unique()
        stored = store.read(once["task"], once["key"])[by].to_physical()
        seen = seen.join(
            once.with_columns(stored=stored), on=["task", "key"], how="left", maintain_order="left"
        )
        # per row, never per batch: what came before in this batch counts as what is stored
        before = pl.max_horizontal("stored", pl.col("by").cum_max().shift(1).over("task", "key"))
        is_latest = seen.select((pl.col("by") >= before).fill_null(value=True)).to_series()
        frame = frame.filter(is_latest)
        store.write(tasks.filter(is_latest), keys.filter(is_latest), frame)
        return Processed(frame, [])


class Keyed(Protocol):
    """A stage that looks up by the key of the stream."""

    @property
    def step(self) -> Step:
        """The declared step."""
        ...

    @property
    def stream_key(self) -> tuple[str, ...]:
        """The columns of the key that the records come under."""
        ...


def check_key(stage: Keyed, given: pl.DataFrame, frame: pl.DataFrame) -> None:
    """The state of a key is in the task its records came to: steps before must not change the key.

    `given` is what the first step of the plan got. Raises DeclarationError (KEY_CHANGED).
    """
    key = stage.stream_key
    rows = given[ROW].search_sorted(frame[ROW])
    if not given.select(pl.col(key).gather(rows)).equals(frame.select(key)):
        text = f"a step before it changed {', '.join(key)}; keep the key of the stream as it came"
        raise refused(stage.step, "KEY_CHANGED", text)


def compiled(step: Latest, given: Columns | None, stream_key: tuple[str, ...]) -> StatefulStage:
    """The stage of a step. Raises DeclarationError, also where only data tells the columns."""
    if given is None:
        text = "only data tells the columns of the steps before it; put it before them"
        raise refused(step, "UNKNOWN_COLUMNS", text)
    return LatestStage(step, given, stream_key)


Stores = Mapping[str, KeyedRows]
"""The store of each stateful step of a plan, by the step's name."""


def _other_key(key: tuple[str, ...], stream_key: tuple[str, ...]) -> str:
    if not stream_key:
        return "the contract of the stream has no key; state needs one"
    return f"asks for {', '.join(key)}, but the stream is keyed by {', '.join(stream_key)}; name it"
