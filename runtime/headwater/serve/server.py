"""The HTTP server of one process: /metrics for scrapers, three probes. Reads only, GET only."""

import io
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from headwater.errors import ConfigurationError, Problem
from headwater.observe import Health, Verdict, get_logger

REQUEST_LIMIT_S: Final = 5.0  # a probe's whole request fits in one packet; the rest is an attack
MAX_CONNECTIONS: Final = 16  # a scraper and a few probes; each costs a thread
STOP_CHECK_S: Final = 0.1  # how long a stop may go unnoticed; costs one select each
PLAIN: Final = "text/plain; charset=utf-8"
PROBES: Final = ("/livez", "/readyz", "/startupz")
OK_LINE: Final = "ok"  # the body of a probe that has nothing to say

log = get_logger("serve")


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the client."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN


Route = Callable[[str], Reply]
"""Answers a request; its argument is the Accept header."""


class Server:
    """A running server. `port` is the one it listens on, 0 for a Unix socket."""

    def __init__(self, http: ThreadingHTTPServer) -> None:
        self._http = http
        is_unix = http.address_family == socket.AF_UNIX
        self.port: int = 0 if is_unix else http.server_address[1]
        self._thread = threading.Thread(
            target=http.serve_forever, args=(STOP_CHECK_S,), name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; returns when nothing listens any more."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def start(health: Health, registry: CollectorRegistry, host: str, port: int) -> Server:
    """Serve /metrics, /livez, /readyz and /startupz; port 0 takes a free one.

    A host that begins with a slash is the path of a Unix socket to make, without a port.
    Raises ConfigurationError (PORT_TAKEN) when the address cannot be listened on.
    """
    verdicts = (health.livez, health.readyz, health.startupz)
    routes = {path: _probing(verdict) for path, verdict in zip(PROBES, verdicts, strict=True)}
    return listen({"/metrics": lambda accept: metrics(registry, accept), **routes}, host, port)


def listen(routes: Mapping[str, Route], host: str, port: int) -> Server:
    """Serve these routes; see `start`."""
    try:
        return Server(_Http((host, port), routes))
    except OSError as error:
        message = (
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "set metrics.port to another port, or to 0 for a free one"
        )
        raise ConfigurationError([Problem("PORT_TAKEN", message)]) from error


def _probing(verdict: Callable[[], Verdict]) -> Route:
    return lambda _accept: probe(verdict())


def probe(verdict: Verdict) -> Reply:
    """200 or 503, with a line for each reason and note."""
    status = HTTPStatus.OK if verdict.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
    lines = (*(verdict.reasons or (OK_LINE,)), *verdict.notes)
    return Reply(status, "".join(f"{line}\n" for line in lines).encode())


def metrics(registry: CollectorRegistry, accept: str) -> Reply:
    """What is in the registry now, in the format that the client accepts."""
    encode, content_type = choose_encoder(accept)
    return Reply(HTTPStatus.OK, encode(registry), content_type)


class _Http(ThreadingHTTPServer):
    """Bounds the connections served at once; the rest is closed at the door."""

    daemon_threads = True
    block_on_close = False  # a slow client must not hold up a drain
    request_queue_size = MAX_CONNECTIONS  # the default of 5 delays a burst by a second

    def __init__(self, address: tuple[str, int], routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        host, _ = address
        if host.startswith("/"):
            self.address_family = socket.AF_UNIX
            super().__init__(host, _Handler)  # type: ignore[arg-type]  # a path, for this family
            return
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service for our own name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        if self.address_family == socket.AF_UNIX:
            return
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is a place for it."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve, and give the place back before the client sees the end."""
        try:
            super().finish_request(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # theirs
        """A client went away, or we have a defect: one line, never a stack trace to a client."""
        log.warning("serve.request_failed", exc_info=True)  # noqa: LOG014  # called while handling


class _Handler(BaseHTTPRequestHandler):
    """Answers one request and closes."""

    server: _Http
    server_version = "headwater"
    sys_version = ""  # which Python we run is nobody's business
    timeout = REQUEST_LIMIT_S

    def setup(self) -> None:
        """Read with one deadline for the whole request, however slowly it drips in."""
        super().setup()
        self.rfile = io.BufferedReader(_Deadline(self.connection, REQUEST_LIMIT_S))

    def do_GET(self) -> None:
        """Answer a known path; 404 otherwise."""
        route = self.server.routes.get(urlsplit(self.path).path)
        if route is None:
            self._send(Reply(HTTPStatus.NOT_FOUND, b"not found\n"))
            return
        self._send(self._answered(route))

    def _answered(self, route: Route) -> Reply:
        try:
            return route(self.headers.get("Accept", ""))
        except Exception:  # the client gets an answer whatever broke, the log the place
            log.exception("serve.route_failed", path=urlsplit(self.path).path)
            return Reply(HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error; see the log\n")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of the protocol (400, 414, 501 ...) as one plain line that quotes nothing."""
        del message, explain
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else code
        self.close_connection = True
        self._send(Reply(HTTPStatus(status), f"{HTTPStatus(status).phrase.lower()}\n".encode()))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        if reply.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # their name
        """Requests of probes are no news."""


class _Deadline(io.RawIOBase):
    """Reads a socket until a moment, not until a pause."""

    def __init__(self, connection: socket.socket, limit_s: float) -> None:
        self._connection = connection
        self._until_s = time.monotonic() + limit_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)
