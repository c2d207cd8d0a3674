"""Upkeep of a Delta table: checkpoints of its log, and the files that no needed version has.

The entries of the log stay, all of them: they are the records of the cuts.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from headwater.adapters.delta.log import LOG, entry
from headwater.adapters.directory.durable import sync
from headwater.adapters.directory.upkeep import (
    Commits,
    beside,
    data_files,
    needed_since,
    pins,
    remove,
    statistics_of,
)
from headwater.ports import Swept

_MS = 1_000.0  # in a second
_HINT = "_last_checkpoint"


def checkpoint(table: DeltaTable, directory: Path) -> None:
    """Write down what the table is by now, so that nobody replays its log from the beginning."""
    table.create_checkpoint()
    log = directory / LOG
    for path in (*log.glob(f"{table.version():020d}.checkpoint*.parquet"), log / _HINT, log):
        sync(path)


def sweep(table: DeltaTable, directory: Path, commits: Commits, now_ms: int, keep_ms: int) -> Swept:
    """Remove what no version needs. Raises OSError and DeltaError."""
    written = dict(_entries(directory))
    since = needed_since(written, now_ms - keep_ms)
    pinned = set(pins(directory).values())
    kept = statistics_of(commits, lambda version: version >= since or version in pinned)
    found = [*beside(directory), *_checkpoints(directory)]
    news = range(since + 1, table.version() + 1)
    if written.keys() >= set(news):  # else another writer cleaned the log: nobody knows what went
        found += data_files(directory)
        kept |= held(table)
        for version in pinned:
            kept |= held(DeltaTable(directory, version=version))
        for version in news:
            kept |= set(_removed(entry(directory, version)))
    return remove(directory, found, kept, now_ms)


def held(table: DeltaTable) -> set[str]:
    """The paths of a version's files below the directory."""
    return set(map(unquote, pa.table(table.get_add_actions())["path"].to_pylist()))


def _entries(directory: Path) -> Iterator[tuple[int, float]]:
    """The versions that have an entry, and when it was written, epoch ms."""
    for path in (directory / LOG).glob("*.json"):
        if path.stem.isdigit():
            yield int(path.stem), path.stat().st_mtime * _MS


def _removed(path: Path) -> Iterator[str]:
    """The files that a version took out."""
    for line in path.read_text().splitlines():
        if '"remove"' in line and (found := json.loads(line).get("remove")):
            yield unquote(found["path"])


def _checkpoints(directory: Path) -> Iterator[Path]:
    """Those that newer ones have replaced: whoever began with one is done after a day."""
    log = directory / LOG
    newest = json.loads((log / _HINT).read_bytes())["version"]
    for path in log.glob("*.checkpoint*.parquet"):
        if int(path.name.partition(".")[0]) < newest:
            yield path
