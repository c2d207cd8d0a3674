"""Upkeep of a table of Parquet files: manifests that only keep their record, and files gone."""

from pathlib import Path

from headwater.adapters.directory.upkeep import (
    Commits,
    beside,
    data_files,
    needed_since,
    pins,
    remove,
    statistics_of,
)
from headwater.adapters.parquet import manifest
from headwater.ports import Swept

_MS = 1_000.0  # in a second


def sweep(directory: Path, commits: Commits, now_ms: int, keep_ms: int) -> Swept:
    """Let go of versions that nobody needs, and of what only they have. Raises OSError."""
    versions = manifest.versions(directory)
    written = {each: manifest.path_of(directory, each).stat().st_mtime * _MS for each in versions}
    since = needed_since(written, now_ms - keep_ms)
    needed = {each for each in versions if each >= since} | set(pins(directory).values())
    for version in versions:
        if version not in needed:
            manifest.expire(directory, version)
    kept = statistics_of(commits, needed.__contains__)
    for version in needed:
        kept |= manifest.names(directory, version)
    return remove(directory, [*beside(directory), *data_files(directory)], kept, now_ms)
