"""A product in memory that keeps the order of its letters, and replays that may be killed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import polars as pl
from tests.dead_letters.commands import LettersWorld
from tests.dead_letters.world import StrictSandbox
from tests.engine.conftest import DEAD, INPUT, OUTPUT, EchoTask, Process
from tests.engine.disks import Disks

from headwater.adapters.memory import MemoryRangeReader
from headwater.assembly.letters.ledger import Beside
from headwater.assembly.letters.order import Chain, chain_of
from headwater.assembly.letters.parked import ParkedKeys
from headwater.assembly.letters.work import Release
from headwater.engine import (
    LetterWriter,
    ParkingTask,
    Publication,
    StepStore,
    Stores,
    Task,
    Work,
    changelog_of,
    parked_rows,
)
from headwater.engine.parking import OF_KEY, TOTALS
from headwater.model import Code, Partition, Quarantine
from headwater.ports import Records, TopicSettings
from headwater.state import KeyedStore, StoreSettings

CHANGELOG: Final = changelog_of(DEAD, INPUT)


class MendingTask(EchoTask):
    """As EchoTask, but a release that is mended takes `bad…` too; `never…` none can take."""

    def __init__(self, world: LettersWorld) -> None:
        super().__init__()
        self._world = world

    def process(self, records: Records, guilty: Sequence[Quarantine] = ()) -> Work:
        refused = b"never" if self._world.is_mended else (b"never", b"bad")
        named = {each.row: each for each in guilty}
        for row, value in enumerate(records.values):
            if row not in named and (value or b"").startswith(refused):
                named[row] = Quarantine(row, Code.STEP_FAILED, "it is bad", "echo")
        kept = [row for row in range(len(records)) if row not in named]
        keys, values = records.keys(), records.values
        return Work(
            topic=records.topic,
            read=len(records),
            size=sum(len(value or b"") for value in values),
            ends=records.ends(),
            publications=[
                Publication(
                    OUTPUT,
                    [keys[row] for row in kept],
                    [b"out:" + (values[row] or b"") for row in kept],
                    pl.Series(kept, dtype=pl.UInt32),
                )
            ],
            dead_letters=DEAD,
            letters=LetterWriter(DEAD, clock=self._world.broker.clock).letters(
                records, list(named.values())
            ),
            codes=Counter(each.code for each in named.values()),
            letter_rows=sorted(named),
        )


class OrderWorld(LettersWorld):
    """Three partitions and five keys; every instance has a disk, as in `CountingWorld`."""

    def __init__(self) -> None:
        super().__init__()
        self.start = replace(self.start, changelogs={CHANGELOG: [INPUT]})
        self.topics.create([TopicSettings(CHANGELOG, 3, "table")])
        self.disks = Disks()

    # -- the product ---------------------------------------------------------------------------

    def stores(self, process: Process) -> Stores:
        settings = StoreSettings(self.topics.topic_id(CHANGELOG))
        store = KeyedStore(parked_rows(), self.disks.of(process), settings, clock=self.broker.clock)
        self.told = partial(process.monitor.parked, INPUT)
        return Stores([StepStore(DEAD, INPUT, INPUT, store)])

    def task(self, stores: Stores) -> EchoTask:
        return ParkingTask(MendingTask(self), stores.held[0].store, self.told)  # type: ignore[return-value]  # in its place

    # -- the commands --------------------------------------------------------------------------

    def release(self) -> tuple[Release, Beside, Callable[[], None]]:
        task: Task = MendingTask(self)
        release = Release(lambda topic: task if topic == INPUT else None, StrictSandbox())
        reader = MemoryRangeReader(self.broker)
        keys = {INPUT: CHANGELOG}
        parked = ParkedKeys(OUTPUT, keys, self.source(), topics=self.topics, reader=reader)
        return release, parked, lambda: None

    # -- what must hold ------------------------------------------------------------------------

    def check(self) -> None:
        """Every record read is published, or set aside and open or discarded; in order, per key."""
        if not self.has_news():
            return
        letters = self.letters()
        self.check_published(letters.values())
        self._check_order()
        opened = [letter for letter, status in letters.values() if status == "open"]
        assert self.parked() == Counter(map(chain_of, opened))
        log = {(each.partition, each.offset): each for each in self.broker.visible(INPUT)}
        values = set(self.outputs())
        first: dict[bytes | None, int] = {}
        for letter in opened:
            key = log[letter.source, letter.source_offset].key
            first[key] = min(letter.source_offset, first.get(key, letter.source_offset))
        for (_, offset), record in log.items():  # a key is in one partition
            if offset > first.get(record.key, offset):
                assert b"out:" + (record.value or b"") not in values

    def parked(self) -> Counter[Chain]:
        """What the changelog says of each parked key; the totals are their sums."""
        fold: dict[tuple[int, bytes | None], bytes] = {}
        for record in self.committed(CHANGELOG):
            place = record.partition.index, record.key
            fold.pop(place, None)
            if record.value is not None:
                fold[place] = record.value
        rows = parked_rows().decode(list(fold.values())).rows()
        held, totals = Counter[Chain](), Counter[int]()
        for (task, key), (first, _, letters) in zip(fold, rows, strict=True):
            if key != TOTALS:
                assert (key or b"").startswith(OF_KEY)
                held[Partition(INPUT, task), first] = letters
                totals[task] += letters
        said = {
            task: letters
            for (task, key), (_, _, letters) in zip(fold, rows, strict=True)
            if key == TOTALS and letters
        }
        assert said == totals
        return held
