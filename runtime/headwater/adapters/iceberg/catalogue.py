"""The SQL catalogue of one table, in SQLite beside it, and files that outlive a power cut."""

import io
import os
from pathlib import Path
from typing import Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import InputFile, OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import Identifier

from headwater.adapters.directory.durable import sync
from headwater.adapters.iceberg.remembering import RememberingCatalog

FILE: Final = "catalog.db"
NAME: Final = "headwater"  # of the catalogue; a reader gives it together with the URI
_FILE_IO: Final = f"{__name__}.DurableFileIO"


def open_catalogue(directory: Path) -> SqlCatalog:
    """The catalogue of a directory, made if it is not there."""
    return RememberingCatalog(
        NAME,
        **{"uri": f"sqlite:///{directory / FILE}", "py-io-impl": _FILE_IO},
    )


def identifier(topic: str) -> Identifier:
    """What the table of a topic is called: its last word in the name space of those before."""
    *space, name = topic.split(".")
    return (*(space or [NAME]), name)


class DurableFileIO(PyArrowFileIO):
    """Local files, those of metadata too, made durable before the catalogue names them.

    pyiceberg's own leaves that to the system, so a power cut could leave a catalogue whose newest
    metadata is empty.
    """

    def new_output(self, location: str) -> OutputFile:  # type: ignore[override]  # narrower there
        """A file that is durable once it is closed."""
        return _DurableOutput(location, super().new_output(location))


class _DurableOutput(OutputFile):
    def __init__(self, location: str, file: OutputFile) -> None:
        super().__init__(location)
        self._file = file

    def __len__(self) -> int:
        return len(self._file)

    def exists(self) -> bool:
        return self._file.exists()

    def to_input_file(self) -> InputFile:
        return self._file.to_input_file()

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: FBT001, FBT002  pyiceberg's
        path = Path(self.location)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _DurableStream(path.open("wb" if overwrite else "xb", buffering=0))


class _DurableStream(io.BufferedWriter):
    def close(self) -> None:
        if not self.closed:
            self.flush()
            os.fsync(self.fileno())
            super().close()
            sync(Path(str(self.name)).parent)
