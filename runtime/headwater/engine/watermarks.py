"""Event time: how far each task of an input has come, through batch, transaction and restart.

A watermark is the greatest event time that a task has seen (Kafka Streams' stream time), record by
record and never by batch: what is late does not depend on where a batch ends. It is kept in the
note beside the committed position, and an abort takes it back to there.

A partition that brings nothing for `idle_after` goes along with the others (Flink's idleness): its
watermark becomes the least of those that are not idle, or the greatest where all are. That depends
on the clock and on what this process holds, so the note keeps it: a restart repeats it.
Only time in which it was read counts: in a pause of this process nobody can tell what it brings.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from headwater.clock import Clock
from headwater.flow import Batch
from headwater.flow.windows import LATEST_MS
from headwater.model import Partition, Positions

END_OF_TIME: Final = 253_402_300_799_999
"""Milliseconds; 9999-12-31T23:59:59.999Z, past every window: the watermark of data that ended."""
POLLS: Final = 4  # in vain at least, so that a pause between two of them is never all of the time
NOTED: Final = "watermark"
IDLE: Final = "idle"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a task has come: its watermark in milliseconds, None before the first event time.

    `is_idle`: it was told to be, and no record came since.
    """

    watermark: int | None = None
    is_idle: bool = False


NOTHING: Final = Standing()


class Watermarks:
    """The standings of the tasks of one input, staged as its stores are.

    A batch: `observe` any number of times, with `savepoint` and `rollback` between its pieces, then
    `keep` or `drop`. A transaction: any number of batches, then `committed` or `aborted`.
    `idle_after_s` is None where partitions are waited for.
    """

    def __init__(self, idle_after_s: float | None = None) -> None:
        self.idle_after_s: Final = idle_after_s
        self.beside: list[Watermarks] = []
        """Those of the inputs that this one is joined with."""
        self._committed: dict[int, Standing] = {}
        self._transaction: dict[int, Standing] = {}
        self._batch: dict[int, Standing] = {}
        self._piece: dict[int, Standing] = {}

    # -- a batch ---------------------------------------------------------------------------------

    def observe(self, tasks: pl.Series, times: pl.Series) -> tuple[pl.Series, Mapping[int, int]]:
        """The watermark at each record, itself included, and those that moved, after all of them.

        `tasks` and `times` (Int64, milliseconds, or null) are of equal length, in log order. A
        time beyond any window moves nothing: it would make all that follows late.
        """
        times = times.set(times > LATEST_MS, None)
        before = {task: self.standing(task) for task in tasks.unique()}
        if len(before) == 1:
            marks = _greatest_so_far(times, next(iter(before.values())).watermark)
        else:
            marks = _by_task(tasks, times, before)
        last = pl.DataFrame({"task": tasks, "mark": marks}).group_by("task").last()
        reached: dict[int, int] = {}
        for task, mark in last.rows():
            if mark is not None and mark != before[task].watermark:
                reached[task] = mark
            if task in reached or before[task].is_idle:
                self._piece[task] = Standing(mark)
        return marks, reached

    def move(self, standings: Mapping[int, Standing]) -> Mapping[int, int]:
        """Let tasks stand so without records; the watermarks that moved."""
        before = {task: self.standing(task).watermark for task in standings}
        self._piece.update(standings)
        return {
            task: new.watermark
            for task, new in standings.items()
            if new.watermark is not None and new.watermark != before[task]
        }

    def standing(self, task: int) -> Standing:
        """How far a task has come in the batch."""
        for layer in (self._piece, self._batch, self._transaction, self._committed):
            if task in layer:
                return layer[task]
        return NOTHING

    def stage(self, task: int, standing: Standing) -> None:
        """Let a task stand so after the batch."""
        self._piece[task] = standing

    def staged(self) -> Mapping[int, Standing]:
        """The standings that the batch changed."""
        return {**self._batch, **self._piece}

    def savepoint(self) -> None:
        """What is observed from here on can be rolled back to here."""
        self._batch.update(self._piece)
        self._piece.clear()

    def rollback(self) -> None:
        """The batch stands as it did at its last savepoint, or began."""
        self._piece.clear()

    def keep(self) -> None:
        """The batch is part of the transaction."""
        self.savepoint()
        self._transaction.update(self._batch)
        self._batch.clear()

    def drop(self) -> None:
        """The batch never was."""
        self._piece.clear()
        self._batch.clear()

    # -- a transaction ---------------------------------------------------------------------------

    def note(self, task: int) -> Mapping[str, Any]:
        """What to write beside the position of a task, as JSON can."""
        return self.noted(self._transaction.get(task) or self._committed.get(task, NOTHING))

    def noted(self, standing: Standing) -> Mapping[str, Any]:
        """What to write of a standing beside a position."""
        note: dict[str, Any] = {}
        if standing.watermark is not None:
            note[NOTED] = standing.watermark
        if standing.is_idle:
            note[IDLE] = True
        return note

    def committed(self) -> None:
        """The transaction is committed."""
        self._committed.update(self._transaction)
        self._transaction.clear()

    def aborted(self) -> None:
        """The transaction never was, nor the batch."""
        self.drop()
        self._transaction.clear()

    # -- the assignment --------------------------------------------------------------------------

    def assigned(self, notes: Mapping[int, str]) -> None:
        """These are all the tasks held now, with the notes beside their positions."""
        self.aborted()
        self._committed = {task: self.parsed(note) for task, note in notes.items()}

    def parsed(self, note: str) -> Standing:
        """The standing that a note tells of."""
        found = json.loads(note) if note.startswith("{") else {}
        return Standing(found.get(NOTED), found.get(IDLE, False))

    # -- idleness --------------------------------------------------------------------------------

    def idle(self, quiet: frozenset[int]) -> Mapping[int, Standing]:
        """Where the tasks stand now of which nothing comes, as far as that is news."""
        held = {task: self.standing(task) for task in self._committed}
        others = _without(held, quiet)
        found: dict[int, Standing] = {}
        for task in sorted(quiet & held.keys()):
            joined = [each.standing(task).watermark for each in self.beside]
            least_joined = min((mark for mark in joined if mark is not None), default=None)
            marks = (held[task].watermark, others, least_joined)
            known = [mark for mark in marks if mark is not None]
            new = Standing(max(known, default=None), is_idle=True)
            if new != held[task]:
                found[task] = new
        return found


