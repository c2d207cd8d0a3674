"""Files that are durable and whole under their name, or not there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def put_if_absent(target: Path, content: bytes) -> bool:
    """Write a file durably under a name that is free; False when there is one already.

    A link is made only if its name is free, so of several writers one wins. Raises OSError; then
    only a look at the directory tells whether the file is there.
    """
    with _draft(target, content) as draft:
        try:
            os.link(draft, target)
        except FileExistsError:
            return False
    sync(target.parent)
    return True


def put(target: Path, content: bytes) -> None:
    """Write a file durably, in place of what has its name. Raises OSError."""
    with _draft(target, content) as draft:
        draft.replace(target)
    sync(target.parent)


@contextmanager
def _draft(target: Path, content: bytes) -> Iterator[Path]:
    """A durable file beside another, for as long as it takes to give it that one's name."""
    draft = draft_in(target.parent)
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def draft_in(folder: Path) -> Path:
    """A free name for what is not whole yet; upkeep knows by it what a crash left of a file."""
    return folder / f".{uuid.uuid4().hex}.tmp"


def sync(path: Path) -> None:
    """Make a file's content, or the names in a directory, durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
