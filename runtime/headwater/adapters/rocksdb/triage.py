"""What RocksDB says, in our words. rocksdict raises bare exceptions: their texts must tell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from headwater.errors import FatalError, HeadwaterError, RebuildError, RetriableError

# Most severe first. A file that is gone is damage, a file that cannot be written is the disk.
_DAMAGE: Final = (
    "Corruption:",
    "No such file or directory",
    "Invalid argument:",
    "Not implemented:",
)
_DISK: Final = "IO error:"


@contextmanager
def translated(task: int, location: str) -> Iterator[None]:
    """Errors of RocksDB, and of the file system beside it, as ours."""
    try:
        yield
    except HeadwaterError:
        raise
    except Exception as error:  # rocksdict has no class of its own
        raise _ours(error, task, location) from error


def _ours(error: Exception, task: int, location: str) -> HeadwaterError:
    text = str(error)
    if not isinstance(error, OSError) and any(each in text for each in _DAMAGE):
        return RebuildError(f"The state in {location} is damaged: {text}", task=task)
    if isinstance(error, OSError) or _DISK in text:
        return RetriableError(
            f"The disk refuses the state in {location}: {text}; nothing is lost, make room or "
            "mend it.",
            code="STATE_STORAGE",
        )
    return FatalError(f"The state in {location} cannot be used: {text}")
