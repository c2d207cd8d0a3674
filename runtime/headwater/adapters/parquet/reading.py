"""Parquet files, read by no statistics: what they hold may not be what a table says."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from headwater.errors import DamagedError

BATCH_ROWS: Final = 20_000  # large enough for columns, small beside a file
_READAHEAD: Final = 2  # batches decoded in advance; pyarrow's 16 would be a file in memory
_FORMAT: Final = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def scan(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Every row of a file; columns that it lacks are null.

    Raises DamagedError, and OSError when the storage refuses.
    """
    try:
        fragment = _FORMAT.make_fragment(str(path), fs.LocalFileSystem())
        batches = fragment.to_batches(
            schema=schema, batch_size=BATCH_ROWS, batch_readahead=_READAHEAD
        )
        for batch in batches:
            batch.validate(full=True)
            yield batch
    except FileNotFoundError as error:
        raise DamagedError(f"{path.name} is gone") from error
    except (OSError, pa.ArrowException) as error:
        # Arrow's own complaints about content are an OSError without a number; those of the
        # system have one. What they say may quote a value.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        raise DamagedError(f"{path.name} does not hold what a snapshot wrote") from error
