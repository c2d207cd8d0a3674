"""Statistics of cuts beside the data of a table in a local directory, a file for each commit.

Table formats pass over folders whose name begins with an underscore. Names are those of records,
each used once, so of two writers neither touches what the other's commit names.
"""

import os
from pathlib import Path
from typing import Final

from headwater.adapters.directory.durable import sync
from headwater.ports import Change

FOLDER: Final = "_statistics"
ENDING: Final = ".json.zst"


def put_statistics(directory: Path, change: Change) -> None:
    """Write those of a change durably, before its commit names them. Raises OSError."""
    if (path := _path(directory, change)) is None or change.statistics is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(change.statistics)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def discard_statistics(directory: Path, change: Change) -> None:
    """Remove those of a change. Only when it is known that no commit names them."""
    if (path := _path(directory, change)) is not None:
        path.unlink(missing_ok=True)


def get_statistics(directory: Path, name: str) -> bytes | None:
    """Those that a record names; None when the file is gone. Raises OSError."""
    try:
        return _named(directory, name).read_bytes()
    except FileNotFoundError:
        return None


def _path(directory: Path, change: Change) -> Path | None:
    name = None if change.record is None else change.record.statistics
    return None if name is None else _named(directory, name)


def _named(directory: Path, name: str) -> Path:
    # a record that was tampered with must not lead out of the folder
    return directory / FOLDER / f"{Path(name).name}{ENDING}"
