"""A task between two assignments: open, and overtaken by its changelog or not."""

from pathlib import Path

import polars as pl
import pytest
from tests.state.stores import KINDS
from tests.state.test_store import ROWS, commit, got, put, store_of

from headwater.clock import ManualClock
from headwater.ports import Mark


@pytest.mark.parametrize("kind", KINDS)
def test_a_suspended_task_comes_back_as_if_it_had_been_closed(kind: str, tmp_path: Path) -> None:
    """What is staged is forgotten, what is committed is flushed, and the changelog goes on top."""
    clock = ManualClock(at_s=1.0)
    store = store_of(KINDS[kind](tmp_path), 0, clock=clock)
    store.restored(0)
    put(store, {(0, "old"): 1, (0, "both"): 1})
    commit(store, 5)
    put(store, {(0, "staged"): 2})
    store.keep()
    store.suspend(0)
    store.committed({0: 9})  # learnt too late: what it says of was forgotten
    clock.advance(60)
    assert store.assign(0) == Mark("log", 5, 1_000)
    assert got(store, (0, "old"), (0, "both"), (0, "staged")) == [1, 1, None]
    keys, rows = [b"both", b"staged"], ROWS.encode(pl.DataFrame({"n": [3, 4]}))
    store.restore(0, keys, rows, offset=12)
    store.committed({0: 9})
    assert got(store, (0, "old"), (0, "both"), (0, "staged")) == [1, 3, 4]
    store.restored(0)
    assert store.assign(0) == Mark("log", 12, 61_000)
    store.release(0)
    store.assign(0)
    assert got(store, (0, "old"), (0, "both"), (0, "staged")) == [1, 3, 4]
    store.reset(0)
    put(store, {(0, "old"): 1})
    store.keep()
    store.committed({})
    store.flush()
    assert store.assign(0) is None, "no offset vouches for what was written so far"
    assert got(store, (0, "old")) == [None]
    store.release(0)
