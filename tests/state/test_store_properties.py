"""A keyed store behaves as a dict, whatever is kept, dropped, committed, aborted or killed."""

import copy
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.state.stores import MEMORY_BYTES

from headwater.adapters.memory import MemoryStores
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.adapters.rocksdb.stores import RocksDbStore
from headwater.clock import ManualClock
from headwater.contract import StateRows
from headwater.errors import FatalError
from headwater.ports import LocalStores
from headwater.state import KeyedStore, StoreSettings, TimeToLive

Row: TypeAlias = tuple[int, datetime | None]
Place: TypeAlias = tuple[int, bytes]

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
LIFE: Final = timedelta(seconds=20)
COLUMNS: Final[dict[str, pl.DataType]] = {"n": pl.Int64(), "at": pl.Datetime("ms", "UTC")}
TASKS: Final = (0, 1)
SMALL_CACHE: Final = 3_000  # bytes: a handful of entries, the others are looked up below
SOME_KEYS: Final = [b"", b"\0", b"\xff", *(b"%d" % n for n in range(25))]

places = st.tuples(st.sampled_from(TASKS), st.sampled_from(SOME_KEYS))


class KeyedStoreMachine(RuleBasedStateMachine):
    """On the stores in memory.

    `log` is the changelog, `produced` what the open transaction adds to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.rows = StateRows(COLUMNS)
        self.log: dict[int, list[tuple[bytes, bytes | None]]] = {task: [] for task in TASKS}
        self.produced: list[tuple[int, bytes, bytes | None]] = []
        self.committed: dict[Place, Row] = {}
        self.staged: dict[Place, Row] = {}
        self.batch: dict[Place, Row] = {}
        self.saved: dict[Place, Row] = {}
        self.now = START
        self.stores = self.made()
        self.store = self.opened()

    def made(self) -> LocalStores:
        """The stores on an empty disk."""
        return MemoryStores()

    def killed(self) -> LocalStores:
        """The stores as they are found after the process was killed now."""
        found = copy.deepcopy(self.stores)
        assert isinstance(found, MemoryStores)
        for held in found._tasks.values():
            held.is_open = False
        return found

    def opened(self) -> KeyedStore:
        """A store of both tasks, restored from its mark on."""
        settings_ = StoreSettings("log", SMALL_CACHE, 5.0, TimeToLive("at", LIFE))
        store = KeyedStore(self.rows, self.stores, settings_, clock=self.clock)
        for task in TASKS:
            mark = store.assign(task)
            start = 0 if mark is None else mark.changelog_offset
            tail = self.log[task][start:]
            keys, values = [key for key, _ in tail], [value for _, value in tail]
            store.restore(task, keys, values, offset=len(self.log[task]))
            store.restored(task)
        self.committed_to(store)
        return store

    def committed_to(self, store: KeyedStore) -> None:
        """What the changelog says is all there is."""
        self.staged = dict(self.committed)
        self.batch = dict(self.committed)
        self.saved = dict(self.committed)
        self.produced = []

    @rule(rows=st.dictionaries(places, st.tuples(st.integers(), st.integers(-30, 30)), max_size=12))
    def write(self, rows: Mapping[Place, tuple[int, int]]) -> None:
        """Rows with event times around now; of every seventh number none."""
        new: dict[Place, Row] = {
            place: (n % 2**40, None if n % 7 == 0 else self.now + timedelta(seconds=seconds))
            for place, (n, seconds) in rows.items()
        }
        frame = pl.DataFrame(list(new.values()), schema=COLUMNS, orient="row")
        self.store.write(*columns(list(new)), frame)
        self.batch.update(new)

    @rule(gone=st.sets(places, max_size=5))
    def delete(self, gone: set[Place]) -> None:
        """Of what is there and what is not."""
        self.store.delete(*columns(list(gone)))
        for place in gone:
            self.batch.pop(place, None)

    @rule(wanted=st.lists(places, max_size=20))
    def read(self, wanted: list[Place]) -> None:
        """Some keys, some of them twice."""
        assert self.found(wanted) == [self.alive(self.batch.get(place)) for place in wanted]

    @rule()
    def keep(self) -> None:
        """What changed goes to the changelog, which says the same as the batch."""
        changes = self.store.keep()
        self.produced.extend(zip(changes.partitions, changes.keys, changes.values, strict=True))
        places_ = list(zip(changes.partitions, changes.keys, strict=True))
        assert len(set(places_)) == len(places_)
        self.staged = dict(self.batch)
        self.saved = dict(self.batch)

    @rule()
    def savepoint(self) -> None:
        """What is written from here on can be taken back by itself."""
        self.store.savepoint()
        self.saved = dict(self.batch)

    @rule()
    def rollback(self) -> None:
        """The batch as it was saved, or began."""
        self.store.rollback()
        self.batch = dict(self.saved)

    @rule()
    def drop(self) -> None:
        """The batch never was."""
        self.store.drop()
        self.batch = dict(self.staged)
        self.saved = dict(self.staged)

    @rule(knows_offsets=st.booleans())
    def commit(self, knows_offsets: bool) -> None:
        """After an unknown outcome the offsets are not known; the batch that is open goes on."""
        for task, key, value in self.produced:
            self.log[task].append((key, value))
        ends = {task: len(self.log[task]) for task in TASKS}
        self.store.committed(ends if knows_offsets else {})
        self.committed = dict(self.staged)
        self.produced = []

    @rule(
        rows=st.dictionaries(
            places, st.tuples(st.integers(), st.integers(-30, 30)), min_size=5, max_size=20
        )
    )
    def transact(self, rows: Mapping[Place, tuple[int, int]]) -> None:
        """Rows all the way into the changelog, with whatever was open before."""
        self.write(rows)
        self.keep()
        self.commit(knows_offsets=True)

    @rule()
    def abort(self) -> None:
        """Neither the transaction nor the batch ever was."""
        self.store.aborted()
        self.committed_to(self.store)

    @rule(seconds=st.integers(0, 7))
    def time_passes(self, seconds: int) -> None:
        """Event time and the machine's; dirty entries are flushed when it is time."""
        self.now += timedelta(seconds=seconds)
        self.clock.advance(seconds)
        if self.store.flush_is_due():
            self.store.flush()
            assert not self.store.flush_is_due()

    @rule()
    def flush(self) -> None:
        """At any time."""
        self.store.flush()

    @rule(task=st.sampled_from(TASKS), limit=st.integers(1, 9))
    def purge(self, task: int, limit: int) -> None:
        """Changes what is stored, and nothing that can be read."""
        self.store.purge(task, self.now, limit=limit)

    @rule()
    def crash(self) -> None:
        """Killed, and started from what is on disk and the tail of the changelog."""
        self.stores = self.killed()
        self.store = self.opened()
        self.everything_is_right()

    @rule()
    def hand_over(self) -> None:
        """Released, and taken over by the next process."""
        for task in TASKS:
            self.store.release(task)
        self.store = self.opened()
        self.everything_is_right()

    @rule(task=st.sampled_from(TASKS))
    @precondition(lambda self: not self.produced)
    def rebuild(self, task: int) -> None:
        """Thrown away and restored from the whole changelog."""
        self.store.aborted()
        self.committed_to(self.store)
        self.store.reset(task)
        entries = self.log[task]
        for start in range(0, len(entries), 7):
            part = entries[start : start + 7]
            keys, values = [key for key, _ in part], [value for _, value in part]
            self.store.restore(task, keys, values, offset=start + len(part))
        self.everything_is_right()

    @invariant()
    def the_changelog_holds_what_is_committed(self) -> None:
        """Whoever restores from it alone finds the same rows that are alive."""
        fold = {(task, key): value for task, entries in self.log.items() for key, value in entries}
        held = {place: value for place, value in fold.items() if value is not None}
        rows = self.rows.decode(list(held.values())).rows()
        found = {place: row for place, row in zip(held, rows, strict=True) if self.alive(row)}
        alive = {place: row for place, row in self.committed.items() if self.alive(row)}
        assert found == alive

    def everything_is_right(self) -> None:
        """Every key there is, read at once."""
        self.read([(task, key) for task in TASKS for key in SOME_KEYS])

    def teardown(self) -> None:
        """In the end every key is asked for."""
        self.everything_is_right()
        for task in TASKS:
            self.store.release(task)

    def found(self, wanted: list[Place]) -> list[Row | None]:
        now = pl.Series([self.now] * len(wanted), dtype=COLUMNS["at"])
        rows = self.store.read(*columns(wanted), now=now).rows()
        return [None if row == (None, None) else row for row in rows]

    def alive(self, row: Any) -> Row | None:
        """The row, None when it has outlived its time."""
        is_over = row is not None and row[1] is not None and row[1] + LIFE <= self.now
        return None if is_over else row


