"""What a keyed store promises beside being a dict: order, bounds, damage, who may open it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.state.stores import KINDS, MEMORY_BYTES

from headwater.adapters.directory import DirectoryStorage
from headwater.adapters.memory import MemoryStores
from headwater.adapters.rocksdb import RocksDbMemory, RocksDbStores
from headwater.clock import ManualClock
from headwater.contract import StateRows
from headwater.errors import DeclarationError, FatalError, RebuildError, StateInUseError
from headwater.ports import LocalStores, Mark
from headwater.state import Checkpoint, KeyedStore, StoreSettings, TimeToLive, checkpoints

ROWS = StateRows({"n": pl.Int64()})
START = datetime(2024, 1, 1, tzinfo=UTC)


def store_of(
    stores: LocalStores,
    *tasks: int,
    settings: StoreSettings | None = None,
    clock: ManualClock | None = None,
) -> KeyedStore:
    """A store of numbers with these tasks."""
    made = KeyedStore(
        ROWS, stores, settings or StoreSettings("log"), clock=clock or ManualClock(at_s=1.0)
    )
    for task in tasks:
        made.assign(task)
    return made


def put(store: KeyedStore, rows: dict[tuple[int, str], int | None]) -> None:
    """Write numbers, delete where there is none."""
    for is_there, act in ((True, store.write), (False, store.delete)):
        places = [place for place, n in rows.items() if (n is not None) is is_there]
        numbers = pl.DataFrame({"n": [rows[place] for place in places]}, schema=ROWS.columns)
        act(*at(*places), *([numbers] if is_there else []))


def at(*places: tuple[int, str]) -> tuple[pl.Series, pl.Series]:
    """Partitions and keys."""
    return (
        pl.Series([task for task, _ in places], dtype=pl.Int32),
        pl.Series([key.encode() for _, key in places], dtype=pl.Binary),
    )


def got(store: KeyedStore, *places: tuple[int, str]) -> list[int | None]:
    """The numbers at these places."""
    return store.read(*at(*places))["n"].to_list()


def commit(store: KeyedStore, offset: int) -> None:
    """Keep and commit, with the changelogs of all tasks at an offset."""
    store.keep()
    store.committed(dict.fromkeys(store.tasks, offset))


def test_rows_come_in_the_order_of_the_keys_whichever_task_they_are_of() -> None:
    """The same key of two tasks is two keys; what is not there is null."""
    store = store_of(MemoryStores(), 0, 4)
    put(store, {(0, "a"): 1, (4, "a"): 2, (4, "b"): 3})
    assert got(store, (4, "b"), (0, "a"), (0, "b"), (4, "a")) == [3, 1, None, 2]
    assert got(store) == []
    assert store.read(*at()).schema == ROWS.columns


def test_what_a_batch_changed_is_told_by_task_and_once_per_key() -> None:
    """The last value counts, a deleted key has none, and the next batch begins with nothing."""
    store = store_of(MemoryStores(), 0, 1)
    put(store, {(0, "a"): 1, (1, "b"): 2})
    put(store, {(0, "a"): 3, (1, "c"): None})
    changes = store.keep()
    values = [None if v is None else ROWS.decode([v])["n"][0] for v in changes.values]
    assert list(zip(changes.partitions, changes.keys, values, strict=True)) == [
        (0, b"a", 3),
        (1, b"b", 2),
        (1, b"c", None),
    ]
    assert store.keep().keys == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_key_stays_deleted_when_it_was_read_before(kind: str, tmp_path: Path) -> None:
    """Through flush, cache and reopening; the cache must not remember what was."""
    stores = KINDS[kind](tmp_path)
    store = store_of(stores, 0)
    put(store, {(0, "a"): 1})
    commit(store, 1)
    store.release(0)
    store.assign(0)
    assert got(store, (0, "a")) == [1]
    put(store, {(0, "a"): None})
    commit(store, 2)
    store.flush()
    assert got(store, (0, "a")) == [None]
    store.release(0)
    assert store.assign(0) == Mark("log", 2, 1_000)
    assert got(store, (0, "a")) == [None]
    store.release(0)


def test_a_flush_is_due_after_its_time_or_its_bytes() -> None:
    """Time counts from the first commit that was not flushed; without one nothing is due."""
    clock = ManualClock()
    settings = StoreSettings("log", cache_bytes=40_000, flush_every_s=5.0)
    store = store_of(MemoryStores(), 0, settings=settings, clock=clock)
    clock.advance(60)
    assert not store.flush_is_due()
    put(store, {(0, "a"): 1})
    assert not store.flush_is_due()
    commit(store, 1)
    clock.advance(4.9)
    assert not store.flush_is_due()
    clock.advance(0.1)
    assert store.flush_is_due()
    store.flush()
    assert not store.flush_is_due()
    put(store, {(0, str(n)): n for n in range(100)})
    commit(store, 2)
    assert store.flush_is_due()


def test_memory_is_bounded_however_many_keys_are_used() -> None:
    """Reading and writing ten times what the cache holds; every row is still right."""
    settings = StoreSettings("log", cache_bytes=100_000)
    store = store_of(MemoryStores(), 0, 1, settings=settings)
    for start in range(0, 5_000, 100):
        put(store, {(n % 2, str(n)): n for n in range(start, start + 100)})
        commit(store, start + 1)
        if store.flush_is_due():
            store.flush()
        assert store.memory_bytes() <= 100_000 + 100 * 300
    places = [(n % 2, str(n)) for n in range(5_000)]
    assert got(store, *places) == list(range(5_000))
    assert store.memory_bytes() <= 100_000


def test_a_task_is_held_by_one_store(tmp_path: Path) -> None:
    """The second is told so, and may have it after the release."""
    stores = RocksDbStores(tmp_path, RocksDbMemory(MEMORY_BYTES))
    first, second = store_of(stores, 0), store_of(stores)
    with pytest.raises(StateInUseError):
        second.assign(0)
    assert second.tasks == frozenset()
    first.release(0)
    second.assign(0)
    second.release(0)


@pytest.mark.parametrize("kind", KINDS)
def test_state_of_another_changelog_is_thrown_away(kind: str, tmp_path: Path) -> None:
    """A topic that was deleted and made anew: its offsets say nothing of what is stored."""
    stores = KINDS[kind](tmp_path)
    store = store_of(stores, 0)
    put(store, {(0, "a"): 1})
    commit(store, 9)
    store.release(0)
    other = store_of(stores, settings=StoreSettings("another log"))
    assert other.assign(0) is None
    assert got(other, (0, "a")) == [None]
    other.release(0)


@pytest.mark.parametrize("kind", KINDS)
def test_state_that_nothing_vouches_for_is_thrown_away(kind: str, tmp_path: Path) -> None:
    """A restore that was killed before its first mark."""
    stores = KINDS[kind](tmp_path)
    local = stores.open(0)
    local.write([b"a"], ROWS.encode(pl.DataFrame({"n": [1]})))
    local.close()
    store = store_of(stores)
    assert store.assign(0) is None
    assert got(store, (0, "a")) == [None]
    store.release(0)


def test_a_mark_is_as_old_as_what_it_was_restored_from_until_the_end_is_reached(
    tmp_path: Path,
) -> None:
    """A restore that is cut off must not make an old store look new: deletions do not stay.

    From a mark, from nothing, and from a checkpoint alike.
    """
    clock, stores = ManualClock(at_s=1.0), MemoryStores()
    store = store_of(stores, 0, clock=clock)
    clock.advance(1)
    store.restore(0, [], [], offset=5)
    store.release(0)
    clock.advance(60)
    assert store.assign(0) == Mark("log", 5, 1_000)
    store.restore(0, [], [], offset=7)
    store.release(0)
    assert store.assign(0) == Mark("log", 7, 1_000)
    writer = store.checkpoint(0, DirectoryStorage(tmp_path), "p/s")
    assert writer is not None
    assert writer.advance()
    writer.finish()
    store.restored(0)
    store.release(0)
    assert store.assign(0) == Mark("log", 7, 62_000)
    store.reset(0)
    found = next(checkpoints(DirectoryStorage(tmp_path), "p/s", 0))
    assert isinstance(found, Checkpoint)
    assert list(store.load(0, found)) == [0]
    store.restore(0, [], [], offset=8)
    store.release(0)
    assert store.assign(0) == Mark("log", 8, 1_000)


def damaged(path: Path) -> None:
    """Flip a byte in the middle of the largest file of sorted entries."""
    largest = max(path.glob("*.sst"), key=lambda each: each.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)


def on_disk(path: Path) -> tuple[KeyedStore, list[tuple[int, str]]]:
    """A store with tasks 0 and 1 whose entries are in files, released; its places."""
    store = store_of(RocksDbStores(path, RocksDbMemory(MEMORY_BYTES)), 0, 1)
    places = [(n % 2, f"{n:060}") for n in range(60_000)]
    for start in range(0, len(places), 20_000):
        put(store, dict.fromkeys(places[start : start + 20000], start))
        commit(store, start)
        store.flush()
    for task in (0, 1):
        store.release(task)
    return store, places


def test_damage_that_a_read_meets_names_the_task_and_a_reset_mends_it(tmp_path: Path) -> None:
    """The other task is untouched; the reset one is empty, for the changelog to fill."""
    store, places = on_disk(tmp_path)
    damaged(tmp_path / "1" / "rocksdb")
    assert store.assign(0) is not None
    assert store.assign(1) is not None
    with pytest.raises(RebuildError) as found:
        got(store, *places)
    assert found.value.task == 1
    store.reset(1)
    numbers = got(store, *places)
    assert None not in numbers[::2]
    assert set(numbers[1::2]) == {None}
    for task in (0, 1):
        store.release(task)


def test_a_directory_that_cannot_be_opened_is_begun_anew(tmp_path: Path) -> None:
    """Local state is a cache: damage costs a restore, never the start."""
    store, _ = on_disk(tmp_path)
    next((tmp_path / "0" / "rocksdb").glob("MANIFEST*")).unlink()
    assert store.assign(0) is None
    assert got(store, (0, f"{0:060}")) == [None]
    store.release(0)


def test_a_row_that_is_no_row_names_its_task() -> None:
    """Sound files can hold bytes that are no row, and of many tasks one is to be restored."""
    stores = MemoryStores()
    for task, value in ((0, ROWS.encode(pl.DataFrame({"n": [1]}))[0]), (7, b"\0")):
        local = stores.open(task)
        sound = ROWS.encode(pl.DataFrame({"n": [0]}))[0]  # the first is looked at when it is opened
        local.write([b"A", b"a"], [sound, value], Mark("log", 1, 0))
        local.close()
    store = store_of(stores, 0, 7)
    with pytest.raises(RebuildError) as found:
        got(store, (0, "a"), (7, "a"))
    assert found.value.task == 7
    assert got(store, (0, "a")) == [1]


def test_rows_of_a_later_release_stop_the_process() -> None:
    """They are not damage, and are not thrown away."""
    stores = MemoryStores()
    local = stores.open(0)
    local.write([b"a"], [b"\1" + bytes(9)], Mark("log", 1, 0))
    local.close()
    for _ in range(2):  # nor is the task kept open
        with pytest.raises(FatalError) as refused:
            store_of(stores, 0)
        assert refused.value.code == "STATE_FORMAT"


def test_a_store_whose_first_row_is_no_row_is_begun_anew() -> None:
    """It is looked at when the store is opened, and damage costs a restore, never the start."""
    stores = MemoryStores()
    local = stores.open(0)
    local.write([b"a"], [b"\0"], Mark("log", 1, 0))
    local.close()
    store = store_of(stores)
    assert store.assign(0) is None
    assert got(store, (0, "a")) == [None]


def test_a_release_lets_go_even_if_the_flush_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The changelog holds what could not be flushed; the task is the next process's now."""
    stores = MemoryStores()
    store = store_of(stores, 0)
    put(store, {(0, "a"): 1})
    commit(store, 5)
    write: Callable[..., None] = lambda *_: (_ for _ in ()).throw(RebuildError("full", task=0))  # noqa: E731 - shorter than a class
    monkeypatch.setattr("headwater.adapters.memory.stores.MemoryStore.write", write)
    with pytest.raises(RebuildError):
        store.release(0)
    monkeypatch.undo()
    assert store.tasks == frozenset()
    assert store.assign(0) is None


