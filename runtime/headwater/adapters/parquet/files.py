"""Data files of a table in a directory: written and durable before any commit names them."""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from headwater.adapters.directory.durable import sync
from headwater.ports import NewFile
from headwater.snapshot.division import folder_of

ROW_GROUP_ROWS: Final = 131_072  # a reader of few offsets unpacks one group, not the file


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file as it was written.

    `path` is below the directory of the table, `size` in bytes; `partitions` and `offsets` are the
    least and the greatest of its rows; `digest` is the xxh3_128 of its bytes, 32 hex digits;
    `value` is that of the column that divides the table, None where none does, or null.
    """

    path: str
    size: int
    rows: int
    partitions: tuple[int, int] | None
    offsets: tuple[int, int] | None
    digest: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Files that no commit names yet."""

    directory: Path
    files: Sequence[DataFile]

    def discard(self) -> None:
        """Remove them. Only when it is known that no commit names them."""
        for each in self.files:
            (self.directory / each.path).unlink(missing_ok=True)


def write_files(
    directory: Path, files: Sequence[NewFile], divided_by: str | None = None
) -> WrittenFiles:
    """Write files whose rows have the table's types, in a folder for each value that divides them.

    Raises OSError, leaves nothing behind then but empty folders.
    """
    # Racing writers of the same ranges must not share a name.
    attempt = uuid.uuid4().hex
    folders = [
        directory if divided_by is None else directory / folder_of(divided_by, each.value)
        for each in files
    ]
    paths = [
        folder / f"{each.name}-{attempt}.parquet"
        for folder, each in zip(folders, files, strict=True)
    ]
    try:
        for folder in set(folders) - {directory}:
            folder.mkdir(exist_ok=True)
        written = [
            replace(_write_file(path, each.rows), path=str(path.relative_to(directory)))
            for path, each in zip(paths, files, strict=True)
        ]
        written = [
            replace(made, value=each.value) for made, each in zip(written, files, strict=True)
        ]
        for folder in {directory, *folders}:
            sync(folder)  # a commit must never outlive the names it names
    except BaseException:  # a Ctrl-C too: what is half-written must not stay
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return WrittenFiles(directory, written)


def _write_file(path: Path, rows: pa.Table) -> DataFile:
    with path.open("xb") as file:
        hashed = _Hashed(file)
        pq.write_table(
            rows,
            pa.PythonFile(hashed, mode="w"),
            compression="zstd",
            row_group_size=ROW_GROUP_ROWS,
            write_page_checksum=True,  # a bit that rots is damage, never another value
        )
        file.flush()
        os.fsync(file.fileno())  # a commit must never outlive the data it names
    return DataFile(
        path=path.name,
        size=path.stat().st_size,
        rows=rows.num_rows,
        partitions=_bounds(rows["_partition"]),
        offsets=_bounds(rows["_offset"]),
        digest=hashed.digest.hexdigest(),
    )


class _Hashed:
    """A file that hashes what is written to it, so nobody has to read it again for that."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = xxhash.xxh3_128()

    def write(self, content: bytes) -> int:
        """Write, and hash."""
        self.digest.update(content)
        return self._file.write(content)

    def tell(self) -> int:
        """The place behind what was written."""
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Whoever opened the file closes it."""


def _bounds(column: pa.ChunkedArray) -> tuple[int, int] | None:
    found = pc.min_max(column).as_py()
    return None if found["min"] is None else (found["min"], found["max"])
