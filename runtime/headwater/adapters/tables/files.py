"""The files of one table, in a directory or in a bucket: all that a format does beside its own.

A format keeps its truth in files that are put only if there is none of their name. Nothing of that
asks for a list of files: listings serve upkeep, and find what a handle has not seen yet.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from pyarrow import fs  # takes its time, and many handles never read a row


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a listing tells it: `size` in bytes, `modified_ms` since the epoch."""

    name: str
    size: int
    modified_ms: float


class Sink(Protocol):
    """Takes the content of a file, piece by piece."""

    def write(self, content: bytes, /) -> int | None:
        """Take the next piece. Raises OSError."""
        ...


class TableFiles(Protocol):
    """Files below the place of a table, by names with slashes.

    What refuses is an OSError whose `strerror` says why, FileNotFoundError where there is no such
    file. A file has all of its content or is not there, but for what a crash leaves of `writing`.
    """

    @property
    def location(self) -> str:
        """Where readers find the table: an absolute path, or `s3://bucket/prefix`."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """What deltalake needs beside the location to get there, in object_store's names."""
        ...

    @property
    def filesystem(self) -> "fs.FileSystem":
        """Where pyarrow reads the files, each at its `path`."""
        ...

    @property
    def is_settled(self) -> bool:
        """Whether the last `put_if_absent` is known to have happened or not.

        Where it is not, the file may appear at any time later, and what it names must stay.
        """
        ...

    def reason(self, error: OSError) -> str | None:
        """Why the storage refuses, as another library tells it; None where only its text does."""
        ...

    def path(self, name: str) -> str:
        """A file's path in the `filesystem`."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def holds(self, name: str) -> bool:
        """Whether there is a folder of this name; in a directory, a file too."""
        ...

    def children(self) -> set[str]:
        """The first parts of all names; empty where nothing is."""
        ...

    def listed(self, folder: str = "") -> Iterator[StoredFile]:
        """All files, or those in a folder and in its folders."""
        ...

    def read(self, name: str, most: int | None = None) -> bytes:
        """A file's content, or so many bytes of its beginning."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file to be read anywhere in it; whoever asks closes it."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write a file durably, in place of what has its name."""
        ...

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file durably under a free name; False when there is another one already.

        Of several writers one wins. The content must be that of one attempt alone: so an answer
        that was lost is found again. When it raises, see `is_settled`.
        """
        ...

    def writing(self, folder: str, name: Callable[[], str], /) -> AbstractContextManager[Sink]:
        """Write a file of any size in a folder, durable once it is settled.

        Its name, a free one, is asked for when all of it is written. An error leaves no draft.
        """
        ...

    def settle(self, names: Iterable[str]) -> None:
        """Make files durable with their names, those of other libraries too."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def sole(self, name: str) -> "AbstractContextManager[Callable[[bytes], None] | None]":
        """Hold the lock of a file; None when another process has it, else how to write the file."""
        ...


def numbered(listed: Iterable[StoredFile], folder: str) -> Iterator[tuple[int, StoredFile]]:
    """Those of listed files that are `<folder>/<number>.json`, with their numbers."""
    for each in listed:
        place, _, name = each.name.rpartition("/")
        number = name.removesuffix(".json")
        if place == folder and number != name and number.isdigit():
            yield int(number), each
