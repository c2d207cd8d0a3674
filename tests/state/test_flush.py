"""What a flush writes, seen from the disk: a process may be killed between any two writes."""

import pytest
from tests.state.test_store import ROWS, commit, put, store_of

from headwater.adapters.memory import MemoryStores
from headwater.adapters.memory.stores import MemoryStore
from headwater.ports import Mark
from headwater.ports.state import Keys, Values


def test_a_mark_comes_with_the_entries_that_it_vouches_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each single write the entries are those at the mark."""
    write, seen = MemoryStore.write, []
    committed = {5: {"a": 1, "b": 2}, 9: {"a": 3, "b": 2}}

    def watched(self: MemoryStore, keys: Keys, values: Values, mark: Mark | None = None) -> None:
        write(self, keys, values, mark)
        now = self.mark()
        assert now is not None
        found, rows = self.scan(b"", 10)
        names = [key.decode() for key in found]
        entries = dict(zip(names, ROWS.decode(rows)["n"], strict=True))
        assert entries == committed[now.changelog_offset]
        seen.append(now.changelog_offset)

    monkeypatch.setattr(MemoryStore, "write", watched)
    store = store_of(MemoryStores(), 0)
    for offset, rows in committed.items():
        put(store, {(0, key): n for key, n in rows.items()})
        commit(store, offset)
        store.flush()
    assert seen == [5, 9]
