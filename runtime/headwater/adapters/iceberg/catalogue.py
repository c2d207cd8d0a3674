"""SQL catalogues: one for each table, in SQLite beside it, or one in Postgres for all of them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.typedef import Identifier
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from headwater.adapters.iceberg.remembering import RememberingCatalog
from headwater.adapters.iceberg.storage import TableFileIO, is_url, root_of
from headwater.adapters.tables.files import TableFiles

FILE: Final = "catalog.db"
NAME: Final = "headwater"  # of the catalogue; a reader gives it together with the URI
_FILE_IO: Final = f"{TableFileIO.__module__}.{TableFileIO.__name__}"


# What a server may take before it is away, as Postgres spells it; no call waits for ever.
_BOUNDS: Final[Mapping[str, str]] = {
    "connect_timeout": "10",  # seconds
    "tcp_user_timeout": "10000",  # milliseconds
    "options": "-c statement_timeout=10000",  # milliseconds, waiting for locks included
}


def open_catalogue(files: TableFiles, url: str = "") -> RememberingCatalog:
    """The catalogue at a URL of Postgres, for the files of one table.

    Without a URL that of a directory, both made if need be. Raises ValueError for a bucket without
    a URL.
    """
    if url:
        return _shared(url).of(files)
    if is_url(files.location):
        message = "a table in a bucket has no catalogue of its own"
        raise ValueError(message)
    directory = Path(root_of(files))
    directory.mkdir(parents=True, exist_ok=True)
    return _opened(f"sqlite:///{directory / FILE}").of(files)


@cache  # one pool of connections for all tables of a process
def _shared(url: str) -> RememberingCatalog:
    found = make_url(url).set(drivername="postgresql+psycopg")
    bounds = {name: value for name, value in _BOUNDS.items() if name not in found.query}
    bounded = found.update_query_dict(bounds).render_as_string(hide_password=False)
    try:
        return _opened(bounded)
    except (ProgrammingError, IntegrityError):
        return _opened(bounded)  # another process made its tables at the same moment


def _opened(uri: str) -> RememberingCatalog:
    # a connection of the pool may have died since it was used last
    properties = {"uri": uri, "py-io-impl": _FILE_IO, "pool_pre_ping": "true"}
    return RememberingCatalog(NAME, **properties)


def identifier(topic: str) -> Identifier:
    """What the table of a topic is called: its last word in the name space of those before."""
    *space, name = topic.split(".")
    return (*(space or [NAME]), name)


def make_namespace(catalogue: SqlCatalog, name: Identifier) -> None:
    """Make sure that it is there; another table of it may be begun at the same moment."""
    try:
        catalogue.create_namespace_if_not_exists(name)
    except IntegrityError:
        catalogue.create_namespace_if_not_exists(name)
