"""What upkeep of a table has in any format: one at a time, pins, the sweep.

`_upkeep` says how far the last one came and is its lock; `_pins/<name>.json` is a pin. Formats of
tables pass over names that begin with an underscore.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import PurePath
from typing import Final

from pydantic import TypeAdapter, ValidationError

from headwater.adapters.tables.files import StoredFile, TableFiles
from headwater.adapters.tables.statistics import ENDING, FOLDER, file_of
from headwater.errors import DamagedError, RetriableError
from headwater.ports import CommitRecord, Swept, UnreadableRecord

DUE_VERSIONS: Final = 20  # what a reader of the table's log replays at most, and small files wait
DUE_MS: Final = 86_400_000  # a day: what is swept is as old at least
ORPHAN_MS: Final = 86_400_000  # a day: no writer takes so long from its first file to its commit
LOCK: Final = "_upkeep"
PINS: Final = "_pins"
_MARK: Final = TypeAdapter(tuple[int, int])
_PIN: Final = TypeAdapter(int)

Commits = Iterable[tuple[int, CommitRecord | UnreadableRecord]]


def is_due(files: TableFiles, version: int, now_ms: int) -> bool:
    """Whether the last upkeep is long ago, in versions or in time."""
    try:
        done, at_ms = _MARK.validate_json(files.read(LOCK))
    except (FileNotFoundError, ValidationError):  # none yet, or one that did not come to its end
        return version >= DUE_VERSIONS
    return version - done >= DUE_VERSIONS or now_ms - at_ms >= DUE_MS


def mark(version: int, at_ms: int) -> bytes:
    """What is written down of an upkeep that came to its end."""
    return json.dumps([version, at_ms]).encode()


def pins(files: TableFiles) -> Mapping[str, int]:
    """The pinned versions by name. Raises OSError, and DamagedError for a pin that is none."""
    names = sorted(each.name for each in files.listed(PINS) if each.name.endswith(".json"))
    found = {PurePath(name).stem: _pinned(files, name) for name in names}
    return {name: version for name, version in found.items() if version is not None}


def _pinned(files: TableFiles, name: str) -> int | None:
    try:
        content = files.read(name)
    except FileNotFoundError:  # let go of since it was listed
        return None
    try:
        return _PIN.validate_json(content)
    except ValidationError as error:
        raise DamagedError(
            f"The pin {files.location}/{name} tells no version, so nobody knows what it keeps;"
            f" nothing is removed. Remove that file, and pin the cut again with `headwater pin`."
        ) from error


def pin(files: TableFiles, name: str, version: int, require: Callable[[int], object]) -> None:
    """Write a pin durably, of a version that `require` does not refuse. Raises OSError.

    Upkeep cannot take the version away meanwhile; while it is at it, RetriableError.
    """
    with files.sole(LOCK) as held:
        if held is None:
            raise RetriableError(
                f"Upkeep of the snapshot in {files.location} is under way, so nothing can be"
                f" pinned; run the command again.",
                code="SNAPSHOT_BUSY",
            )
        require(version)
        files.put(_pin(name), str(version).encode())


def unpin(files: TableFiles, name: str) -> bool:
    """Remove a pin; False when there is none. Raises OSError."""
    is_there = files.exists(_pin(name))
    files.delete(_pin(name))
    return is_there


def needed_since(written: Mapping[int, float], cutoff_ms: float) -> int:
    """The version that was the newest at that time; all later ones were it since.

    `written` is when each version was made, epoch ms.
    """
    return max((each for each, at_ms in written.items() if at_ms <= cutoff_ms), default=0)


def statistics_of(commits: Commits, versions: Callable[[int], bool]) -> set[str]:
    """The files of statistics that records of these versions name, and the newest one."""
    named: list[tuple[bool, str]] = [
        (versions(version), file_of(record.statistics))
        for version, record in commits
        if isinstance(record, CommitRecord) and record.statistics is not None
    ]
    newest = {name for _, name in named[-1:]}
    return newest | {name for is_kept, name in named if is_kept}


def remove(
    files: TableFiles, found: Iterable[StoredFile], needed: Collection[str], now_ms: int
) -> Swept:
    """Remove files that are not needed and are no longer young. Raises OSError."""
    number, size = 0, 0
    for each in found:
        if each.name not in needed and now_ms - each.modified_ms >= ORPHAN_MS:
            files.delete(each.name)
            number, size = number + 1, size + each.size
    return Swept(number, size)


def is_data(file: StoredFile) -> bool:
    """Whether it is a data file, or a draft of one; no folder is hidden but for dividing it."""
    *folders, name = file.name.split("/")
    return name.endswith(".parquet") and not any(
        each[0] in "._" and "=" not in each for each in folders
    )


def is_beside(file: StoredFile) -> bool:
    """Whether it holds statistics, or is what a crash left of a file that was not whole yet."""
    folder, _, name = file.name.rpartition("/")
    is_draft = name.startswith(".") and name.endswith(".tmp")
    return is_draft or (folder == FOLDER and name.endswith(ENDING))


def _pin(name: str) -> str:
    return f"{PINS}/{PurePath(name).name}.json"
