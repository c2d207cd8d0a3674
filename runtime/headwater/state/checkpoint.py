"""Checkpoints: the entries of one task as a Parquet file, up to a mark of the changelog.

A checkpoint is fuzzy, as databases call it: it is written in slices while the store goes on
changing, and has the mark of its beginning. What it holds too early the changelog after that mark
holds again, whole; so a load and then the changelog from the mark on give the very state.

The name is `<store>/<task>/<offset>-<digest>.parquet`, the digest that of the whole file: a file
that is not what was written is passed over, and the one before it is taken.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from headwater.errors import RebuildError, RetriableError, StartRefusedError
from headwater.ports import CheckpointStorage, LocalStore, Mark
from headwater.ports.state import Keys, Values
from headwater.state.marks import mark_text, read_mark

SLICE_ROWS: Final = 20_000  # entries read and written between two turns of a loop: some 30 ms
KEPT: Final = 2  # the newest, and one to fall back on
LONGEST_STEM: Final = 200  # characters of a draft's name before its own; file systems take 255
LEFT_S: Final = 24 * 60 * 60  # not written to for so long: of a process that was killed

_SCHEMA: Final = pa.schema([("key", pa.binary()), ("value", pa.binary())])
_MARK: Final = b"headwater.mark"
_OFFSET_DIGITS: Final = 20  # of 64 bits: names ascend as offsets do
_READ_BYTES: Final = 1 << 20


class Filled(Protocol):
    """What a checkpoint is loaded into."""

    def write(self, keys: Keys, values: Values, mark: Mark | None = None) -> None:
        """As that of a LocalStore."""
        ...


class CheckpointWriter:
    """Writes one checkpoint of a store of task `task`; `prefix` is the name of the store.

    Call `advance` until it is true, then `finish`; or `abandon`. Each raises RetriableError
    (STATE_STORAGE) when disk or storage refuse, and what the store raises; then the checkpoint is
    abandoned already.
    """

    def __init__(
        self, storage: CheckpointStorage, prefix: str, task: int, store: LocalStore, mark: Mark
    ) -> None:
        self.is_open = True
        """Whether slices are still to be written: neither whole nor abandoned."""
        self._storage = storage
        self._folder = _folder(prefix, task)
        self._store = store
        self._mark = mark
        self._start = b""
        self._file = _DigestedFile(_draft(storage.workspace, self._folder))
        schema = _SCHEMA.with_metadata({_MARK: mark_text(mark)})
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")

    def advance(self) -> bool:
        """Write one slice; whether that was the last."""
        try:
            keys, values = self._store.scan(self._start, SLICE_ROWS)
            table = pa.table([keys, values], schema=_SCHEMA)
            self._writer.write_table(table, row_group_size=SLICE_ROWS)
            self._file.sync()  # now, so that the end of a large one does not take seconds
            if len(keys) == SLICE_ROWS:
                self._start = keys[-1] + b"\0"
                return False
            self.is_open = False
            self._writer.close()
            self._file.close()
        except OSError as error:
            self.abandon()
            raise _refused(self._folder, error) from error
        except BaseException:
            self.abandon()
            raise
        return True

    def finish(self) -> None:
        """Put what was written into the storage, and delete what is older than the newest two.

        It needs the store no more, and may run in another thread, as long as a network takes.
        """
        offset = f"{self._mark.changelog_offset:0{_OFFSET_DIGITS}}"
        name = f"{self._folder}{offset}-{self._file.digest}.parquet"
        try:
            self._storage.put(name, self._file.path)
            older = [each for each in self._storage.names(self._folder) if each < name]
            for each in older[: len(older) + 1 - KEPT]:
                self._storage.delete(each)
        finally:
            self._forget()

    def abandon(self) -> None:
        """Leave nothing behind; may be repeated."""
        self.is_open = False
        # each writes what a full disk refuses, of a file that goes
        with suppress(OSError):
            self._writer.close()
        with suppress(OSError):
            self._file.close()
        self._forget()

    def _forget(self) -> None:
        with suppress(OSError):  # what a disk keeps now goes with a later one
            self._file.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that is whole: its file, and up to where the changelog is in it.

    To be loaded once, or closed.
    """

    name: str
    file: BinaryIO
    mark: Mark

    def load(self, store: Filled) -> Iterator[list[bytes]]:
        """Write the entries to an empty store, a slice at a time, and the mark with the last.

        Yields the values of each slice. Raises what the store raises. A store that was not loaded
        to the end has no mark.
        """
        with self.file, pq.ParquetFile(self.file) as file:
            for group in range(file.num_row_groups):
                rows = self._read(file, group)
                values = rows["value"].to_pylist()
                store.write(rows["key"].to_pylist(), values)
                yield values
        store.write([], [], self.mark)

    def _read(self, file: Any, group: int) -> Any:
        try:
            return file.read_row_group(group)
        except OSError as error:
            raise _refused(self.name, error) from error

    def close(self) -> None:
        """Let go of the file of one that is not loaded."""
        self.file.close()


