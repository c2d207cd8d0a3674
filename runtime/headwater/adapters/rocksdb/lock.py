"""One process per task directory: a lock that the kernel takes back when its holder dies."""

import fcntl
import os
from pathlib import Path

from headwater.errors import StateInUseError


class DirectoryLock:
    """Holds a directory, which is made if need be. Raises StateInUseError at once."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # Beside what it guards, so that it is held while that is deleted and made anew.
        self._file = (directory / "lock").open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise StateInUseError(
                f"Another process (or another store of process {os.getpid()}) holds {directory}; "
                "two must not share a state directory and a product."
            ) from error

    @property
    def is_held(self) -> bool:
        """Whether it was not released yet."""
        return not self._file.closed

    def release(self) -> None:
        """Let go; may be repeated."""
        self._file.close()
