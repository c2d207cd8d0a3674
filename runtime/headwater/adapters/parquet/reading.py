"""Parquet files, read by no statistics: what they hold may not be what a table says."""

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from headwater.errors import DamagedError
from headwater.ports import TableFile
from headwater.snapshot.division import scalar_of

BATCH_ROWS: Final = 20_000  # large enough for columns, small beside a file
_READAHEAD: Final = 2  # batches decoded in advance; pyarrow's 16 would be a file in memory
_FORMAT: Final = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def dataset(files: Iterable[tuple[Path, ds.Expression]], columns: pa.Schema) -> ds.Dataset:
    """The rows of files, of which something is known each; reads nothing yet."""
    local = fs.LocalFileSystem()
    fragments = [
        _FORMAT.make_fragment(str(path), local, partition_expression=known) for path, known in files
    ]
    return ds.FileSystemDataset(fragments, columns, _FORMAT, local)


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
    path: Path, schema: pa.Schema, known: ds.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """Every row of a file; columns that it lacks are what is `known` of them, else null.

    Raises DamagedError, and OSError when the storage refuses.
    """
    try:
        fragment = _FORMAT.make_fragment(
            str(path), fs.LocalFileSystem(), partition_expression=known
        )
        batches = fragment.to_batches(
            schema=schema, batch_size=BATCH_ROWS, batch_readahead=_READAHEAD
        )
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except FileNotFoundError as error:
        raise DamagedError(f"{path.name} is gone", code="FILE_GONE") from error
    except (OSError, pa.ArrowException) as error:
        # Arrow's own complaints about content are an OSError without a number; those of the
        # system have one. What they say may quote a value.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        raise DamagedError(f"{path.name} does not hold what a snapshot wrote") from error
