"""A registry that answers badly: the call ends in time and says what to do."""

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import UUID

import pytest

from headwater.adapters.registry import SchemaRegistry
from headwater.errors import (
    ConfigurationError,
    RegistrationRefusedError,
    UnavailableError,
    UnknownSchemaError,
)

Serve = Callable[[int, bytes], str]
CALLS: dict[str, Callable[[SchemaRegistry], object]] = {
    "schema": lambda registry: registry.schema(7),
    "register": lambda registry: registry.register("s", '"string"', compatibility="FULL"),
    "lookup": lambda registry: registry.lookup("s", '"string"'),
    "latest": lambda registry: registry.latest("s"),
    "guid": lambda registry: registry.schema(UUID(int=7)),
    "subjects": lambda registry: registry.subjects(7),
    "versions": lambda registry: registry.versions("s"),
    "compatibility": lambda registry: registry.compatibility("s"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


class Answer(BaseHTTPRequestHandler):
    status: int
    body: bytes

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Say nothing."""


def answering(answer: type[Answer], **attributes: object) -> type[Answer]:
    """A handler that gives its answer to every method."""
    methods = dict.fromkeys(("do_GET", "do_POST", "do_PUT"), answer.answer)
    return type("Answering", (answer,), {**methods, **attributes})


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that answers everything with one status and body; gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes) -> str:
        handler = answering(Answer, status=status, body=body)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@every_call
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (503, b'{"error_code":50301,"message":"later"}'),
        (429, b"slow down"),
        (401, b'{"error_code":40101,"message":"who are you"}'),
        (404, b"<html>no such page</html>"),
        (404, b'{"message":"no error code"}'),
        (200, b"<html>welcome</html>"),
        (200, b"[{}]"),
        (200, b"{}"),
    ],
)
def test_a_bad_answer_is_an_unavailable_registry(
    serve: Serve, call: Callable[[SchemaRegistry], object], status: int, body: bytes
) -> None:
    """Only the registry's own no is a no: everything else waits, and names the address."""
    url = serve(status, body)
    with pytest.raises(UnavailableError, match=url):
        call(SchemaRegistry({"url": url, "max.retries": "0"}))


@every_call
def test_a_refused_connection_is_an_unavailable_registry(
    call: Callable[[SchemaRegistry], object],
) -> None:
    """A stopped registry is told by its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}"):
        call(SchemaRegistry({"url": f"http://127.0.0.1:{port}"}))


def test_a_silent_registry_does_not_hold_us() -> None:
    """Two tries, each with its own limit; the client's default would wait for ever on the first."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(UnavailableError):
            SchemaRegistry({"url": f"http://127.0.0.1:{silent.getsockname()[1]}"}).schema(7)
        silent.setblocking(False)
        for _ in range(2):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_definite_no_is_an_unknown_schema(serve: Serve) -> None:
    """The registry's error code makes the difference to a wrong address."""
    url = serve(404, b'{"error_code":40403,"message":"Schema 7 not found."}')
    with pytest.raises(UnknownSchemaError, match="7"):
        SchemaRegistry({"url": url}).schema(7)


def test_a_schema_is_asked_for_once(serve: Serve) -> None:
    """A known id needs no registry any more."""
    url = serve(200, b'{"schema":"\\"string\\""}')
    registry = SchemaRegistry({"url": url})
    assert registry.schema(7) == '"string"'
    registry.close()
    assert registry.schema(7) == '"string"'


def test_a_refusal_shows_the_registrys_reasons(serve: Serve) -> None:
    """The reasons stand in the message, the exception's class of a Java server does not."""
    body = b'{"error_code":409,"message":"io.some.Rules: b at /fields/1"}'
    with pytest.raises(RegistrationRefusedError, match=r"s: b at /fields/1; ") as refusal:
        SchemaRegistry({"url": serve(409, body)}).register("s", '"int"', compatibility="FULL")
    assert "io.some" not in str(refusal.value)


def test_credentials_never_appear_in_messages() -> None:
    """An address in a message carries no user and no password."""
    with pytest.raises(UnavailableError) as error:
        SchemaRegistry({"url": "http://me:canary@127.0.0.1:1"}).schema(7)
    assert "canary" not in str(error.value)


def test_an_unknown_client_property_is_told() -> None:
    """A mistake in the settings is a mistake of the user's, with its name."""
    with pytest.raises(ConfigurationError, match=r"basic\.auth\.usr"):
        SchemaRegistry({"url": "http://127.0.0.1:1", "basic.auth.usr": "me"})


def test_basic_auth_reaches_the_registry() -> None:
    """Client properties pass through."""
    seen: list[str] = []

    class Remember(Answer):
        status, body = 200, b'{"schema":"\\"string\\""}'

        def answer(self) -> None:
            seen.append(self.headers["Authorization"])
            super().answer()

    with ThreadingHTTPServer(("127.0.0.1", 0), answering(Remember)) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        url = f"http://127.0.0.1:{server.server_port}"
        SchemaRegistry({"url": url, "basic.auth.user.info": "me:secret"}).schema(7)
        server.shutdown()
    assert seen == ["Basic bWU6c2VjcmV0"]
