"""What every test may use."""

import ast
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import settings
from tests.adapters.object_server import ObjectServer

from headwater.embedded import Addresses

if TYPE_CHECKING:
    from tests.adapters.postgres_server import PostgresServer

# A busy machine breaks no law. `make faults` asks for more examples than `make test` waits for.
settings.register_profile("headwater", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1_000)
settings.load_profile("headwater")

pytest_plugins = ["headwater.testing.stack"]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A shell starts what runs in its background with Ctrl-C ignored, for all its children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def parsed_again() -> Iterator[None]:
    """CPython miscounts the depth of a parse in which another one happens (gh-106905).

    A collection within it does that: what is told of an object that goes quotes its code. Those who
    look at their own code here, as hypothesis does, would fail once in some ten thousand tests.
    """
    parse = ast.parse

    def again(*source: Any, **options: Any) -> Any:
        try:
            return parse(*source, **options)
        except SystemError:
            return parse(*source, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ast, "parse", again)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where no bytecode is kept, each of some hundred processes would compile all code again."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    """A server of S3's protocol, for the session."""
    with ObjectServer() as server:
        yield server


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The location of a prefix in a new bucket; the environment leads to it."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid4().hex}"
    object_server.create(name)
    return f"s3://{name}/some/prefix"


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[PostgresServer]":
    """A Postgres, for the session."""
    from tests.adapters.postgres_server import PostgresServer  # noqa: PLC0415  # psycopg

    with PostgresServer() as server:
        yield server


@pytest.fixture
def catalogue_url(postgres_server: "PostgresServer", tmp_path: Path) -> Iterator[str]:
    """The URL of an Iceberg catalogue in a new database."""
    from headwater.adapters.directory import DirectoryFiles  # noqa: PLC0415  # see below
    from headwater.adapters.iceberg.catalogue import open_catalogue  # noqa: PLC0415  # pyiceberg

    url = postgres_server.database()
    yield url
    open_catalogue(DirectoryFiles(tmp_path), url).engine.dispose()


@pytest.fixture(scope="session")
def session_home(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the session's stack, for tests that pause or damage what is in it."""
    return tmp_path_factory.getbasetemp() / "stack0"