class EventTimes:
    """The watermarks of a process, by input topic. A product without state has none."""

    def __init__(self, by_topic: Mapping[str, Watermarks], clock: Clock) -> None:
        self._by_topic = by_topic
        self._clock = clock
        self._waited_s: dict[Partition, float] = {}
        self._read_s = clock.monotonic()

    def assigned(self, partitions: Iterable[Partition], notes: Mapping[Partition, str]) -> None:
        """These are all the partitions held now, with the notes beside their positions."""
        held = [each for each in partitions if each.topic in self._by_topic]
        for topic, watermarks in self._by_topic.items():
            watermarks.assigned({p.index: notes.get(p, "") for p in held if p.topic == topic})
        self._waited_s = dict.fromkeys(held, 0.0)
        self._read_s = self._clock.monotonic()

    def let_go(self, partitions: Iterable[Partition]) -> None:
        """These go: nobody here tells when they are idle."""
        for partition in partitions:
            self._waited_s.pop(partition, None)

    def heard(self, partitions: Iterable[Partition]) -> None:
        """Records of these came just now."""
        if self._waited_s:
            self._waited_s.update((each, 0.0) for each in partitions if each in self._waited_s)

    def idle(self, caught_up: Positions) -> Mapping[str, Mapping[int, Standing]]:
        """Where idle tasks stand now, by topic, as far as that is news; once after each poll.

        A partition whose end was not reached is not idle: what holds it up is here.
        """
        passed_s = self._clock.monotonic() - self._read_s
        self._read_s += passed_s
        found: dict[str, Mapping[int, Standing]] = {}
        for topic, watermarks in self._by_topic.items():
            if watermarks.idle_after_s is not None:
                quiet = frozenset(self._quiet(topic, watermarks.idle_after_s, caught_up, passed_s))
                if standings := watermarks.idle(quiet):
                    found[topic] = standings
        return found

    def _quiet(
        self, topic: str, idle_after_s: float, caught_up: Positions, passed_s: float
    ) -> Iterator[int]:
        """The tasks that were waited for long enough.

        What passed until this poll counts at the next one: behind a pause, what came meanwhile may
        still be on its way.
        """
        counted_s = min(passed_s, idle_after_s / POLLS)
        mine = [each for each in self._waited_s.items() if each[0].topic == topic]
        for partition, waited_s in mine:
            is_read = partition in caught_up
            self._waited_s[partition] = waited_s + counted_s if is_read else 0.0
            if is_read and waited_s >= idle_after_s:
                yield partition.index

    def note(self, partition: Partition) -> Mapping[str, Any]:
        """What to write beside the position of a partition, as JSON can."""
        watermarks = self._by_topic.get(partition.topic)
        return {} if watermarks is None else watermarks.note(partition.index)

    def drop(self) -> None:
        """The batch never was."""
        for each in self._by_topic.values():
            each.drop()

    def keep(self) -> None:
        """The batch is part of the transaction."""
        for each in self._by_topic.values():
            each.keep()

    def committed(self) -> None:
        """The transaction is committed."""
        for each in self._by_topic.values():
            each.committed()

    def aborted(self) -> None:
        """The transaction never was, nor the batch."""
        for each in self._by_topic.values():
            each.aborted()


