"""A product in memory that keeps the order of its letters, and replays that may be killed."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import polars as pl
from tests.dead_letters.world import StrictSandbox
from tests.engine.conftest import DEAD, INPUT, OUTPUT, EchoTask, KilledError, Process, World
from tests.engine.counting import power_off

from headwater.adapters.memory import (
    MemoryRangeReader,
    MemorySource,
    MemoryStores,
    MemoryTransactionalLog,
)
from headwater.adapters.memory.registry import MemoryRegistry
from headwater.assembly import audit
from headwater.assembly.audit import Action, Actor, AuditLog, Mark, audit_contract
from headwater.assembly.letters import DeadLetterBox, Selection
from headwater.assembly.letters_ledger import Ledger
from headwater.assembly.letters_order import Chain, chain_of
from headwater.assembly.letters_parked import ParkedKeys
from headwater.assembly.letters_replay import Replay, Replayed, ReplayOptions
from headwater.assembly.letters_work import Release, place_of
from headwater.contract import Decoder
from headwater.engine import (
    LetterWriter,
    ParkingTask,
    Publication,
    StepStore,
    StoredLetter,
    Stores,
    Task,
    Work,
    changelog_of,
    parked_rows,
)
from headwater.engine.dead_letters import read_letter
from headwater.engine.parking import OF_KEY, TOTALS
from headwater.errors import HeadwaterError
from headwater.model import Code, Partition, Quarantine
from headwater.ports import Records, TopicSettings
from headwater.state import KeyedStore, StoreSettings

CHANGELOG: Final = changelog_of(DEAD, INPUT)
ALL: Final = Selection()
Outcome = Replayed | HeadwaterError | Literal["killed"]


class MendingTask(EchoTask):
    """As EchoTask, but a release that is mended takes `bad…` too; `never…` none can take."""

    def __init__(self, world: "OrderWorld") -> None:
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
            letters=LetterWriter(DEAD).letters(records, list(named.values())),
            codes=Counter(each.code for each in named.values()),
            letter_rows=sorted(named),
        )


@dataclass(eq=False, slots=True)
class Command:
    """One replay or discard as a process of its own."""

    log: MemoryTransactionalLog

    def kill(self) -> None:
        """As `kill -9`."""
        self.log.vanish()


class OrderWorld(World):
    """Three partitions and five keys; every instance has a disk, as in `CountingWorld`."""

    def __init__(self) -> None:
        super().__init__()
        self.broker.groups[OUTPUT] = self.broker.group("product")  # the product is `out`
        self.start = replace(self.start, changelogs={CHANGELOG: INPUT})
        self.registry = MemoryRegistry()
        self.is_mended = False
        self.topics.create(
            [TopicSettings(CHANGELOG, 3, "table"), TopicSettings(audit.TOPIC, 1, "log")]
        )
        self.disks: dict[str, MemoryStores] = {}
        self._last: dict[str, Process] = {}
        self._checked: object = None
        self._values = Counter[bytes]()

    # -- the product ---------------------------------------------------------------------------

    def stores(self, process: Process) -> Stores:
        last = self._last.get(process.instance)
        if last is None or last.is_running:
            self.disks[process.instance] = MemoryStores()
        else:
            power_off(last)
        self._last[process.instance] = process
        settings = StoreSettings(self.topics.topic_id(CHANGELOG))
        disk = self.disks[process.instance]
        store = KeyedStore(parked_rows(), disk, settings, clock=self.broker.clock)
        self.told = partial(process.monitor.parked, INPUT)
        return Stores([StepStore(DEAD, INPUT, INPUT, store)])

    def task(self, stores: Stores) -> EchoTask:
        return ParkingTask(MendingTask(self), stores.held[0].store, self.told)  # type: ignore[return-value]  # in its place

    # -- the commands --------------------------------------------------------------------------

    def replay(self, selection: Selection = ALL, *, if_newest: bool = False) -> Outcome:
        """Replay letters with the release of now."""
        options = ReplayOptions(if_newest=if_newest)
        return self._run(lambda ledger: self._replay(ledger).run(selection, options, _unheard))

    def discard(self, *places: tuple[Partition, int]) -> Outcome:
        """Discard the open letters at these places, as `DeadLetters.discard` does."""

        def run(ledger: Ledger) -> Replayed:
            ledger.take_over()
            box = self._box()
            opened = [
                each.letter for each in box.divided(ALL, _unheard)[0] if each.status == "open"
            ]
            ledger.know(opened)
            marks = [
                Mark(Action.DISCARDED, *place_of(each), letter=each, topic_id=box.topic_id)
                for each in opened
                if place_of(each) in places
            ]
            ledger.commit(marks)
            return Replayed()

        return self._run(run)

    def _run(self, action: Callable[[Ledger], Replayed]) -> Outcome:
        log = MemoryTransactionalLog(self.broker, transactional_id=DEAD)
        source = MemorySource(self.broker, group=OUTPUT, member=DEAD)
        reader = MemoryRangeReader(self.broker)
        order = ParkedKeys(OUTPUT, {INPUT: CHANGELOG}, source, topics=self.topics, reader=reader)
        ledger = Ledger(
            log, self._audit(), Actor("tester", OUTPUT, "r2"), dead_letters=DEAD, order=order
        )
        before, self.current = self.current, Command(log)  # type: ignore[assignment]  # can be killed
        outcome: Outcome = "killed"
        with suppress(KilledError):
            try:
                outcome = action(ledger)
            except HeadwaterError as error:
                outcome = error
            log.close()
        self.current = before
        return outcome

    def _replay(self, ledger: Ledger) -> Replay:
        task: Task = MendingTask(self)
        release = Release(lambda topic: task if topic == INPUT else None, StrictSandbox())
        reader = MemoryRangeReader(self.broker)
        return Replay(self._box(), ledger, release, topics=self.topics, reader=reader)

    def _box(self) -> DeadLetterBox:
        return DeadLetterBox(OUTPUT, self.topics, MemoryRangeReader(self.broker), self._audit())

    def _audit(self) -> AuditLog:
        reader = MemoryRangeReader(self.broker)
        return AuditLog(self.topics, self.registry, reader, clock=self.broker.clock)

    # -- what must hold ------------------------------------------------------------------------

    def letters(self) -> dict[tuple[Partition, int], tuple[StoredLetter, str]]:
        """Every committed letter by its place, and what the audit log says of it."""
        found = {
            place_of(letter): (letter, "open")
            for record in self.committed(DEAD)
            if (letter := read_letter(record)) is not None
        }
        values = [record.value for record in self.committed(audit.TOPIC)]
        if values:
            frame = Decoder(audit_contract(), self.registry.schema).decode(values).frame
            for row in frame.iter_rows(named=True):
                place = Partition(row["topic"], row["partition"]), row["offset"]
                assert found[place][1] == "open", f"{place} was resolved twice"
                found[place] = found[place][0], row["action"]
        return found

    def check(self) -> None:
        """Every record read is published, or set aside and open or discarded; in order, per key."""
        topics = (INPUT, OUTPUT, DEAD, CHANGELOG, audit.TOPIC)
        seen = self.positions(), [self.topics.ends(topic) for topic in topics]
        if seen == self._checked:
            return
        self._checked = seen
        letters, positions = self.letters(), self.positions()
        log = {(each.partition, each.offset): each for each in self.broker.visible(INPUT)}
        read = {place: each for place, each in log.items() if place[1] < positions[place[0]]}
        away = Counter(
            (letter.source, letter.source_offset)
            for letter, status in letters.values()
            if status in {"open", "discarded"}
        )
        assert set(away.values()) <= {1}
        wanted = [
            b"out:" + (each.value or b"") for place, each in read.items() if place not in away
        ]
        self._values = Counter(self.outputs())
        assert self._values == Counter(wanted)
        self._check_order()
        opened = [letter for letter, status in letters.values() if status == "open"]
        assert self.parked() == Counter(map(chain_of, opened))
        first: dict[bytes | None, int] = {}
        for letter in opened:
            key = log[letter.source, letter.source_offset].key
            first[key] = min(letter.source_offset, first.get(key, letter.source_offset))
        for (_, offset), record in log.items():  # a key is in one partition
            if offset > first.get(record.key, offset):
                assert b"out:" + (record.value or b"") not in self._values

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


def _unheard(_done: int, _total: int) -> None: ...
