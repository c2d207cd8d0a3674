"""A directory on disk for what does not fit into memory, of one commit or one merge."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import RetriableError


@contextmanager
def scratch_directory(of: str) -> Iterator[Path]:
    """A new directory in the system's one for temporary files, gone afterwards.

    Raises RetriableError (SNAPSHOT_STORAGE) where that one is full or refuses otherwise; only files
    of the directory are written meanwhile by what raises OSError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f"headwater-{of}-") as directory:
            yield Path(directory)
    except OSError as cause:
        raise RetriableError(
            f"Could not write temporary files in {_place()}: {cause.strerror or 'no reason told'};"
            f" nothing that was committed changed. Make room there or set TMPDIR to another"
            f" directory, and run the command again.",
            code="SNAPSHOT_STORAGE",
        ) from cause


def _place() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # there is none at all
        return "the system's directory for them"
