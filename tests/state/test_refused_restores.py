"""A disk that refuses while state is restored, and while a checkpoint is written."""

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from headwater.adapters.directory import DirectoryStorage
from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.stores import MemoryStore
from headwater.contract import StateRows
from headwater.errors import RetriableError
from headwater.ports import LocalStore, Mark
from headwater.ports.state import Values
from headwater.state import CheckpointWriter, KeyedStore, StoreSettings, checkpoint

ROWS = StateRows({"n": pl.Int64()})


def test_a_refused_write_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store stands where it stood: what was not written is no part of it."""
    store = KeyedStore(ROWS, MemoryStores(), StoreSettings("log"))
    store.assign(0)
    values = ROWS.encode(pl.DataFrame({"n": [1]}))
    store.restore(0, [b"a"], values, offset=1)

    def refuse(_: MemoryStore, keys: Sequence[bytes], values: Values, mark: Mark | None) -> None:
        raise RetriableError("the disk is full", code="STATE_STORAGE")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "write", refuse)
        with pytest.raises(RetriableError):
            store.restore(0, [b"b"], values, offset=2)
    found = store.assign(0)
    assert found is not None
    assert found.changelog_offset == 1


def test_a_checkpoint_on_a_full_disk_is_told_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when what is left of it in memory can be written no more."""
    storage = DirectoryStorage(tmp_path)
    device = storage.workspace / "out-step-0"
    device.symlink_to("/dev/full")
    monkeypatch.setattr(checkpoint, "_draft", lambda *_: device)
    store: LocalStore = MemoryStores().open(0)
    keys = sorted(os.urandom(20) for _ in range(20_000))
    store.write(keys, [os.urandom(30) for _ in keys], Mark("log", 1, 1))
    writer = CheckpointWriter(storage, "out/step", 0, store, Mark("log", 1, 1))
    with pytest.raises(RetriableError) as told:
        any(writer.advance() for _ in range(3))
    assert told.value.code == "STATE_STORAGE"
    assert not device.is_symlink()
