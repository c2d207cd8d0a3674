"""A store whose entries are all in memory: what is not there is nowhere."""

from collections.abc import Sequence

import polars as pl
import pytest
from tests.state.test_store import commit, got, put, store_of

from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.stores import MemoryStore


def test_a_store_that_is_in_memory_whole_asks_no_disk_for_what_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From its beginning on, and after a start as soon as all its rows were looked at."""
    asked: list[bytes] = []
    get = MemoryStore.get

    def told(self: MemoryStore, keys: Sequence[bytes]) -> list[bytes | None]:
        asked.extend(keys)
        return get(self, keys)

    monkeypatch.setattr(MemoryStore, "get", told)
    stores = MemoryStores()
    store = store_of(stores, 0)
    put(store, {(0, "a"): 1, (0, "b"): 2})
    commit(store, 1)
    store.flush()
    put(store, {(0, "b"): None})
    commit(store, 2)
    store.flush()
    assert got(store, (0, "a"), (0, "b"), (0, "c")) == [1, None, None]
    assert asked == []
    store.release(0)
    store.assign(0)
    assert got(store, (0, "b"), (0, "c")) == [None, None]
    assert asked == [b"b", b"c"]
    store.due(0, 0, lambda keys, _: pl.repeat(None, len(keys), dtype=pl.Int64, eager=True))
    assert got(store, (0, "a"), (0, "b"), (0, "c")) == [1, None, None]
    assert asked == [b"b", b"c"]
