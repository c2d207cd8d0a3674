"""Stages with state: what they know of a batch beside its frame, and the rows they keep by key.

A stateful stage raises for no row. What it wrote for rows that a later stage refuses is dropped,
back to the last savepoint of the batch, and what followed that is run again without them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import polars as pl

from headwater.contract import ROW, StateRows
from headwater.errors import DeclarationError
from headwater.flow.stage import Around, Columns, Processed, refused, unknown_column
from headwater.model import Code, Quarantine
from headwater.product import Latest, StatefulStep, Step
from headwater.product.durations import duration_ms
from headwater.product.windows import LONGEST_MS

PURGE_SHARE: Final = 2  # stored rows looked at per row that comes: expired ones stay under a half
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

DueTimes = Callable[[pl.Series, pl.DataFrame], pl.Series]
"""When rows are due, by keys and columns: Int64 milliseconds of event time; null is never."""


@dataclass(frozen=True, slots=True)
class TimeToLive:
    """A row is gone when the watermark is `duration` behind the event time in its `column`."""

    column: str
    duration: timedelta


class KeyedRows(Protocol):
    """Rows by task and key: what a stage needs of its store."""

    def read(
        self, partitions: pl.Series, keys: pl.Series, *, now: pl.Series | None = None
    ) -> pl.DataFrame:
        """One row per key, in order, all null where there is none.

        `now` is the time at each key, for stores with a time to live.
        """
        ...

    def write(self, partitions: pl.Series, keys: pl.Series, frame: pl.DataFrame) -> None:
        """Set the rows of keys; of a key that comes twice the last counts."""
        ...

    def delete(self, partitions: pl.Series, keys: pl.Series) -> None:
        """Delete the rows of keys."""
        ...

    def purge(self, task: int, now: datetime, *, limit: int) -> int:
        """Delete rows that outlived their time to live, looking at the next `limit`; how many."""
        ...

    def schedule(self, partitions: pl.Series, keys: pl.Series, times: pl.Series) -> None:
        """Let rows that were written be due at times: Int64, milliseconds of event time."""
        ...

    def due(self, task: int, until: int, times: DueTimes) -> pl.DataFrame:
        """The keys of a task that are due up to and at a time: `time` and `key`, in this order.

        They are not due again, unless what the batch did is dropped or aborted. Some may have no
        row, or one that is due later by now. `times` is asked about all rows of a task when it is
        new here.
        """
        ...


class NoRows:
    """Stands for a store where nothing is known and nothing will be: all that goes on goes on."""

    def __init__(self, rows: StateRows) -> None:
        self._columns = rows.columns

    def read(
        self,
        partitions: pl.Series,  # noqa: ARG002 - the port's
        keys: pl.Series,
        *,
        now: pl.Series | None = None,  # noqa: ARG002 - the port's
    ) -> pl.DataFrame:
        """Nulls."""
        return self._columns.to_frame().clear(len(keys))

    def write(self, partitions: pl.Series, keys: pl.Series, frame: pl.DataFrame) -> None:
        """Nothing."""

    def delete(self, partitions: pl.Series, keys: pl.Series) -> None:
        """Nothing."""

    def purge(self, task: int, now: datetime, *, limit: int) -> int:  # noqa: ARG002 - the port's
        """Nothing."""
        return 0

    def schedule(self, partitions: pl.Series, keys: pl.Series, times: pl.Series) -> None:
        """Nothing."""

    def due(self, task: int, until: int, times: DueTimes) -> pl.DataFrame:  # noqa: ARG002 - the port's
        """Nothing is."""
        return pl.DataFrame(schema={"time": pl.Int64(), "key": pl.Binary()})


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
    """A compiled step with a store: `rows` are what is stored by task and `keys`.

    `rows` are named by the columns of `keys` and by what else of the step a stored row depends on:
    a start on the state of another declaration is refused.
    `given` are the columns it runs on; `stream_key` are the columns of the stream's key that must
    still be as they came, so that the state of a key is in the task its records come to.
    `needs_event_time`: the step means nothing without `Batch.times` and `watermarks`.
    `makes_rows`: some of its rows no record made; those are in no task, and have no event time.
    """

    step: StatefulStep
    keys: StateRows
    rows: StateRows
    given: Columns
    stream_key: tuple[str, ...]
    time_to_live: TimeToLive | None = None
    needs_event_time: bool = False
    makes_rows: bool = False

    def surrounded(self, around: Around) -> "StatefulStage":  # noqa: ARG002 - for an author's code
        """The same stage with something around each run of an author's code; this has none."""
        return self

    @abstractmethod
    def columns(self, given: Columns) -> Columns:
        """The columns that come out."""

    @abstractmethod
    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The step on all rows of a batch, in order; the frame may have no rows.

        What it makes of each row is the same however records are cut into batches. Rows that it
        refuses are as if they had never come: the batch is run again without them.
        """

    def stand_ins(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows such as it makes of these, with their `_row`, to try the steps behind it on."""
        return frame