def columns(wanted: list[Place]) -> tuple[pl.Series, pl.Series]:
    """Partitions and keys of places."""
    return (
        pl.Series([task for task, _ in wanted], dtype=pl.UInt32),
        pl.Series([key for _, key in wanted], dtype=pl.Binary),
    )


class OnDisk(KeyedStoreMachine):
    """On RocksDB; a copy of the files of an open store is what a killed process leaves."""

    memory = RocksDbMemory(MEMORY_BYTES)

    def made(self) -> LocalStores:
        self.directory = TemporaryDirectory()
        self.generation = 0
        return RocksDbStores(Path(self.directory.name) / "0", self.memory)

    def killed(self) -> LocalStores:
        root = Path(self.directory.name)
        self.generation += 1
        for state in self.store._tasks.values():  # a kill stops everything at once, a copy does not
            assert isinstance(state.local, RocksDbStore)
            if state.local._open is not None:
                state.local._open.cancel_all_background(True)
        before, after = root / str(self.generation - 1), root / str(self.generation)
        shutil.copytree(before, after, ignore=shutil.ignore_patterns("LOCK"))
        for state in self.store._tasks.values():
            with suppress(FatalError):  # it would flush, which was stopped above
                state.local.close()
        return RocksDbStores(after, self.memory)

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()


TestInMemory = KeyedStoreMachine.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOnDisk = OnDisk.TestCase
TestOnDisk.settings = settings(max_examples=8, stateful_step_count=25, deadline=None)