def test_a_store_goes_through_a_checkpoint_and_the_tail(tmp_path: Path) -> None:
    """Written while the store goes on, loaded on an empty disk, then the changelog's tail."""
    store = store_of(MemoryStores(), 0)
    storage = DirectoryStorage(tmp_path)
    assert store.checkpoint(0, storage, "p/s") is None
    put(store, {(0, "a"): 1, (0, "b"): 2})
    commit(store, 10)
    store.flush()
    writer = store.checkpoint(0, storage, "p/s")
    assert writer is not None
    put(store, {(0, "a"): 3, (0, "b"): None})
    tail = store.keep()
    store.committed({0: 20})
    store.flush()
    assert writer.advance()
    writer.finish()
    found = next(checkpoints(storage, "p/s", 0))
    assert isinstance(found, Checkpoint)
    assert found.mark.changelog_offset == 10
    other = store_of(MemoryStores(), 0)
    assert list(other.load(0, found)) == [1]  # it is written while the store goes on
    other.restore(0, tail.keys, tail.values, offset=20)
    assert got(other, (0, "a"), (0, "b")) == [3, None]
    other.release(0)
    assert other.assign(0) == Mark("log", 20, 1_000)


def expiring(stores: LocalStores) -> KeyedStore:
    """A store whose rows live for a minute, with rows at seconds 0 to 9 and one without a time."""
    rows = StateRows({"at": pl.Datetime("us", "UTC")})
    life = TimeToLive("at", timedelta(minutes=1))
    store = KeyedStore(rows, stores, StoreSettings("log", time_to_live=life), clock=ManualClock())
    store.assign(0)
    times = [*(START + timedelta(seconds=n) for n in range(10)), None]
    frame = pl.DataFrame({"at": times}, schema=rows.columns)
    store.write(*at(*((0, str(n)) for n in range(11))), frame)
    store.keep()
    store.committed({0: 1})
    return store


