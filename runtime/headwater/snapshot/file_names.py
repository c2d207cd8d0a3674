"""What the name of a data file says of its rows and its bytes, so that a table need not say it.

The bounds of two columns in a Delta log mislead its readers: of every column without bounds some
take all rows for null; neither Delta nor Iceberg has a place for a digest that every writer keeps.
A name is the same in all formats, and outlives the file it belonged to.
"""

import re
from pathlib import Path
from typing import Final

# behind what the rows are stand the attempt that wrote the file, and the digest of its bytes, which
# files of older releases do not tell
_ENDING: Final = r"-[0-9a-f]{32}(?:-(?P<digest>[0-9a-f]{32}))?\.parquet"
_PART: Final = re.compile(rf"part-(\d+)-(\d+)-(\d+){_ENDING}")
_BUCKET: Final = re.compile(rf"bucket-(\d+)-\d+-of-\d+-(\d+){_ENDING}")
_WRITTEN: Final = re.compile(rf".+?{_ENDING}")

Bounds = tuple[int, int]
"""The least and the greatest."""


def part_name(partition: int, start: int, end: int) -> str:
    """How a file begins that holds rows of `[start, end)` of one partition, and no others."""
    return f"part-{partition}-{start}-{end}"


def bucket_name(partition: int, bucket: int, buckets: int, end: int) -> str:
    """How the file of a bucket begins, whose rows lie before `end`, which tells folds apart."""
    return f"bucket-{partition}-{bucket}-of-{buckets}-{end}"


def file_name(beginning: str, attempt: str, digest: str) -> str:
    """The name of a file whose bytes are known; attempt and digest have 32 hex digits each.

    Writers of the same rows must not share a name, or the one that gives up would take away what
    the other committed: hence the attempt.
    """
    return f"{beginning}-{attempt}-{digest}.parquet"


def digest_of(name: str) -> str | None:
    """The xxh3_128 of a file's bytes by its path, 32 hex digits; None where it does not tell."""
    found = _WRITTEN.fullmatch(Path(name).name)
    return None if found is None else found["digest"]


def places_of(name: str) -> tuple[Bounds, Bounds] | None:
    """The bounds of partitions and offsets by a file's path; None for a name of somebody else."""
    file = Path(name).name
    if found := _PART.fullmatch(file):
        partition, start, end = map(int, found.group(1, 2, 3))
    elif found := _BUCKET.fullmatch(file):
        partition, start, end = int(found[1]), 0, int(found[2])
    else:
        return None
    return ((partition, partition), (start, end - 1)) if start < end else None
