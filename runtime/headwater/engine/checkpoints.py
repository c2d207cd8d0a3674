"""Checkpoints of the stores: one after another, each in slices between two batches.

They only save time. One that cannot be written or used is told, and the changelog has it all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from headwater.clock import Clock
from headwater.engine.failpoints import reach
from headwater.engine.stores import StepStore, Stores
from headwater.errors import RetriableError
from headwater.model import CheckpointStanding
from headwater.ports import CheckpointStorage, Mark, Monitor
from headwater.state import Checkpoint, CheckpointWriter, Unusable, checkpoints

LOOK_S: Final = 1.0  # how often to look for what is due: a product may have hundreds of tasks

Key = tuple[str, int]
"""A changelog and a task."""


@dataclass(frozen=True, slots=True)
class _Underway:
    held: StepStore
    task: int
    writer: CheckpointWriter
    offset: int
    began_s: float


class Checkpoints:
    """Writes a checkpoint of each task every `every_s`, if its store changed, and finds them."""

    def __init__(
        self, stores: Stores, storage: CheckpointStorage, clock: Clock, *, every_s: float
    ) -> None:
        self._stores = stores
        self._storage = storage
        self._clock = clock
        self._every_s = every_s
        self._last_s: dict[Key, float] = {}
        self._offsets: dict[Key, int] = {}  # of the checkpoints that are whole
        self._underway: _Underway | None = None
        self._looked_s = clock.monotonic()

    def advance(self, monitor: Monitor) -> None:
        """Write a slice of what is due. Raises RebuildError when the store is damaged."""
        if self._underway is None:
            self._begin(monitor)
            return
        underway = self._underway
        if not underway.writer.is_open:  # the task went
            self._underway = None
            return
        reach("during_checkpoint")
        try:
            is_done = underway.writer.advance()
        except RetriableError as error:
            self._end(underway, monitor, str(error))
            return
        except BaseException:
            self._underway = None
            raise
        if is_done:
            self._end(underway, monitor)

    def newest(
        self, held: StepStore, task: int, covers: Callable[[Mark], bool], monitor: Monitor
    ) -> Checkpoint | None:
        """The newest checkpoint of a task that is whole and whose mark will do; None: none is."""
        folder = _prefix(held)
        try:
            for found in checkpoints(self._storage, folder, task):
                if isinstance(found, Unusable):
                    monitor.checkpoint_passed_over(found.name, found.reason)
                elif found.mark.changelog_id == held.store.changelog_id and covers(found.mark):
                    return found
        except RetriableError as error:
            monitor.checkpoint_passed_over(f"{folder}/{task}", str(error))
        return None

    def _begin(self, monitor: Monitor) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for held, task, offset in self._changed():
            if now_s - self._last_s.setdefault((held.changelog, task), now_s) < self._every_s:
                continue
            try:
                writer = held.store.checkpoint(task, self._storage, _prefix(held))
            except RetriableError as error:
                self._tell(held, task, monitor, str(error))
                continue
            if writer is not None:
                self._underway = _Underway(held, task, writer, offset, now_s)
                return

    def _changed(self) -> Iterator[tuple[StepStore, int, int]]:
        """The tasks whose stores hold more than their last checkpoint does."""
        for held in self._stores.held:
            for task, mark in held.store.marks().items():
                offset = 0 if mark is None else mark.changelog_offset
                if mark is not None and self._offsets.get((held.changelog, task)) != offset:
                    yield held, task, offset

    def _end(self, done: _Underway, monitor: Monitor, failure: str | None = None) -> None:
        self._underway = None
        if failure is None:
            self._offsets[done.held.changelog, done.task] = done.offset
        self._tell(done.held, done.task, monitor, failure, done.began_s)

    def _tell(  # what is told has so many parts
        self,
        held: StepStore,
        task: int,
        monitor: Monitor,
        failure: str | None,
        began_s: float | None = None,
    ) -> None:
        now_s = self._clock.monotonic()
        self._last_s[held.changelog, task] = now_s
        seconds = 0.0 if began_s is None else now_s - began_s
        standing = CheckpointStanding(held.output, held.step, task, seconds, failure)
        monitor.checkpointed(standing)


def _prefix(held: StepStore) -> str:
    return f"{held.output}/{held.step}"
