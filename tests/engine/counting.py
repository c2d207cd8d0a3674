"""A world whose product counts the records of each key: state that shows every loss and repeat."""

import shutil
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, ParamSpec, TypeVar

import polars as pl
from tests.engine.conftest import INPUT, OUTPUT, EchoTask, Process, World
from tests.engine.disks import Disks, in_memory, power_off

from headwater.adapters.directory import DirectoryStorage
from headwater.contract import StateRows
from headwater.engine import Checkpoints, Publication, StepStore, Stores, Work
from headwater.model import Quarantine
from headwater.ports import LocalStores, Records, TopicSettings
from headwater.state import KeyedStore, StoreSettings

STEP: Final = "count-1"
CHANGELOG: Final = f"{OUTPUT}.{STEP}.changelog"

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Inline(Executor):
    """Calls at once, in the thread of the caller: histories are to be the same each time."""

    def submit(self, call: Callable[_P, _T], /, *args: _P.args, **kw: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(call(*args, **kw))
        except Exception as error:  # noqa: BLE001  # whoever asks for the result gets it
            future.set_exception(error)
        return future


class CountTask(EchoTask):
    """Publishes `<how many of its key>|out:<value>`."""

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self._store = stores.held[0].store

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        self._store.drop()
        work = super().process(records, guilty)
        (echoed,) = work.publications
        tasks = records.partitions()
        values = [
            b"%d|%s" % (self._count(tasks[row], key or b""), value)
            for row, key, value in zip(echoed.rows, echoed.keys, echoed.values, strict=True)
        ]
        return replace(work, publications=[Publication(OUTPUT, echoed.keys, values, echoed.rows)])

    def _count(self, task: int, key: bytes) -> int:
        place = pl.Series([task]), pl.Series([key], dtype=pl.Binary)
        count = (self._store.read(*place)["count"].item() or 0) + 1
        self._store.write(*place, pl.DataFrame({"count": [count]}))
        return int(count)


class CountingWorld(World):
    """Every instance has a disk; one that still runs when another takes its name keeps its own.

    They share a directory of checkpoints.
    """

    every_s = 5.0  # between checkpoints: some in a history

    def __init__(self, inputs: Sequence[str] = (INPUT,)) -> None:
        super().__init__(inputs=inputs)
        self.start = replace(self.start, changelogs={CHANGELOG: inputs})
        self.topics.create([TopicSettings(CHANGELOG, 3, "table")])
        self.disks = Disks(self.new_disk)
        self.folder = Path(mkdtemp(prefix="headwater-checkpoints-"))
        weakref.finalize(self, shutil.rmtree, self.folder)
        self.storage = DirectoryStorage(self.folder)

    def stores(self, process: Process) -> Stores:
        return self.opened(self.disks.of(process))

    def opened(self, disk: LocalStores) -> Stores:
        """The product's stores on a disk."""
        settings = StoreSettings(self.topics.topic_id(CHANGELOG))
        rows = StateRows({"count": pl.Int64()})
        store = KeyedStore(rows, disk, settings, clock=self.broker.clock)
        return Stores([StepStore(OUTPUT, STEP, INPUT, store)])

    def new_disk(self, instance: str) -> LocalStores:
        """An empty disk for an instance."""
        return in_memory(instance)

    def ended(self, process: Process) -> None:
        power_off(process)

    def checkpoints(self, stores: Stores) -> Checkpoints:
        clock = self.broker.clock
        return Checkpoints(stores, self.storage, Inline(), clock, every_s=self.every_s)

    def task(self, stores: Stores) -> EchoTask:
        return CountTask(stores)

    def outputs(self) -> list[bytes]:
        return [value.partition(b"|")[2] for value in super().outputs()]

    def check(self) -> None:
        """And each key was counted one by one; the changelog holds the last count of each."""
        super().check()
        self.check_counts()

    def check_counts(self) -> None:
        """Each key was counted one by one; the changelog holds the last count of each."""
        counts: defaultdict[bytes | None, list[int]] = defaultdict(list)
        for record in self.committed(OUTPUT):
            counts[record.key].append(int((record.value or b"").partition(b"|")[0]))
        for found in counts.values():
            assert found == list(range(1, len(found) + 1))
        assert self.folded() == {key: found[-1] for key, found in counts.items()}

    def folded(self) -> Mapping[bytes | None, int]:
        """The changelog's last value of each key."""
        fold = {record.key: record.value or b"" for record in self.committed(CHANGELOG)}
        counts = StateRows({"count": pl.Int64()}).decode(list(fold.values()))["count"]
        return dict(zip(fold, counts, strict=True))