def least(batch: Batch, other: Watermarks) -> Batch:
    """A batch with the lesser of its own watermarks and those of another input of its tasks.

    As that stands now: a batch is of one input, and the other does not move meanwhile. Null, and
    not reached, where the other has none yet.
    """
    held = {task: other.standing(task).watermark for task in {*batch.tasks, *batch.reached}}
    beside = batch.tasks.replace_strict(held, return_dtype=pl.Int64) if len(batch.tasks) else None
    marks = pl.DataFrame({"own": batch.watermarks}).with_columns(beside=pl.lit(beside, pl.Int64))
    both = pl.all_horizontal(pl.col("own", "beside").is_not_null())
    found = marks.select(pl.when(both).then(pl.min_horizontal("own", "beside"))).to_series()
    reached = {
        task: min(mark, there)
        for task, mark in batch.reached.items()
        if (there := held[task]) is not None
    }
    return replace(batch, watermarks=found, reached=reached)


def _greatest_so_far(times: pl.Series, start: int | None) -> pl.Series:
    marks = times.cum_max().forward_fill()
    return marks if start is None else marks.fill_null(start).clip(lower_bound=start)


def _by_task(tasks: pl.Series, times: pl.Series, before: Mapping[int, Standing]) -> pl.Series:
    """The greatest so far of each task, in the places of its records."""
    start = {task: each.watermark for task, each in before.items()}
    starts = tasks.replace_strict(start, return_dtype=pl.Int64)
    greatest = pl.max_horizontal(pl.col("time").cum_max().forward_fill().over("task"), "start")
    frame = pl.DataFrame({"task": tasks, "time": times, "start": starts})
    return frame.select(greatest).to_series()


def _without(held: Mapping[int, Standing], quiet: frozenset[int]) -> int | None:
    """What holds the quiet tasks back no longer: the others, or of all that are quiet the last."""
    active = [each.watermark for task, each in held.items() if task not in quiet]
    known = [mark for mark in active if mark is not None]
    if active:
        return min(known) if len(known) == len(active) else None
    return max(
        (each.watermark for each in held.values() if each.watermark is not None), default=None
    )
