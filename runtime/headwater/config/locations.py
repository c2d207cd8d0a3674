"""Places where files are kept: directories, and prefixes in buckets."""

import re
from typing import Final

# S3's rules for the names of buckets, and the characters of keys that are safe everywhere
_BUCKET: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*/?")


def is_bucket(location: str) -> bool:
    """Whether a location is one in a bucket."""
    return location.startswith("s3://")


def parse_location(value: str) -> str:
    """A directory, or a prefix in a bucket. Names and passwords have no place in it.

    Raises ValueError saying what to write.
    """
    is_directory = "://" not in value and not value.startswith("s3:")
    if not value or not (is_directory or _BUCKET.fullmatch(value)):
        raise ValueError("write a directory, or s3://bucket/prefix")
    return value
