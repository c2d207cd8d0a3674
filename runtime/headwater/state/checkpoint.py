"""Checkpoints: the entries of one task as a Parquet file, up to a mark of the changelog.

A checkpoint is fuzzy, as databases call it: it is written in slices while the store goes on
changing, and has the mark of its beginning. What it holds too early the changelog after that mark
holds again, whole; so a load and then the changelog from the mark on give the very state.

The name is `<store>/<task>/<offset>-<digest>.parquet`, the digest that of the whole file: a file
that is not what was written is passed over, and the one before it is taken.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from headwater.errors import RebuildError, RetriableError
from headwater.ports import CheckpointStorage, LocalStore, Mark
from headwater.state.marks import mark_text, read_mark

SLICE_ROWS: Final = 20_000  # entries read and written between two turns of a loop: some 30 ms
KEPT: Final = 2  # the newest, and one to fall back on

_SCHEMA: Final = pa.schema([("key", pa.binary()), ("value", pa.binary())])
_MARK: Final = b"headwater.mark"
_OFFSET_DIGITS: Final = 20  # of 64 bits: names ascend as offsets do
_READ_BYTES: Final = 1 << 20


class CheckpointWriter:
    """Writes one checkpoint of a store of task `task`; `prefix` is the name of the store.

    Call `advance` until it is true, or `abandon`. Raises RetriableError (STATE_STORAGE) when the
    disk refuses, and what the store raises; then the checkpoint is abandoned already.
    """

    def __init__(
        self, storage: CheckpointStorage, prefix: str, task: int, store: LocalStore, mark: Mark
    ) -> None:
        self._storage = storage
        self._folder = _folder(prefix, task)
        self._store = store
        self._mark = mark
        self._start = b""
        # One name per task: what a killed process left is written over.
        self._file = _DigestedFile(storage.workspace / self._folder.strip("/").replace("/", "-"))
        schema = _SCHEMA.with_metadata({_MARK: mark_text(mark)})
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")

    def advance(self) -> bool:
        """Write one slice; whether that was the last, and the checkpoint is in the storage."""
        try:
            keys, values = self._store.scan(self._start, SLICE_ROWS)
            table = pa.table([keys, values], schema=_SCHEMA)
            self._writer.write_table(table, row_group_size=SLICE_ROWS)
            if len(keys) == SLICE_ROWS:
                self._start = keys[-1] + b"\0"
                return False
            self._finish()
        except OSError as error:
            self.abandon()
            raise RetriableError(
                f"The disk refuses the checkpoint {self._folder}: {error.strerror or error}.",
                code="STATE_STORAGE",
            ) from error
        except BaseException:
            self.abandon()
            raise
        return True

    def abandon(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):  # it writes the footer of a file that goes
            self._writer.close()
        self._file.close()
        self._file.path.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._writer.close()
        self._file.close()
        offset = f"{self._mark.changelog_offset:0{_OFFSET_DIGITS}}"
        name = f"{self._folder}{offset}-{self._file.digest}.parquet"
        self._storage.put(name, self._file.path)
        older = [each for each in self._storage.names(self._folder) if each < name]
        for each in older[: len(older) + 1 - KEPT]:
            self._storage.delete(each)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that is whole: its file, and up to where the changelog is in it."""

    file: Path
    mark: Mark

    def load(self, store: LocalStore) -> int:
        """Write all entries to an empty store, and the mark with the last; how many.

        Raises what the store raises. A store that was not loaded to the end has no mark.
        """
        file = pq.ParquetFile(self.file)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            store.write(rows["key"].to_pylist(), rows["value"].to_pylist())
        store.write([], [], self.mark)
        return int(file.metadata.num_rows)


def newest_checkpoint(
    storage: CheckpointStorage, prefix: str, task: int, changelog_id: str
) -> Checkpoint | None:
    """The newest checkpoint of a task that is whole and of this changelog; None: there is none.

    Raises FatalError (STATE_FORMAT) when a later release wrote it, RetriableError when the storage
    refuses.
    """
    for name in reversed(storage.names(_folder(prefix, task))):
        found = _opened(storage, name)
        if found is not None and found.mark.changelog_id == changelog_id:
            return found
    return None


def _folder(prefix: str, task: int) -> str:
    return f"{prefix}/{task}/"


def _opened(storage: CheckpointStorage, name: str) -> Checkpoint | None:
    """The checkpoint of this name; None when it is not what was written."""
    try:
        path = storage.get(name)
        digest = xxhash.xxh3_128()
        with path.open("rb") as file:
            while part := file.read(_READ_BYTES):
                digest.update(part)
    except (KeyError, OSError):  # deleted meanwhile, or unreadable: the one before it may do
        return None
    if Path(name).stem.rpartition("-")[2] != digest.hexdigest():
        return None
    try:
        return Checkpoint(path, read_mark(pq.read_schema(path).metadata[_MARK]))
    except RebuildError:
        return None


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
