"""Checkpoints of the stores: one after another, each in slices between two batches.

They only save time. One that cannot be written or used is told, and the changelog has it all.

What asks the storage may take as long as a network does: it is done in the background.
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from headwater.clock import Clock
from headwater.engine.failpoints import reach
from headwater.engine.stores import StepStore, Stores
from headwater.errors import RetriableError
from headwater.model import CheckpointStanding, shown_id
from headwater.ports import CheckpointStorage, Mark, Monitor
from headwater.state import Checkpoint, CheckpointWriter, Unusable, checkpoints

LOOK_S: Final = 1.0  # how often to look for what is due: a product may have hundreds of tasks
WAIT_S: Final = 0.2  # for the storage, between two polls of a restore
AWAY_S: Final = 60.0  # a storage that refused is not asked for so long: each task would wait for it
FOREIGN: Final = "the changelog does not go on from its mark, or is another topic by now"

_T = TypeVar("_T")

Key = tuple[str, int]
"""A changelog and a task."""


@dataclass(frozen=True, slots=True)
class _Underway:
    held: StepStore
    task: int
    writer: CheckpointWriter
    offset: int
    began_s: float


@dataclass(frozen=True, slots=True)
class _Finishing:
    """What is underway in the background."""

    underway: _Underway
    future: Future[None]


class Checkpoints:
    """Writes a checkpoint of each task every `every_s`, if its store changed, and finds them.

    `background` runs what asks the storage; it is shut down by `close`.
    """

    def __init__(
        self,
        stores: Stores,
        storage: CheckpointStorage,
        background: Executor,
        clock: Clock,
        *,
        every_s: float,
    ) -> None:
        self._stores = stores
        self._storage = storage
        self._background = background
        self._clock = clock
        self._every_s = every_s
        self._last_s: dict[Key, float] = {}
        self._offsets: dict[Key, int] = {}  # of the checkpoints that are whole
        self._underway: _Underway | None = None
        self._finishing: _Finishing | None = None
        self._looked_s = clock.monotonic()
        self._away_until_s = clock.monotonic()

    def advance(self, monitor: Monitor) -> None:
        """Write a slice of what is due. Raises RebuildError when the store is damaged."""
        if self._finishing is not None:
            self._settle(self._finishing, monitor)
        elif self._underway is None:
            self._begin(monitor)
        elif self._underway.writer.is_open:
            self._write(self._underway, monitor)
        else:
            self._underway = None  # the task went

    def newest(
        self, held: StepStore, task: int, covers: Callable[[Mark], bool], monitor: Monitor
    ) -> Generator[bool, None, Checkpoint | None]:
        """The newest checkpoint of a task that is whole and whose mark will do; None: none is.

        Each yield is a place to poll, False because only time helps.
        """
        place = f"{_prefix(held)}/{task}"
        if self._clock.monotonic() < self._away_until_s:
            monitor.checkpoint_passed_over(place, "the storage refused a moment ago")
            return None
        search = checkpoints(self._storage, _prefix(held), task)
        try:
            while (found := (yield from self._awaited(lambda: next(search, None)))) is not None:
                if isinstance(found, Unusable):
                    monitor.checkpoint_passed_over(found.name, found.reason)
                elif found.mark.changelog_id == held.store.changelog_id and covers(found.mark):
                    monitor.checkpoint_taken(f"{self._storage.location}/{found.name}")
                    return found
                else:
                    found.close()
                    monitor.checkpoint_passed_over(found.name, FOREIGN)
        except RetriableError as error:
            self._away_until_s = self._clock.monotonic() + AWAY_S
            monitor.checkpoint_passed_over(place, str(error))
        return None

    def close(self) -> None:
        """Give up what is under way; it may take as long as a request to the storage does."""
        self._storage.close()
        self._background.shutdown(wait=True, cancel_futures=True)
        if self._finishing is not None:
            self._finishing.underway.writer.abandon()

    def _awaited(self, call: Callable[[], _T]) -> Generator[bool, None, _T]:
        """The result of a call that is made in the background."""
        future = self._background.submit(call)
        try:
            while wait([future], timeout=WAIT_S).not_done:
                yield False
        except GeneratorExit:  # the assignment changed
            future.add_done_callback(_drop)
            raise
        return future.result()

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

    def _write(self, underway: _Underway, monitor: Monitor) -> None:
        reach("during_checkpoint")
        try:
            is_written = underway.writer.advance()
        except RetriableError as error:
            self._end(underway, monitor, str(error))
            return
        except BaseException:
            self._underway = None
            raise
        if is_written:
            future = self._background.submit(underway.writer.finish)
            self._finishing = _Finishing(underway, future)
            self._settle(self._finishing, monitor)

    def _settle(self, finishing: _Finishing, monitor: Monitor) -> None:
        if not finishing.future.done():
            return
        self._finishing = None
        try:
            finishing.future.result()
        except RetriableError as error:
            self._end(finishing.underway, monitor, str(error))
        else:
            self._end(finishing.underway, monitor)

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


def _drop(future: Future[Any]) -> None:
    """Nobody waits for the result any more."""
    is_found = not future.cancelled() and future.exception() is None
    if is_found and isinstance(found := future.result(), Checkpoint):
        found.close()


def _prefix(held: StepStore) -> str:
    """Of its changelog as it is now: those of a topic that was deleted are not even fetched.

    Its id is the one that is shown: the client's has slashes, which part names.
    """
    return f"{held.output}/{held.step}/{shown_id(held.store.changelog_id)}"
