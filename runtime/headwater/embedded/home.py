"""The directory `.headwater/` of a stack: what lies where, and who may change it now."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headwater.embedded import process
from headwater.embedded.process import Record

NAME: Final = ".headwater"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one stack; `root` is absolute, so that services see the same files as we do."""

    root: Path

    @classmethod
    def within(cls, directory: Path) -> "Home":
        """The home of the stack that belongs to `directory`."""
        return cls(directory.resolve() / NAME)

    def data(self, service: str) -> Path:
        """What the service keeps; survives restarts."""
        return self.root / service

    def log(self, service: str) -> Path:
        """What the service said since its last start."""
        return self.root / "logs" / f"{service}.log"

    def record_path(self, service: str) -> Path:
        """Written by the process of the service before it becomes the service."""
        return self.root / f"{service}.json"

    def record(self, service: str) -> Record | None:
        """The last started process of the service, whether or not it still runs."""
        return process.read_record(self.record_path(service))

    def running(self, service: str) -> Record | None:
        """The process of the service; None when it does not run."""
        record = self.record(service)
        return record if record is not None and process.is_running(record) else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for any other `up` or `down` of this directory, then keep others out.

        The kernel frees the lock when its holder ends, however it ends.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
