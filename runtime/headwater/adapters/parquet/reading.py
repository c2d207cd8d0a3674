"""Parquet files, read by no statistics: what they hold may not be what a table says."""

import errno
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
import xxhash

from headwater.adapters.tables.files import TableFiles
from headwater.errors import DamagedError
from headwater.ports import TableFile
from headwater.snapshot.division import scalar_of
from headwater.snapshot.file_names import digest_of

BATCH_ROWS: Final = 20_000  # large enough for columns, small beside a file
HASHED_BYTES: Final = 1 << 20  # of a file in memory while it is held to its digest
_READAHEAD: Final = 2  # batches decoded in advance; pyarrow's 16 would be a file in memory
_FORMAT: Final = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def dataset(
    storage: TableFiles, files: Iterable[tuple[str, ds.Expression]], columns: pa.Schema
) -> ds.Dataset:
    """The rows of files, of which something is known each; reads nothing yet."""
    place = storage.filesystem
    fragments = [
        _FORMAT.make_fragment(storage.path(name), place, partition_expression=known)
        for name, known in files
    ]
    return ds.FileSystemDataset(fragments, columns, _FORMAT, place)


def placed(file: TableFile) -> ds.Expression:
    """What a table says of the places of all rows of a file."""
    known = ds.scalar(True)  # noqa: FBT003  # what is said of a file of which nothing is
    for column, bounds in (("_partition", file.partitions), ("_offset", file.offsets)):
        if bounds is not None:
            known &= (ds.field(column) >= bounds[0]) & (ds.field(column) <= bounds[1])
    return known


def valued(column: str | None, value: str | None, schema: pa.Schema) -> ds.Expression:
    """What a table says of the column that divides it, of all rows of a file."""
    if column is None:
        return ds.scalar(True)  # noqa: FBT003  # what is said of a table that is not divided
    if value is None:
        return ds.field(column).is_null()
    return ds.field(column) == scalar_of(value, schema.field(column).type)


def scan(
    storage: TableFiles,
    name: str,
    schema: pa.Schema,
    known: ds.Expression | None = None,
    *,
    digest: str | None = None,
) -> Iterator[pa.RecordBatch]:
    """Every row of a file; columns that it lacks are what is `known` of them, else null.

    Its bytes are held to the xxh3_128 that the table tells, or else the name, before Arrow parses
    any: some footers make it hang or end the process. A file of which neither is told, by an older
    release or another writer, is held to the checksums of its pages alone. Raises DamagedError, and
    OSError when the storage refuses.
    """
    try:
        if (written := digest or digest_of(name)) is not None:
            _require_written(storage, name, written)
        fragment = _FORMAT.make_fragment(
            storage.path(name), storage.filesystem, partition_expression=known
        )
        batches = fragment.to_batches(
            schema=schema, batch_size=BATCH_ROWS, batch_readahead=_READAHEAD
        )
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except FileNotFoundError as error:
        raise DamagedError(f"{PurePosixPath(name).name} is gone", code="FILE_GONE") from error
    except (OSError, pa.ArrowException) as error:
        # Arrow's own complaints about content are an OSError without a number; those of the
        # system have one. What they say may quote a value.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        raise _changed(name) from error


def _require_written(storage: TableFiles, name: str, digest: str) -> None:
    """Raises DamagedError unless a file holds the very bytes that were written."""
    found = xxhash.xxh3_128()
    with storage.open(name) as content:
        while part := content.read(HASHED_BYTES):
            found.update(part)
    if found.hexdigest() != digest:
        raise _changed(name)


def _changed(name: str) -> DamagedError:
    return DamagedError(f"{PurePosixPath(name).name} does not hold what a snapshot wrote")
