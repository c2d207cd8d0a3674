"""Upkeep of a table of Parquet files: manifests that only keep their record, and files gone."""

from headwater.adapters.parquet import manifest
from headwater.adapters.tables.files import TableFiles, numbered
from headwater.adapters.tables.upkeep import (
    Commits,
    is_beside,
    is_data,
    needed_since,
    pins,
    remove,
    statistics_of,
)
from headwater.ports import Swept


def sweep(files: TableFiles, commits: Commits, now_ms: int, keep_ms: int) -> Swept:
    """Let go of versions that nobody needs, and of what only they have. Raises OSError."""
    listed = list(files.listed())
    written = {version: each.modified_ms for version, each in numbered(listed, manifest.FOLDER)}
    since = needed_since(written, now_ms - keep_ms)
    needed = {each for each in written if each >= since} | set(pins(files).values())
    for version in sorted(written):
        if version not in needed:
            manifest.expire(files, version)
    kept = statistics_of(commits, needed.__contains__)
    for version in needed:
        kept |= manifest.names(files, version)
    found = (each for each in listed if is_beside(each) or is_data(each))
    return remove(files, found, kept, now_ms)
