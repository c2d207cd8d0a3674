"""The stores of a step in RocksDB: `<directory>/<task>/` holds a lock and the database.

The write-ahead log is on, without a sync: it costs 0.15 us a key, and for it a process that was
killed finds all it wrote, and one that met a full disk can let go of the database and open it
again. After a power failure a tail may be missing; the mark is missing with it.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from rocksdict import Rdict, WriteBatch

from headwater.adapters.rocksdb.lock import DirectoryLock
from headwater.adapters.rocksdb.options import MARKS, RocksDbMemory
from headwater.adapters.rocksdb.triage import translated
from headwater.ports import Mark, StoreSize
from headwater.ports.state import Keys, Values
from headwater.state.marks import mark_text, read_mark

_DATABASE: Final = "rocksdb"
_MARK_KEY: Final = b"mark"


class RocksDbStores:
    """The stores of one step. `memory` is shared by all stores of the process."""

    def __init__(self, directory: Path, memory: RocksDbMemory) -> None:
        self._directory = directory
        self._memory = memory

    def open(self, task: int) -> "RocksDbStore":
        """The store of a task, locked; an empty one where there is none."""
        directory = self._directory / str(task)
        with ExitStack() as undo, translated(task, str(directory)):
            lock = DirectoryLock(directory)
            undo.callback(lock.release)
            store = RocksDbStore(directory / _DATABASE, task, self._memory, lock)
            undo.pop_all()
        return store

    def discard(self, task: int) -> None:
        """Delete what is stored of a task that is not open."""
        directory = self._directory / str(task)
        with translated(task, str(directory)):
            lock = DirectoryLock(directory)
            try:
                if (directory / _DATABASE).exists():
                    shutil.rmtree(directory / _DATABASE)
            finally:
                lock.release()


class RocksDbStore:
    """One open database. Every error of RocksDB lets go of it: the next call opens it anew."""

    def __init__(self, path: Path, task: int, memory: RocksDbMemory, lock: DirectoryLock) -> None:
        self._path = path
        self._task = task
        self._memory = memory
        self._lock = lock
        self._open: Rdict | None = None
        with self._database() as database:
            marks = database.get_column_family(MARKS)
            try:
                stored = marks.get(_MARK_KEY)
            finally:
                marks.close()
            self._mark = None if stored is None else read_mark(stored)

    def get(self, keys: Keys) -> list[bytes | None]:
        """The values of the keys, in their order."""
        with self._database() as database:
            return database.get(list(keys)) or []

    def write(self, keys: Keys, values: Values, mark: Mark | None = None) -> None:
        """Write entries, and the mark with them, in one atomic write."""
        batch = WriteBatch(raw_mode=True)
        for key, value in zip(keys, values, strict=True):
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        with self._database() as database:
            if mark is not None:
                # The handle is not kept: it would keep a database open that failed.
                batch.put(
                    _MARK_KEY,
                    mark_text(mark).encode(),
                    database.get_column_family_handle(MARKS),
                )
            database.write(batch)
        self._mark = mark or self._mark

    def scan(self, start: bytes, limit: int) -> tuple[list[bytes], list[bytes]]:
        """At most `limit` entries from the key `start` on, ascending by key."""
        keys: list[bytes] = []
        values: list[bytes] = []
        with self._database() as database:
            # Not `items()`: it ends at a damaged block as if nothing came after it.
            cursor = database.iter()
            try:
                cursor.seek(start)
                while len(keys) < limit and cursor.valid():
                    keys.append(cursor.key())
                    values.append(cursor.value())
                    cursor.next()
                cursor.status()
            finally:
                del cursor  # the database stays open for as long as one is alive
        return keys, values

    def mark(self) -> Mark | None:
        """The mark of the last write that had one."""
        return self._mark

    def size(self) -> StoreSize:
        """RocksDB's estimate of the keys (a key written twice may count twice), and bytes."""
        with self._database() as database:
            keys = database.property_int_value("rocksdb.estimate-num-keys")
            files = database.property_int_value("rocksdb.total-sst-files-size")
            buffers = database.property_int_value("rocksdb.cur-size-all-mem-tables")
        return StoreSize(keys or 0, (files or 0) + (buffers or 0))

    def close(self) -> None:
        """Close the database and release the lock; may be repeated."""
        try:
            with translated(self._task, str(self._path)):
                if self._open is not None:
                    database, self._open = self._open, None
                    database.close()
        finally:
            self._lock.release()

    @contextmanager
    def _database(self) -> Iterator[Rdict]:
        if not self._lock.is_held:
            message = f"the store of task {self._task} is closed"
            raise ValueError(message)
        with translated(self._task, str(self._path)):
            try:
                self._open = self._open or self._opened()
                yield self._open
            except BaseException:
                self._abandon()
                raise

    def _opened(self) -> Rdict:
        families = {MARKS: self._memory.mark_options()}
        return Rdict(str(self._path), self._memory.options(), families)

    def _abandon(self) -> None:
        """Let go of a database that failed: it refuses every write until it is opened again."""
        if self._open is not None:
            database, self._open = self._open, None
            with suppress(Exception):  # closing says again what is being raised
                database.close()
