"""The directory `.headwater/` of a stack: what lies where, and who may change it now."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headwater.embedded import process
from headwater.embedded.process import Record
from headwater.errors import ConfigurationError, Problem, UnavailableError

NAME: Final = ".headwater"


def broken(what: str) -> ConfigurationError:
    """The files of a stack are not as we left them; `what` says which, why, and what to do."""
    return ConfigurationError([Problem("STACK_BROKEN", what)])


@contextmanager
def told_when_broken(place: Path) -> Iterator[None]:
    """Tell what the file system refuses below `place` in one sentence (STACK_BROKEN)."""
    try:
        yield
    except OSError as error:
        path = place if error.filename is None else error.filename
        reason = error.strerror or type(error).__name__
        raise broken(
            f"{path} cannot be used ({reason}); make {place} a folder that you may write in,"
            " then run the command again"
        ) from error


def stop(record: Record, title: str) -> None:
    """End a recorded process. Raises UnavailableError (STACK_STUCK) when it does not end."""
    try:
        process.stop(record)
    except TimeoutError as error:
        text = f"{title}, process {record.pid}, does not end even when killed; look at it"
        raise UnavailableError(text, code="STACK_STUCK") from error


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
        """The last started process of the service, whether or not it still runs.

        Raises ConfigurationError (STACK_BROKEN) when the record tells nothing.
        """
        path = self.record_path(service)
        try:
            with told_when_broken(self.root):
                return process.read_record(path)
        except ValueError as error:
            raise broken(
                f"{path} does not name a process; if one still runs with {self.data(service)} in"
                " its command line, end it; then delete the file and run the command again"
            ) from error

    def running(self, service: str) -> Record | None:
        """The process of the service; None when it does not run."""
        record = self.record(service)
        return record if record is not None and process.is_running(record) else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for any other `up` or `down` of this directory, then keep others out.

        The kernel frees the lock when its holder ends, however it ends.
        Raises ConfigurationError (STACK_BROKEN) when the directory cannot be made or written.
        """
        with told_when_broken(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / "lock").open("w")
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