@dataclass(frozen=True, slots=True)
class Unusable:
    """A checkpoint that cannot be used, by its name in the storage, and why."""

    name: str
    reason: str


def checkpoints(
    storage: CheckpointStorage, prefix: str, task: int
) -> Iterator[Checkpoint | Unusable]:
    """The checkpoints of a task, newest first; each is read whole to see that it is.

    Raises RetriableError when the storage refuses.
    """
    for name in reversed(storage.names(_folder(prefix, task))):
        yield _opened(storage, name)


def _folder(prefix: str, task: int) -> str:
    return f"{prefix}/{task}/"


def _draft(workspace: Path, folder: str) -> Path:
    """A new file with a name of its own: who had the task before may be writing to another still.

    What a killed process left of this task goes.
    """
    stem = _stem(folder)
    draft = workspace / f"{stem}@{uuid4().hex}"
    try:
        draft.touch(exist_ok=False)
        now_s = draft.stat().st_mtime  # as the file system counts, that may be another machine's
        for left in workspace.glob(f"{stem}@*"):
            with suppress(FileNotFoundError):  # it ended meanwhile
                if now_s - left.stat().st_mtime > LEFT_S:
                    left.unlink()
    except OSError as error:
        raise _refused(folder, error) from error
    return draft


def _stem(folder: str) -> str:
    """A folder's name as part of a file's; a long one by its digest."""
    stem = folder.strip("/").replace("/", "-")
    return stem if len(stem) <= LONGEST_STEM else xxhash.xxh3_128_hexdigest(stem.encode())


def _refused(name: str, error: OSError) -> RetriableError:
    return RetriableError(
        f"The disk refuses the checkpoint {name}: {error.strerror or error}.", code="STATE_STORAGE"
    )


def _opened(storage: CheckpointStorage, name: str) -> Checkpoint | Unusable:
    try:
        file = storage.get(name)
    except KeyError:
        return Unusable(name, "it was deleted meanwhile")
    try:
        found = _judged(name, file)
    except BaseException:
        file.close()
        raise
    if isinstance(found, Unusable):
        file.close()
    return found


def _judged(name: str, file: BinaryIO) -> Checkpoint | Unusable:
    digest = xxhash.xxh3_128()
    try:
        while part := file.read(_READ_BYTES):
            digest.update(part)
        file.seek(0)
    except OSError as error:
        return Unusable(name, error.strerror or str(error))
    if Path(name).stem.rpartition("-")[2] != digest.hexdigest():
        return Unusable(name, "it is damaged: its digest is not the one in its name")
    try:
        return Checkpoint(name, file, read_mark(pq.read_schema(file).metadata[_MARK]))
    except (RebuildError, StartRefusedError) as error:  # the changelog has it all
        return Unusable(name, str(error))


class _DigestedFile:
    """A new file for pyarrow to write to; `digest` is that of all it was given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = xxhash.xxh3_128()
        self._file: BinaryIO = path.open("wb")

    def write(self, data: Any) -> int:
        """Append."""
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._file.tell()

    def close(self) -> None:
        """Close it; may be repeated."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed

    @property
    def digest(self) -> str:
        """32 hexadecimal digits."""
        return self._digest.hexdigest()
