"""Upkeep of a Delta table: checkpoints of its log, and the files that no needed version has.

The entries of the log stay, all of them: they are the records of the cuts.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from deltalake import DeltaTable
from pydantic import TypeAdapter, ValidationError

from headwater.adapters.delta.log import LOG, entry
from headwater.adapters.delta.reading import checkpoints, load, paths
from headwater.adapters.tables.files import StoredFile, TableFiles, numbered
from headwater.adapters.tables.upkeep import (
    ORPHAN_MS,
    Commits,
    is_beside,
    is_data,
    needed_since,
    pins,
    remove,
    statistics_of,
)
from headwater.ports import Swept
from headwater.snapshot.scratch import scratch_directory

CHECKPOINT_VERSIONS: Final = 10
"""Versions between two checkpoints, as the protocol has it by default.

Each entry behind one costs whoever opens the table 0.3 ms, a checkpoint its writer some 25 ms of
CPU, most of it to read the one before.
"""
_HINT: Final = f"{LOG}/_last_checkpoint"


@dataclass(frozen=True, slots=True)
class _Hint:
    """Which checkpoint is the last one, as the protocol has it; `parts` where it has several."""

    version: int
    parts: int | None = None

    @property
    def names(self) -> list[str]:
        """Its files."""
        beginning = f"{LOG}/{self.version:020d}.checkpoint"
        if self.parts is None:
            return [f"{beginning}.parquet"]
        parts = range(1, self.parts + 1)
        return [f"{beginning}.{part:010d}.{self.parts:010d}.parquet" for part in parts]


_HINT_TEXT: Final = TypeAdapter(_Hint)


def is_due(version: int) -> bool:
    """Whether the writer of the next version has to make a checkpoint of this one."""
    return version > 0 and version % CHECKPOINT_VERSIONS == 0


def checkpoint(table: DeltaTable, files: TableFiles) -> None:
    """Write down what the table is by now, so that nobody replays its log from the beginning.

    Made elsewhere and put durably, the checkpoint before the hint that names it: a reader that
    finds one takes no other way. deltalake's own write of it waits for no disk, so if the power
    failed an empty checkpoint could be the end of the table. Files are asked for by name, none is
    listed. Raises OSError, DeltaError, and RetriableError (SNAPSHOT_STORAGE) where there is no room
    for temporary files.
    """
    version, last = table.version(), _last_checkpoint(files)
    known = -1 if last is None else last.version
    if known >= version:  # greater where another writer was faster
        return
    since = [entry(each) for each in range(known + 1, version + 1)]
    read = {name: files.read(name) for name in [*(last.names if last else ()), *since]}
    for name, content in _made(read, version).items():
        files.put(name, content)


def _made(log: Mapping[str, bytes], version: int) -> Mapping[str, bytes]:
    """The files of a checkpoint, then the hint, made of the last one and the entries behind it."""
    with scratch_directory("checkpoint") as scratch:
        (scratch / LOG).mkdir()
        for name, content in log.items():
            (scratch / name).write_bytes(content)
        DeltaTable(scratch, version=version).create_checkpoint()
        parts = sorted((scratch / LOG).glob(f"{version:020d}.checkpoint*.parquet"))
        made = (*(f"{LOG}/{path.name}" for path in parts), _HINT)
        return {name: (scratch / name).read_bytes() for name in made}


def _last_checkpoint(files: TableFiles) -> _Hint | None:
    """The last one, None without; readers pass over a hint that rotted too."""
    try:
        return _HINT_TEXT.validate_json(files.read(_HINT))
    except (FileNotFoundError, ValidationError):
        return None


def sweep(
    table: DeltaTable, files: TableFiles, commits: Commits, now_ms: int, keep_ms: int
) -> Swept:
    """Remove what no version needs. Raises OSError and DeltaError."""
    listed = list(files.listed())
    written = {version: each.modified_ms for version, each in numbered(listed, LOG)}
    since = needed_since(written, now_ms - keep_ms)
    pinned = set(pins(files).values())
    kept = statistics_of(commits, lambda version: version >= since or version in pinned)
    found = [*filter(is_beside, listed), *_replaced(files, listed, now_ms)]
    news = range(since + 1, table.version() + 1)
    if written.keys() >= set(news):  # else another writer cleaned the log: nobody knows what went
        found += filter(is_data, listed)
        kept |= paths(table).keys()
        for version in pinned:
            kept |= paths(load(files, version)).keys()
        for version in news:
            kept |= set(_removed(files.read(entry(version))))
    return remove(files, found, kept, now_ms)


def _removed(content: bytes) -> Iterator[str]:
    """The files that a version took out."""
    for line in content.splitlines():
        if b'"remove"' in line and (found := json.loads(line).get("remove")):
            yield unquote(found["path"])


def _replaced(files: TableFiles, listed: Iterable[StoredFile], now_ms: int) -> Iterator[StoredFile]:
    """The checkpoints that newer ones replaced a day ago: who began with one is done by then."""
    found, last = list(checkpoints(listed)), _last_checkpoint(files)
    old = (version for version, each in found if now_ms - each.modified_ms >= ORPHAN_MS)
    before = min(max(old, default=0), 0 if last is None else last.version)
    for version, each in found:
        if version < before:
            yield each
