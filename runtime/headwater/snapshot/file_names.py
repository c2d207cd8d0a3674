"""What the name of a data file says of its rows, so that a table need not say it.

The bounds of two columns in a Delta log mislead its readers: of every column without bounds some
take all rows for null. A name is the same in all formats, and outlives the file it belonged to.
"""

import re
from pathlib import Path
from typing import Final

# behind the name stands the attempt that wrote the file
_ATTEMPT: Final = r"-[0-9a-f]{32}\.parquet"
_PART: Final = re.compile(rf"part-(\d+)-(\d+)-(\d+){_ATTEMPT}")
_BUCKET: Final = re.compile(rf"bucket-(\d+)-\d+-of-\d+-(\d+){_ATTEMPT}")

Bounds = tuple[int, int]
"""The least and the greatest."""


def part_name(partition: int, start: int, end: int) -> str:
    """How a file begins that holds rows of `[start, end)` of one partition, and no others."""
    return f"part-{partition}-{start}-{end}"


def bucket_name(partition: int, bucket: int, buckets: int, end: int) -> str:
    """How the file of a bucket begins, whose rows lie before `end`, which tells folds apart."""
    return f"bucket-{partition}-{bucket}-of-{buckets}-{end}"


def places_of(name: str) -> tuple[Bounds, Bounds] | None:
    """The bounds of partitions and offsets by a file's path; None for a name of somebody else."""
    file = Path(name).name
    if found := _PART.fullmatch(file):
        partition, start, end = map(int, found.groups())
    elif found := _BUCKET.fullmatch(file):
        partition, start, end = int(found[1]), 0, int(found[2])
    else:
        return None
    return ((partition, partition), (start, end - 1)) if start < end else None