class LatestStage(StatefulStage):
    """`latest`: lets a row through unless its key had one with a greater `by` before.

    The store holds the greatest `by` of each key. A null `by` is later than nothing, not even
    than no row at all. With `keep`, one that is so far behind the watermark of the row that comes
    counts for nothing: when the store is cleaned is never seen.
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
        if step.keep is not None:
            self.time_to_live = _life(step, given[step.by])
            self.needs_event_time = True
        try:
            self.keys = StateRows({name: given[name] for name in sorted(step.key)})
            self.rows = StateRows(
                {step.by: given[step.by]}, keys=self.keys.columns, meaning={"step": "latest"}
            )
        except DeclarationError as error:
            raise refused(step, "INVALID_STEP", str(error.problems[0].message)) from error

    def columns(self, given: Columns) -> Columns:
        """The columns that come out: those that come in."""
        return given

    def run(self, frame: pl.DataFrame, batch: Batch, store: KeyedRows) -> Processed:
        """The rows that are the latest of their key as they come, in order."""
        by = self.step.by
        nulls = frame[by].null_count()
        unordered = {self.step.name: nulls} if nulls else {}
        frame = frame.filter(pl.col(by).is_not_null())
        if frame.is_empty():
            return Processed(frame, [], unordered=unordered)
        tasks = batch.tasks.gather(frame[ROW])
        keys = pl.Series(self.keys.encode(frame), dtype=pl.Binary)
        seen = pl.DataFrame({"task": tasks, "key": keys, "by": frame[by].to_physical()})
        if self.time_to_live is None:
            is_latest = _is_latest(seen, _stored(seen, by, store))
        else:
            seen = seen.with_columns(watermark=batch.watermarks.gather(frame[ROW]))
            is_latest = self._is_latest_alive(seen, self.time_to_live, store)
        latest = frame.filter(is_latest)
        store.write(tasks.filter(is_latest), keys.filter(is_latest), latest)
        if self.time_to_live is not None:
            purge(seen, store)  # last: a row of this batch may count what is over at its end
        dropped = frame.height - latest.height
        superseded = {self.step.name: dropped} if dropped else {}
        return Processed(latest, [], superseded=superseded, unordered=unordered)

    def _is_latest_alive(self, seen: pl.DataFrame, life: TimeToLive, store: KeyedRows) -> pl.Series:
        over = seen["watermark"].cast(pl.Datetime("ms", "UTC")) - life.duration
        over = over.cast(self.given[self.step.by]).to_physical()  # last: the unit is that of `by`
        return _is_latest(seen, _stored(seen, self.step.by, store), over)


def _stored(seen: pl.DataFrame, by: str, store: KeyedRows) -> pl.Series:
    """What is stored of the key of each row."""
    return store.read(seen["task"], seen["key"])[by].to_physical().alias("stored")


def _greatest_before(seen: pl.DataFrame) -> pl.Series:
    """The greatest `by` of the rows of its key before each row, null where there is none.

    Only of keys that come twice, and by one cumulation over all of them, each key above the one
    before it: one for each key costs 2 us a row.
    """
    none = pl.repeat(None, seen.height, dtype=seen["by"].dtype, eager=True).alias("before")
    keys = pl.struct("task", "key")
    again = seen.select("task", "key", "by", row=pl.int_range(pl.len())).filter(
        keys.is_duplicated()
    )
    if again.is_empty():
        return none
    ordered = again.with_columns(
        first=pl.col("row").first().over("task", "key"), rank=pl.col("by").rank("dense")
    ).sort("first", "row")
    floor = pl.col("first") * pl.lit(again.height, dtype=pl.Int64)
    reached = (floor + pl.col("rank")).cum_max().shift() - floor
    rows, ranks = ordered.select("row", pl.when(reached > 0).then(reached)).get_columns()
    values = again["by"].unique().sort()
    return none.scatter(rows, values.gather(ranks - 1))


def _is_latest(seen: pl.DataFrame, stored: pl.Series, over: pl.Series | None = None) -> pl.Series:
    """Which rows no greater one of their key came before, unless that is at or before `over`.

    A greatest one that is over stays so: the watermark never goes back. So what came before it is
    over as well, and it does not matter whether what came after it and is over too was stored.
    """
    # per row, never per batch: what came before in this batch counts as what is stored
    seen = seen.with_columns(stored, _greatest_before(seen))
    before = pl.max_horizontal("stored", "before")
    is_latest = pl.col("by") >= before
    if over is not None:
        is_latest |= (before <= over).fill_null(value=False)
    return seen.select(is_latest.fill_null(value=True)).to_series()


def _life(step: Latest, by: pl.DataType) -> TimeToLive:
    """Raises DeclarationError."""
    length = duration_ms(step.keep)
    if length is None or length > LONGEST_MS:
        text = f"keep={step.keep!r} is no duration up to ten years; write such as '12h' or '30d'"
        raise refused(step, "INVALID_STEP", text)
    if not isinstance(by, pl.Datetime):
        text = f"keep counts from by={step.by!r}, which is {by}; name a column of event times"
        raise refused(step, "INVALID_STEP", text)
    return TimeToLive(step.by, timedelta(milliseconds=length))


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


def check_columns(
    step: Step, key: tuple[str, ...], given: Columns, stream_key: tuple[str, ...]
) -> None:
    """The columns of `key` are there, those of the stream's key among them.

    Raises DeclarationError.
    """
    for name in key:
        if name not in given:
            raise refused(step, "UNKNOWN_COLUMN", unknown_column(name, given))
    if not stream_key:
        text = "the contract of the stream has no key; state needs one"
        raise refused(step, "NOT_THE_KEY", text)
    if left_out := [name for name in stream_key if name not in key]:
        text = (
            f"asks for {', '.join(key)}, but the stream is keyed by {', '.join(stream_key)}: rows"
            f" of one key may be in several tasks; name {', '.join(left_out)} too"
        )
        raise refused(step, "NOT_THE_KEY", text)


def without_time(
    step: Step, frame: pl.DataFrame, batch: Batch
) -> tuple[pl.DataFrame, list[Quarantine]]:
    """The rows that have an event time, and the others, refused."""
    has_time = batch.times.gather(frame[ROW]).is_not_null()
    if has_time.all():
        return frame, []
    text = f"step {step.name} works on event time, and the record has none"
    rows = frame.filter(~has_time)[ROW].unique(maintain_order=True)
    quarantined = [Quarantine(row, Code.NO_EVENT_TIME, text, step.name) for row in rows]
    return frame.filter(has_time), quarantined


def purge(seen: pl.DataFrame, store: KeyedRows) -> None:
    """Delete some of what outlived its time to live, in step with the rows that come.

    `seen` has a `task` and a `watermark` for each of those.
    """
    by_task = seen.group_by("task").agg(pl.len(), pl.col("watermark").max())
    for task, read, watermark in by_task.drop_nulls("watermark").iter_rows():
        store.purge(task, EPOCH + timedelta(milliseconds=watermark), limit=PURGE_SHARE * read)


Stores = Mapping[str, KeyedRows]
"""The store of each stateful step of a plan, by the step's name."""


def _other_key(key: tuple[str, ...], stream_key: tuple[str, ...]) -> str:
    if not stream_key:
        return "the contract of the stream has no key; state needs one"
    return f"asks for {', '.join(key)}, but the stream is keyed by {', '.join(stream_key)}; name it"
