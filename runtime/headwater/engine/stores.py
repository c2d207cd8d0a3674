"""The stores of a product's steps: what a batch and a transaction mean to all of them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.engine.failpoints import reach
from headwater.errors import RebuildError, RetriableError
from headwater.model import Partition, Positions, StoreStanding
from headwater.observe.logs import get_logger
from headwater.state import Changes, KeyedStore

log: Final = get_logger("stores")


def changelog_of(output: str, step: str) -> str:
    """The changelog of a step: outputs do not share steps, each has run it on its own."""
    return f"{output}.{step}.changelog"


@dataclass(frozen=True, slots=True)
class StepStore:
    """The store of a step of an output; its tasks are the partitions of the topic `source`."""

    output: str
    step: str
    source: str
    store: KeyedStore

    @property
    def changelog(self) -> str:
        """The topic of its changelog."""
        return changelog_of(self.output, self.step)


class Stores:
    """All stores of a process. A product without state has none, and every call is nothing."""

    def __init__(self, held: Sequence[StepStore] = ()) -> None:
        self.held = held

    def drop(self) -> None:
        """The batch never was."""
        for each in self.held:
            each.store.drop()

    def keep(self) -> Mapping[str, Changes]:
        """The batch is part of the transaction; what it changed, by changelog."""
        kept = {each.changelog: each.store.keep() for each in self.held}
        return {changelog: changes for changelog, changes in kept.items() if changes.keys}

    def committed(self, published: Positions) -> None:
        """The transaction is committed, and the changelogs were written up to these positions."""
        for each in self.held:
            ends = {p.index: end for p, end in published.items() if p.topic == each.changelog}
            each.store.committed(ends)

    def aborted(self) -> None:
        """The transaction never was, nor the batch."""
        for each in self.held:
            each.store.aborted()

    def flush_when_due(self) -> None:
        """Write what is committed to the local stores. Raises RebuildError, RetriableError."""
        for each in self.held:
            if each.store.flush_is_due():
                each.store.flush()
                reach("after_flush")

    def release(self, partitions: Iterable[Partition]) -> None:
        """Let go of the tasks of these partitions; what is committed is flushed.

        What a disk refuses now is in the changelog: whoever has the task next reads more of it.
        """
        for store, task in self._tasks(partitions):
            try:
                store.release(task)
            except (RebuildError, RetriableError) as error:
                log.warning("stores.not_flushed", task=task, reason=str(error))

    def suspend(self, partitions: Iterable[Partition]) -> None:
        """Keep the tasks of these partitions open for when they come back."""
        for store, task in self._tasks(partitions):
            store.suspend(task)

    def _tasks(self, partitions: Iterable[Partition]) -> Iterator[tuple[KeyedStore, int]]:
        meant = set(partitions)
        for each in self.held:
            for task in each.store.tasks:
                if Partition(each.source, task) in meant:
                    yield each.store, task

    def of(self, output: str, steps: Collection[str]) -> Sequence[StepStore]:
        """The stores of some of an output's steps."""
        return [each for each in self.held if each.output == output and each.step in steps]

    def standings(self) -> Sequence[StoreStanding]:
        """What is held of each store. Raises as `flush_when_due` does."""
        found = []
        for each in self.held:
            sizes = each.store.sizes().values()
            keys, disk = sum(size.keys for size in sizes), sum(size.bytes for size in sizes)
            memory = each.store.memory_bytes()
            found.append(StoreStanding(each.output, each.step, keys, disk, memory))
        return found

    def partitions(self) -> frozenset[Partition]:
        """The partitions of which a task is open."""
        return frozenset(
            Partition(each.source, task) for each in self.held for task in each.store.tasks
        )
