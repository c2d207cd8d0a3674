"""The files of a table in a local directory, durable and whole under their names."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from headwater.adapters.directory.durable import draft_in, put, put_if_absent, sync
from headwater.adapters.tables.files import StoredFile

if TYPE_CHECKING:
    from pyarrow import fs

_MS: Final = 1_000.0  # in a second


class DirectoryFiles:
    """A `TableFiles` of one directory, which is made with its first file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def location(self) -> str:
        """The directory."""
        return str(self._directory)

    @property
    def options(self) -> Mapping[str, str]:
        """None are needed."""
        return {}

    @property
    def filesystem(self) -> "fs.FileSystem":
        """That of this machine."""
        from pyarrow import fs  # noqa: PLC0415  # takes its time

        return fs.LocalFileSystem()

    @property
    def is_settled(self) -> bool:
        """A name is there or not, whatever the call said."""
        return True

    def reason(self, error: OSError) -> str | None:
        """What the system says."""
        return error.strerror

    def path(self, name: str) -> str:
        """The path; a name that is a whole path already stays it."""
        return str(self._directory / name)

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self._directory / name).exists()

    def holds(self, name: str) -> bool:
        """Whether there is a folder or a file of this name."""
        return self.exists(name)

    def children(self) -> set[str]:
        """The names in the directory; of something that is none, its own."""
        try:  # one look: somebody may be making the directory
            return {path.name for path in self._directory.iterdir()}
        except FileNotFoundError:
            return set()
        except NotADirectoryError:
            return {self._directory.name}

    def listed(self, folder: str = "") -> Iterator[StoredFile]:
        """All files, or those in a folder and in its folders."""
        for name, entry in _entries(str(self._directory / folder), f"{folder}/" if folder else ""):
            with suppress(FileNotFoundError):  # a draft of somebody who is just done with it
                about = entry.stat()
                yield StoredFile(name, about.st_size, about.st_mtime * _MS)

    def read(self, name: str, most: int | None = None) -> bytes:
        """A file's content, or so many bytes of its beginning."""
        with self.open(name) as file:
            return file.read(-1 if most is None else most)

    def open(self, name: str) -> BinaryIO:
        """A file to be read."""
        return (self._directory / name).open("rb")

    def put(self, name: str, content: bytes) -> None:
        """Write a file durably, in place of what has its name."""
        put(self._target(name), content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Write a file durably under a free name; False when there is one already."""
        return put_if_absent(self._target(name), content)

    @contextmanager
    def writing(self, folder: str, name: Callable[[], str], /) -> Iterator[BinaryIO]:
        """Write a file of any size as a draft in its folder, which then gets its name."""
        place = self._directory / folder
        if not place.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        draft = draft_in(place)
        try:
            with draft.open("xb") as file:
                yield file
            draft.rename(self._directory / name())
        finally:
            draft.unlink(missing_ok=True)

    def settle(self, names: Iterable[str]) -> None:
        """Make files durable, then the folders that they are named in."""
        found = [PurePosixPath(name) for name in names]
        folders = {folder for each in found for folder in each.parents}
        for each in (*found, *folders):
            sync(self._directory / each)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._directory / name).unlink(missing_ok=True)

    @contextmanager
    def sole(self, name: str) -> Iterator[Callable[[bytes], None] | None]:
        """Hold the lock of a file, which the system takes back when the process ends."""
        with (self._directory / name).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return

            def write(content: bytes) -> None:
                file.truncate(0)
                file.write(content)

            yield write

    def _target(self, name: str) -> Path:
        """The path of a file whose folder is there, durably."""
        target = self._directory / name
        if not target.parent.is_dir():
            self._directory.mkdir(parents=True, exist_ok=True)
            sync(self._directory.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            sync(self._directory)
        return target


def _entries(folder: str, before: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files in a folder and in its folders, by their names; none where there is no folder."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir():
                yield from _entries(entry.path, f"{before}{entry.name}/")
            else:
                yield f"{before}{entry.name}", entry