def test_a_row_is_gone_as_soon_as_its_time_is_over() -> None:
    """At exactly its end; each key is judged by the event time it is read at."""
    store = expiring(MemoryStores())
    ends = [START + timedelta(seconds=60 + n, microseconds=-(n % 2)) for n in range(10)]
    now = pl.Series([*ends, START.replace(year=2999)], dtype=pl.Datetime("us", "UTC"))
    rows = store.read(*at(*((0, str(n)) for n in range(11))), now=now)
    assert rows["at"].is_null().to_list() == [n % 2 == 0 for n in range(10)] + [True]


def test_a_purge_goes_round_in_bounded_slices_and_spares_what_was_written_since() -> None:
    """It looks at so many rows each time, deletes the dead ones, and begins again at the end."""
    store = expiring(MemoryStores())
    store.flush()
    fresh = pl.DataFrame({"at": [START + timedelta(hours=1)]}).cast(pl.Datetime("us", "UTC"))
    store.write(*at((0, "2")), fresh)
    now = START + timedelta(seconds=64)
    gone = [store.purge(0, now, limit=4) for _ in range(3)]
    assert (gone, sum(gone)) == ([2, 2, 0], 4)  # by key: 0 1 10 2 | 3 4 5 6 | 7 8 9
    changes = store.keep()
    assert [k for k, v in zip(changes.keys, changes.values, strict=True) if v is None] == [
        b"0",
        b"1",
        b"3",
        b"4",
    ]
    store.committed({0: 2})
    store.flush()
    assert store.sizes()[0].keys == 7
    assert [store.purge(0, now + timedelta(hours=2), limit=4) for _ in range(2)] == [3, 3]


def test_a_time_to_live_asks_for_a_column_of_times() -> None:
    """Found when the store is made."""
    for column in ("n", "missing"):
        life = TimeToLive(column, timedelta(1))
        with pytest.raises(DeclarationError):
            KeyedStore(ROWS, MemoryStores(), StoreSettings("log", time_to_live=life))
