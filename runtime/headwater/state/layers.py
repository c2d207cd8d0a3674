"""The entries of one task: what is read, what is written, and what becomes of it.

    piece  ->  batch -> staged -> dirty -> cache -> local store
    (savepoint) (keep)  (commit)  (flush)

Each layer hides those after it. A piece of a batch is saved or rolled back, a batch kept or
dropped, what is staged is committed or aborted; what is dirty is in the changelog for good, and in
the local store after the next flush.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import Any

from headwater.ports import LocalStore, Mark
from headwater.ports.state import Keys, Values
from headwater.state.cache import UNKNOWN, Cache
from headwater.state.due import DueIndex
from headwater.state.entries import Entries
from headwater.state.weight import EntryWeight


class TaskState:
    """The layers above one open local store.

    Reading, flushing and slicing raise what the local store does.
    """

    def __init__(self, local: LocalStore, *, is_empty: bool) -> None:
        self.local = local
        self.cache = Cache(is_whole=is_empty)
        self._weight = EntryWeight()
        self._piece: dict[bytes, bytes | None] = {}
        self._batch: dict[bytes, bytes | None] = {}
        self._staged: dict[bytes, bytes | None] = {}
        self._dirty: dict[bytes, bytes | None] = {}
        self._cursor = b""
        self.due: DueIndex | None = None
        """When rows are due; None until somebody asks."""

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The newest value of each key, None where there is none."""
        found = self._newest(keys, repeat(UNKNOWN, len(keys)))
        for below in (self.cache.get, self._stored):
            places = [place for place, value in enumerate(found) if value is UNKNOWN]
            if not places:
                break
            for place, value in zip(places, below([keys[p] for p in places]), strict=True):
                found[place] = value
        return found

    def put(self, keys: Sequence[bytes], values: Values) -> None:
        """Write entries into the piece; None deletes. Of a key that comes twice the last counts."""
        self._piece.update(zip(keys, values, strict=True))

    def savepoint(self) -> None:
        """What is written from here on can be rolled back to here."""
        if self._batch:
            self._batch.update(self._piece)
        else:
            self._batch = self._piece  # a batch of one piece pays nothing
        self._piece = {}
        if self.due is not None:
            self.due.savepoint()

    def rollback(self) -> None:
        """Forget the piece: what was written since the savepoint."""
        self._piece = {}
        if self.due is not None:
            self.due.rollback()

    def keep(self) -> tuple[list[bytes], list[bytes | None]]:
        """Stage the batch; its keys, each once, and their values."""
        self.savepoint()
        batch, self._batch = self._batch, {}
        self._staged.update(batch)
        if self.due is not None:
            self.due.keep()
        return list(batch), list(batch.values())

    def drop(self) -> None:
        """Forget the batch."""
        self._piece, self._batch = {}, {}
        if self.due is not None:
            self.due.drop()

    def commit(self) -> None:
        """What is staged is in the changelog for good."""
        staged, self._staged = self._staged, {}
        self._weight.see(staged, list(staged.values()))
        self._dirty.update(staged)
        if self.due is not None:
            self.due.commit()

    def abort(self) -> None:
        """Forget the batch and what is staged."""
        self._piece, self._batch, self._staged = {}, {}, {}
        if self.due is not None:
            self.due.abort()

    def flush(self, mark: Mark | None) -> None:
        """Write what is dirty to the local store, with a mark that vouches for it."""
        self._write_all(self._dirty, mark)
        self._dirty = {}

    def write(self, keys: Keys, values: Values, mark: Mark | None = None) -> None:
        """Write entries past what is not flushed, ascending by key and distinct, and a mark."""
        self.local.write(keys, values, mark)
        self.cache.add(Entries.of(keys, values))

    def restore(self, keys: Sequence[bytes], values: Values, mark: Mark | None) -> None:
        """Write entries of the changelog to the local store; of a key the last counts.

        Nothing may be dirty: it is older, and would hide them.
        """
        self.due = None
        self._write_all(dict(zip(keys, values, strict=True)), mark)

    def next_slice(self, limit: int) -> tuple[list[bytes], list[bytes]]:
        """The next entries of an endless tour through the local store, as they are now.

        At most `limit` entries are looked at; those that were deleted meanwhile are left out.
        """
        keys, stored = self.local.scan(self._cursor, limit)
        self._cursor = keys[-1] + b"\0" if len(keys) == limit else b""
        values = self._newest(keys, stored)
        held = [value is not None for value in values]
        return list(compress(keys, held)), list(compress(values, held))

    def scan(self, limit: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """All entries, some `limit` of them at a time; nothing may be written meanwhile.

        What the open transaction or batch deletes or replaces is there as well: it may come back.
        """
        for layer in (self._piece, self._batch, self._staged, self._dirty):
            held = {key: value for key, value in layer.items() if value is not None}
            yield list(held), list(held.values())
        start: bytes | None = b""
        seen = self.cache.emptied()
        while start is not None:
            keys, values = self.local.scan(start, limit)
            seen.add(Entries.of(keys, values))
            start = keys[-1] + b"\0" if len(keys) == limit else None
            below = [key not in self._dirty for key in keys]
            yield list(compress(keys, below)), list(compress(values, below))
        self.cache = seen

    @property
    def dirty_bytes(self) -> int:
        """About how much memory the next flush frees."""
        return self._weight.of(len(self._dirty))

    @property
    def is_dirty(self) -> bool:
        """Whether a flush has something to write."""
        return bool(self._dirty)

    def _newest(self, keys: Sequence[bytes], below: Iterable[Any]) -> list[Any]:
        """The values written since the last flush, those of `below` for other keys."""
        # From the lowest layer up, each value the default of the next: no Python code per key.
        for layer in (self._dirty, self._staged, self._batch, self._piece):
            if layer:
                below = map(layer.get, keys, below)
        return list(below)

    def _stored(self, keys: Sequence[bytes]) -> list[bytes | None]:
        values = self.local.get(keys)
        # not what is absent: who looks for it writes it next
        held = [value is not None for value in values]
        self.cache.add(Entries.of(list(compress(keys, held)), list(compress(values, held))))
        return values

    def _write_all(self, entries: Mapping[bytes, bytes | None], mark: Mark | None) -> None:
        ascending = Entries.ascending(entries)
        self.local.write(ascending.keys.to_pylist(), ascending.values.to_pylist(), mark)
        self.cache.add(ascending)
