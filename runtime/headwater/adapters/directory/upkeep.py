"""What upkeep of a table in a local directory has in any format: one at a time, pins, the sweep.

`_upkeep` says how far the last one came and is its lock; `_pins/<name>.json` is a pin. Formats of
tables pass over names that begin with an underscore.
"""

import fcntl
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from headwater.adapters.directory.durable import put, sync
from headwater.adapters.directory.statistics import ENDING, FOLDER
from headwater.errors import RetriableError
from headwater.ports import CommitRecord, Swept, UnreadableRecord

DUE_VERSIONS: Final = 20  # what a reader of the table's log replays at most, and small files wait
DUE_MS: Final = 86_400_000  # a day: what is swept is as old at least
ORPHAN_MS: Final = 86_400_000  # a day: no writer takes so long from its first file to its commit
LOCK: Final = "_upkeep"
PINS: Final = "_pins"
_S: Final = 1_000.0  # ms in a second
_MARK: Final = TypeAdapter(tuple[int, int])
_PIN: Final = TypeAdapter(int)

Commits = Iterable[tuple[int, CommitRecord | UnreadableRecord]]


def is_due(directory: Path, version: int, now_ms: int) -> bool:
    """Whether the last upkeep is long ago, in versions or in time."""
    try:
        done, at_ms = _MARK.validate_json((directory / LOCK).read_text())
    except (FileNotFoundError, ValidationError):  # none yet, or one that did not come to its end
        return version >= DUE_VERSIONS
    return version - done >= DUE_VERSIONS or now_ms - at_ms >= DUE_MS


@contextmanager
def sole(directory: Path) -> Iterator[Callable[[int, int], None] | None]:
    """Hold the lock of a table's upkeep; None when another process has it.

    Else how to write down the version that upkeep came to, and when. Raises OSError.
    """
    with (directory / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return

        def done(version: int, at_ms: int) -> None:
            file.truncate(0)
            file.write(json.dumps([version, at_ms]))

        yield done


def pins(directory: Path) -> Mapping[str, int]:
    """The pinned versions by name. Raises OSError, and ValueError for a pin that is none."""
    return {
        path.stem: _PIN.validate_json(path.read_bytes())
        for path in sorted((directory / PINS).glob("*.json"))
    }


def pin(directory: Path, name: str, version: int, require: Callable[[int], object]) -> None:
    """Write a pin durably, of a version that `require` does not refuse. Raises OSError.

    Upkeep cannot take the version away meanwhile; while it is at it, RetriableError.
    """
    with sole(directory) as done:
        if done is None:
            raise RetriableError(
                f"Upkeep of the snapshot in {directory} is under way, so nothing can be pinned;"
                f" run the command again.",
                code="SNAPSHOT_BUSY",
            )
        require(version)
        path = _pin(directory, name)
        path.parent.mkdir(exist_ok=True)
        put(path, str(version).encode())
        sync(directory)


def unpin(directory: Path, name: str) -> bool:
    """Remove a pin; False when there is none. Raises OSError."""
    path = _pin(directory, name)
    is_there = path.exists()
    path.unlink(missing_ok=True)
    return is_there


def needed_since(written: Mapping[int, float], cutoff_ms: float) -> int:
    """The version that was the newest at that time; all later ones were it since.

    `written` is when each version was made, epoch ms.
    """
    return max((each for each, at_ms in written.items() if at_ms <= cutoff_ms), default=0)


def statistics_of(commits: Commits, versions: Callable[[int], bool]) -> set[str]:
    """The files of statistics that records of these versions name, and the newest one."""
    named: list[tuple[bool, str]] = [
        (versions(version), f"{FOLDER}/{Path(record.statistics).name}{ENDING}")
        for version, record in commits
        if isinstance(record, CommitRecord) and record.statistics is not None
    ]
    newest = {name for _, name in named[-1:]}
    return newest | {name for is_kept, name in named if is_kept}


def remove(directory: Path, found: Iterable[Path], needed: Collection[str], now_ms: int) -> Swept:
    """Remove files that are not needed (paths below the directory) and are no longer young.

    Raises OSError.
    """
    files, size = 0, 0
    for path in found:
        if str(path.relative_to(directory)) not in needed:
            about = path.stat()
            if now_ms - about.st_mtime * _S >= ORPHAN_MS:
                path.unlink()
                files, size = files + 1, size + about.st_size
    return Swept(files, size)


def data_files(directory: Path) -> Iterator[Path]:
    """Data files of a table, drafts of them too; no folder that is hidden but for dividing it."""
    for path in directory.rglob("*.parquet"):
        folders = path.relative_to(directory).parts[:-1]
        if not any(each[0] in "._" and "=" not in each for each in folders):
            yield path


def beside(directory: Path) -> Iterator[Path]:
    """Statistics, and what a crash left of files that were not whole yet."""
    yield from (directory / FOLDER).glob(f"*{ENDING}")
    yield from directory.rglob(".*.tmp")


def _pin(directory: Path, name: str) -> Path:
    return directory / PINS / f"{Path(name).name}.json"
