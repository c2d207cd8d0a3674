"""When rows are due: in order, once, again after what never was, and after a restart."""

from pathlib import Path

import polars as pl
import pytest
from tests.state.stores import KINDS

from headwater.contract import StateRows
from headwater.ports import LocalStores
from headwater.state import KeyedStore, StoreSettings

ROWS = StateRows({"at": pl.Int64()})


@pytest.fixture(params=list(KINDS))
def local(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStores:
    """Stores of either kind."""
    return KINDS[request.param](tmp_path)


def opened(local: LocalStores) -> KeyedStore:
    """A store with task 0."""
    store = KeyedStore(ROWS, local, StoreSettings("log"))
    store.assign(0)
    return store


def put(store: KeyedStore, *entries: tuple[bytes, int]) -> None:
    """Write rows and schedule them at their time."""
    keys = pl.Series([key for key, _ in entries], dtype=pl.Binary)
    times = pl.Series("at", [at for _, at in entries], dtype=pl.Int64)
    tasks = pl.repeat(0, len(keys), dtype=pl.Int64, eager=True)
    store.write(tasks, keys, times.to_frame())
    store.schedule(tasks, keys, times)


def due(store: KeyedStore, until: int) -> list[tuple[int, bytes]]:
    """What is due, by time and key."""
    return store.due(0, until, lambda _, rows: rows["at"]).rows()


def delete(store: KeyedStore, key: bytes) -> None:
    """Delete a row."""
    store.delete(pl.Series([0]), pl.Series([key], dtype=pl.Binary))


def test_what_is_due_comes_once_in_the_order_of_times(local: LocalStores) -> None:
    """By time, then key, in as many steps as one likes; what is later waits."""
    store = opened(local)
    put(store, (b"c", 3), (b"a", 5))
    assert due(store, 2) == []
    put(store, (b"b", 3), (b"d", 9))
    assert due(store, 5) == [(3, b"b"), (3, b"c"), (5, b"a")]
    assert due(store, 5) == []
    assert due(store, 9) == [(9, b"d")]
    store.release(0)


def test_what_was_taken_comes_back_with_what_never_was(local: LocalStores) -> None:
    """A dropped batch, then an aborted transaction of two batches; a committed one is over."""
    store = opened(local)
    put(store, (b"a", 1), (b"b", 2))
    store.keep()
    store.committed({0: 1})
    assert due(store, 1) == [(1, b"a")]
    store.drop()
    assert due(store, 1) == [(1, b"a")]
    store.keep()
    assert due(store, 2) == [(2, b"b")]
    store.keep()
    store.aborted()
    assert due(store, 2) == [(1, b"a"), (2, b"b")]
    store.keep()
    store.committed({0: 2})
    store.aborted()
    assert due(store, 9) == []
    store.release(0)


def test_what_a_piece_took_comes_back_when_it_is_rolled_back(local: LocalStores) -> None:
    """What was taken before the savepoint does not, unless the whole batch is dropped."""
    store = opened(local)
    put(store, (b"a", 1), (b"b", 2), (b"c", 3))
    store.keep()
    store.committed({0: 1})
    assert due(store, 1) == [(1, b"a")]
    store.savepoint()
    assert due(store, 2) == [(2, b"b")]
    store.rollback()
    assert due(store, 2) == [(2, b"b")]
    store.savepoint()
    store.drop()
    assert due(store, 3) == [(1, b"a"), (2, b"b"), (3, b"c")]
    store.release(0)


def test_an_assigned_task_knows_what_is_due_in_every_layer(local: LocalStores) -> None:
    """On disk, committed, staged and in the batch; deleted rows are not."""
    store = opened(local)
    put(store, (b"a", 1), (b"b", 2), (b"x", 1))
    store.keep()
    store.committed({0: 1})
    store.flush()
    store.release(0)
    store.assign(0)
    put(store, (b"c", 3))
    delete(store, b"x")
    store.keep()
    store.committed({0: 2})
    put(store, (b"d", 4))
    store.keep()
    put(store, (b"e", 5))
    assert due(store, 9) == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d"), (5, b"e")]
    store.release(0)


def test_what_an_open_batch_deletes_or_moves_is_due_when_the_batch_never_was(
    local: LocalStores,
) -> None:
    """An index that is made while a batch is open must not lose what it takes away."""
    store = opened(local)
    put(store, (b"a", 1), (b"b", 2))
    store.keep()
    store.committed({0: 1})
    store.flush()
    delete(store, b"a")
    put(store, (b"b", 7))
    assert due(store, 0) == []
    store.drop()
    assert due(store, 2) == [(1, b"a"), (2, b"b")]
    store.release(0)


def test_runs_of_many_batches_are_merged(local: LocalStores) -> None:
    """A thousand batches leave a handful of runs, and nothing is lost."""
    store = opened(local)
    due(store, 0)
    for place in range(1_000):
        put(store, (b"%d" % place, (place * 7919) % 1_000))
    index = store._tasks[0].due
    assert index is not None
    assert len(index._runs) <= 8
    assert [at for at, _ in due(store, 1_000)] == list(range(1_000))
    store.release(0)
