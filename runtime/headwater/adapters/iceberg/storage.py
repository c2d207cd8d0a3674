"""How pyiceberg reads and writes metadata: by the files of a table, wherever these are kept."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.typedef import Properties

from headwater.adapters.tables.files import TableFiles

FILES: Final = "headwater.files"  # the catalogue's property with the files of its table


def root_of(files: TableFiles) -> str:
    """The location of a table, as its metadata has it: absolute."""
    place = files.location
    return place.rstrip("/") if is_url(place) else str(Path(place).absolute())


def is_url(place: str) -> bool:
    """Whether a place is in a bucket, of any kind of store; else it is in a directory."""
    return "://" in place


def below(root: str, location: str) -> str:
    """The name of a file below the location of a table; of one elsewhere, all of its location."""
    return location.removeprefix("file://").removeprefix(f"{root}/")


class TableFileIO(FileIO):
    """The files of one table, by their locations, those of metadata as durable as those of data.

    pyiceberg's own for directories leaves that to the system, so a power cut could leave a
    catalogue whose newest metadata is empty; its own for buckets has other credentials and bounds
    than the rest, and tells a store that is away as it tells a file that is gone.
    """

    def __init__(self, properties: Properties) -> None:
        super().__init__(properties)
        self._files: TableFiles = properties[FILES]
        self._root = root_of(self._files)

    def new_input(self, location: str) -> InputFile:
        """A file to be read."""
        return _Input(location, self._files, below(self._root, location))

    def new_output(self, location: str) -> OutputFile:
        """A file that is there, durably, once it is closed."""
        return _Output(location, self._files, below(self._root, location))

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file, if it is there."""
        place = location if isinstance(location, str) else location.location
        self._files.delete(below(self._root, place))


class _Input(InputFile):
    def __init__(self, location: str, files: TableFiles, name: str) -> None:
        super().__init__(location)
        self._files = files
        self._name = name

    def __len__(self) -> int:
        with self._files.open(self._name) as file:
            return file.seek(0, io.SEEK_END)

    def exists(self) -> bool:
        return self._files.exists(self._name)

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002, FBT001, FBT002  pyiceberg's
        if self._name.endswith(".parquet"):  # of which only the end is read
            return self._files.open(self._name)
        return io.BytesIO(self._files.read(self._name))


class _Output(OutputFile):
    def __init__(self, location: str, files: TableFiles, name: str) -> None:
        super().__init__(location)
        self._files = files
        self._name = name
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def exists(self) -> bool:
        return self._files.exists(self._name)

    def to_input_file(self) -> InputFile:
        return _Input(self.location, self._files, self._name)

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: ARG002, FBT001, FBT002  pyiceberg's
        # there is nothing to be written over: a part of each name is random
        return _Draft(self._put)

    def _put(self, content: bytes) -> None:
        self._files.put(self._name, content)
        self._size = len(content)


class _Draft(io.BytesIO):
    """Becomes a file when it is closed, once."""

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._put = put

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._put(content)
