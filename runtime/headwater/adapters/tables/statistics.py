"""Statistics of cuts beside the data of a table, a file for each commit.

Table formats pass over folders whose name begins with an underscore. Names are those of records,
each used once, so of two writers neither touches what the other's commit names.
"""

from pathlib import PurePath
from typing import Final

from headwater.adapters.tables.files import TableFiles
from headwater.ports import Change

FOLDER: Final = "_statistics"
ENDING: Final = ".json.zst"


def put_statistics(files: TableFiles, change: Change) -> None:
    """Write those of a change durably, before its commit names them. Raises OSError."""
    if (name := _name(change)) is not None and change.statistics is not None:
        files.put(name, change.statistics)


def discard_statistics(files: TableFiles, change: Change) -> None:
    """Remove those of a change. Only when it is known that no commit names them."""
    if (name := _name(change)) is not None:
        files.delete(name)


def get_statistics(files: TableFiles, name: str) -> bytes | None:
    """Those that a record names; None when the file is gone. Raises OSError."""
    try:
        return files.read(file_of(name))
    except FileNotFoundError:
        return None


def file_of(name: str) -> str:
    """The file of statistics that a record names so."""
    # a record that was tampered with must not lead out of the folder
    return f"{FOLDER}/{PurePath(name).name}{ENDING}"


def _name(change: Change) -> str | None:
    name = None if change.record is None else change.record.statistics
    return None if name is None else file_of(name)
