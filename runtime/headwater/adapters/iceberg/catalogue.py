"""SQL catalogues: one for each table, in SQLite beside it, or one in Postgres for all of them."""

import io
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import InputFile, OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import Identifier
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from headwater.adapters.directory.durable import sync

FILE: Final = "catalog.db"
NAME: Final = "headwater"  # of the catalogue; a reader gives it together with the URI
_FILE_IO: Final = f"{__name__}.DurableFileIO"


# What a server may take before it is away, as Postgres spells it; no call waits for ever.
_BOUNDS: Final[Mapping[str, str]] = {
    "connect_timeout": "10",  # seconds
    "tcp_user_timeout": "10000",  # milliseconds
    "options": "-c statement_timeout=10000",  # milliseconds, waiting for locks included
}


def open_catalogue(directory: Path, url: str = "") -> SqlCatalog:
    """The catalogue at a URL of Postgres; without one that of a directory, made if need be."""
    return _shared(url) if url else _opened(f"sqlite:///{directory / FILE}")


@cache  # one pool of connections for all tables of a process
def _shared(url: str) -> SqlCatalog:
    found = make_url(url).set(drivername="postgresql+psycopg")
    bounds = {name: value for name, value in _BOUNDS.items() if name not in found.query}
    bounded = found.update_query_dict(bounds).render_as_string(hide_password=False)
    try:
        return _opened(bounded)
    except (ProgrammingError, IntegrityError):
        return _opened(bounded)  # another process made its tables at the same moment


def _opened(uri: str) -> SqlCatalog:
    # a connection of the pool may have died since it was used last
    return SqlCatalog(NAME, **{"uri": uri, "py-io-impl": _FILE_IO, "pool_pre_ping": "true"})


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
