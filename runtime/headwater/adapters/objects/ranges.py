"""Objects that are read where it is asked for, and pyarrow's view of them.

pyarrow has a file system for S3 of its own. Through this one there is one way into a bucket, with
one set of credentials and bounds, and a store that refuses is an error with a number, while what a
file holds that no writer wrote is one without: damage is never told where a network is down.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from pyarrow import fs

Range = Callable[[int, int], bytes]
"""The bytes of an object from a start to an end."""


class RangeReader(io.RawIOBase):
    """An object of a known size; each read is one request for just these bytes."""

    def __init__(self, read_range: Range, size: int) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def size(self) -> int:
        """How many bytes there are, as pyarrow asks for it."""
        return self._size

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer at the end; all that is left where no number is given."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted == 0:
            return b""
        found = self._read_range(self._at, self._at + wanted)
        self._at += len(found)
        return found

    def readinto(self, target: Any, /) -> int:
        """Likewise, into a buffer."""
        found = self.read(len(target))
        target[: len(found)] = found
        return len(found)


_READ_ONLY: Final = "files of snapshots are only read through pyarrow"


class RangesHandler(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow has no annotations
    """The files below one place, for datasets: they are read, and that is all."""

    def __init__(self, location: str, open_file: Callable[[str], RangeReader]) -> None:
        self._location = location
        self._open = open_file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangesHandler) and other._location == self._location

    __hash__ = None  # type: ignore[assignment]  # pyarrow compares handlers and keeps none

    def get_type_name(self) -> str:
        """What it is."""
        return "headwater-objects"

    def normalize_path(self, path: str) -> str:
        """Names are as they are."""
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        """Whether they are there, and how large."""
        return [self._info(path) for path in paths]

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """A file from its beginning."""
        return pa.PythonFile(self._open(path), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file, to be read anywhere in it."""
        return pa.PythonFile(self._open(path), mode="r")

    def _info(self, path: str) -> fs.FileInfo:
        try:
            return fs.FileInfo(path, fs.FileType.File, size=self._open(path).size())
        except FileNotFoundError:
            return fs.FileInfo(path, fs.FileType.NotFound)

    def _refuse(self, *_given: Any, **_named: Any) -> Any:
        raise NotImplementedError(_READ_ONLY)

    get_file_info_selector = _refuse
    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = _refuse
