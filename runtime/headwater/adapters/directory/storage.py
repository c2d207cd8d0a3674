"""Objects as files of a local directory: each is durable and whole under its name, or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from headwater.adapters.directory.durable import sync
from headwater.errors import RetriableError


class DirectoryStorage:
    """The objects below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def location(self) -> str:
        """The path of the directory."""
        return str(self._directory)

    @property
    def workspace(self) -> Path:
        """Where objects are written before they are put: on the same file system."""
        path = self._directory / ".workspace"
        with self._translated():
            path.mkdir(parents=True, exist_ok=True)
        return path

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, ascending."""
        folder, _, _ = prefix.rpartition("/")
        with self._translated():
            paths = list((self._directory / folder).glob("**/*"))
            found = (
                path.relative_to(self._directory).as_posix() for path in paths if path.is_file()
            )
            return sorted(
                name
                for name in found
                if name.startswith(prefix) and not name.startswith(".workspace/")
            )

    def put(self, name: str, file: Path) -> None:
        """Take a file of the workspace over."""
        target = self._directory / name
        with self._translated():
            target.parent.mkdir(parents=True, exist_ok=True)
            sync(file)
            file.replace(target)
            sync(target.parent)

    def get(self, name: str) -> BinaryIO:
        """The file of the object, open; raises KeyError when there is none."""
        with self._translated():
            try:
                return (self._directory / name).open("rb")
            except FileNotFoundError:
                raise KeyError(name) from None

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._translated():
            (self._directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held, and nothing takes long."""

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RetriableError(
                f"The disk refuses {self._directory}: {error.strerror}.", code="STATE_STORAGE"
            ) from error
