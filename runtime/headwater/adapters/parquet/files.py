"""Data files of a table: written and durable before any commit names them.

A file gets its name when its bytes are known, whose digest is the end of it.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from headwater.adapters.tables.files import Sink, TableFiles
from headwater.ports import NewFile
from headwater.snapshot.division import folder_of
from headwater.snapshot.file_names import file_name

ROW_GROUP_ROWS: Final = 131_072  # a reader of few offsets unpacks one group, not the file
LOOKED_AT: Final = 4_096  # first values of a column, which tell whether its values repeat


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file as it was written.

    `path` is below the place of the table, `size` in bytes; `partitions` and `offsets` are the
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

    storage: TableFiles
    files: Sequence[DataFile]

    def discard(self) -> None:
        """Remove them. Only when it is known that no commit names them."""
        for each in self.files:
            self.storage.delete(each.path)


def write_files(
    storage: TableFiles, files: Sequence[NewFile], divided_by: str | None = None, *, below: str = ""
) -> WrittenFiles:
    """Write files whose rows have the table's types, in a folder for each value that divides them.

    All of them stand `below` a folder of the table that is there. Raises OSError, leaves nothing
    behind then but empty folders.
    """
    attempt = uuid.uuid4().hex
    names: list[str] = []
    try:
        written = [
            _write_file(
                storage, PurePosixPath(below, *_folders(divided_by, each)), each, attempt, names
            )
            for each in files
        ]
        storage.settle(names)  # a commit must never outlive the data, or the names, it names
    except BaseException:  # a Ctrl-C too: what is half-written must not stay
        for name in names:
            storage.delete(name)
        raise
    return WrittenFiles(storage, written)


def _folders(divided_by: str | None, file: NewFile) -> list[str]:
    return [] if divided_by is None else [folder_of(divided_by, file.value)]


def _write_file(
    storage: TableFiles, folder: PurePosixPath, file: NewFile, attempt: str, names: list[str]
) -> DataFile:
    """Write a file; `names` hears of its name before there is a file of it."""

    def name() -> str:
        names.append(str(folder / file_name(file.name, attempt, hashed.digest.hexdigest())))
        return names[-1]

    with storage.writing(str(folder), name) as sink:
        hashed = _Hashed(sink)
        pq.write_table(
            file.rows,
            pa.PythonFile(hashed, mode="w"),
            compression="zstd",
            use_dictionary=_repeating(file.rows),
            row_group_size=ROW_GROUP_ROWS,
            write_page_checksum=True,  # a bit that rots is damage, never another value
        )
    return DataFile(
        path=names[-1],
        size=hashed.tell(),
        rows=file.rows.num_rows,
        partitions=_bounds(file.rows["_partition"]),
        offsets=_bounds(file.rows["_offset"]),
        digest=hashed.digest.hexdigest(),
        value=file.value,
    )


def _repeating(rows: pa.Table) -> list[str]:
    """The columns whose values repeat, by their paths in a file; all that are nested.

    Of others a dictionary is made, outgrown and given up: that is a third of the time that a file
    of flights takes to write, and a fifth of its bytes.
    """
    found = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        paths = list(_leaves(field))
        first = column.slice(0, LOOKED_AT)
        if paths == [field.name] and pc.count_distinct(first).as_py() > len(first) / 2:
            continue
        found += paths
    return found


def _leaves(field: pa.Field, below: str = "") -> Iterator[str]:
    """The paths that columns of values have in a file (Parquet's LogicalTypes, Nested Types)."""
    path, kind = f"{below}{field.name}", field.type
    if pa.types.is_struct(kind):
        for each in kind:
            yield from _leaves(each, f"{path}.")
    elif pa.types.is_map(kind):
        for each in (kind.key_field, kind.item_field):
            yield from _leaves(each, f"{path}.key_value.")
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(kind.value_field.with_name("element"), f"{path}.list.")
    else:
        yield path


class _Hashed:
    """Hashes what is written to a file, so nobody has to read it again for that."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._size = 0
        self.digest = xxhash.xxh3_128()

    def write(self, content: bytes) -> int:
        """Write, and hash."""
        self.digest.update(content)
        self._sink.write(content)
        self._size += len(content)
        return len(content)

    def tell(self) -> int:
        """The place behind what was written."""
        return self._size

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Whoever opened the file closes it."""


def _bounds(column: pa.ChunkedArray) -> tuple[int, int] | None:
    found = pc.min_max(column).as_py()
    return None if found["min"] is None else (found["min"], found["max"])
