"""The HTTP server: probes and metrics, bounded, and nothing of our inside shows."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from headwater import serve
from headwater.errors import ConfigurationError
from headwater.observe import Health, Metrics
from headwater.serve import server as server_module


@pytest.fixture
def health() -> Health:
    """A process that has just begun."""
    return Health()


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of one product."""
    return Metrics("flights.late")


@pytest.fixture
def server(health: Health, metrics: Metrics) -> Iterator[serve.Server]:
    """A running server on a free port."""
    with serve.start(health, metrics.registry, "127.0.0.1", 0) as running:
        yield running


def ask(server: serve.Server, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_probes_answer_by_status_and_say_why_not(server: serve.Server, health: Health) -> None:
    """200 and ok, or 503 and a reason per line."""
    assert ask(server, "/livez") == (200, "ok\n")
    assert ask(server, "/startupz") == (503, "starting\n")
    assert ask(server, "/readyz") == (503, "starting\nno assignment from the group\n")
    health.started()
    health.assigned()
    assert ask(server, "/readyz?verbose") == (200, "ok\n")


def test_metrics_are_served_as_prometheus_reads_them(
    server: serve.Server, metrics: Metrics
) -> None:
    """With help, type and the product's label."""
    metrics.counts(read={"in": 3}, written={}, codes={})
    status, body = ask(server, "/metrics")
    assert status == 200
    assert 'headwater_records_in_total{product="flights.late",topic="in"} 3.0' in body


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/livez%00"])
def test_other_paths_are_not_found(server: serve.Server, path: str) -> None:
    """Nothing else is served, and the path is not quoted back."""
    assert ask(server, path) == (404, "not found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "TRACE", "OPTIONS"])
def test_only_get_is_allowed(server: serve.Server, method: str) -> None:
    """Nobody can change anything here."""
    status, _ = ask(server, "/metrics", method)
    assert status == 405


def test_a_defect_shows_no_stack_trace(
    server: serve.Server, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets one line, and the server goes on."""

    def broken() -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr(metrics, "collect", broken)
    assert ask(server, "/metrics") == (500, "internal error; see the log\n")
    assert ask(server, "/livez") == (200, "ok\n")


def test_a_request_that_is_not_http_gets_one_line(server: serve.Server) -> None:
    """Without an echo of what was sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET <script> canary HTTP/1.1\r\n\r\n")
        answer = connection.recv(4096)
    assert b"400" in answer
    assert b"canary" not in answer


def test_a_request_that_drips_in_is_cut_off(
    health: Health, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is for the whole request, so a byte now and then does not extend it."""
    monkeypatch.setattr(server_module, "REQUEST_LIMIT_S", 0.3)
    enough = threading.Event()
    with (
        serve.start(health, metrics.registry, "127.0.0.1", 0) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection,
    ):

        def drip() -> None:
            while not enough.wait(0.05):
                try:
                    connection.send(b"a")
                except OSError:
                    return

        dripper = threading.Thread(target=drip)
        connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        dripper.start()
        try:
            answer = connection.recv(1)
        except ConnectionResetError:
            answer = b""
        finally:
            enough.set()
            dripper.join()
        assert answer == b""


def test_connections_beyond_the_bound_are_closed(
    server: serve.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle ones cost at most so many threads; the places come back."""
    monkeypatch.setattr(server_module, "REQUEST_LIMIT_S", 60)  # so that only the bound closes
    idle = [
        socket.create_connection(("127.0.0.1", server.port), timeout=10)
        for _ in range(server_module.MAX_CONNECTIONS)
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as beyond:
        assert beyond.recv(1) == b""
    for connection in idle:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        while connection.recv(4096):
            pass
        connection.close()
    assert ask(server, "/livez")[0] == 200


def test_a_taken_port_is_told_in_one_sentence(
    server: serve.Server, health: Health, metrics: Metrics
) -> None:
    """With the setting to change."""
    with pytest.raises(ConfigurationError, match=r"PORT_TAKEN.*metrics\.port") as caught:
        serve.start(health, metrics.registry, "127.0.0.1", server.port)
    assert caught.value.exit_code == 78


def test_a_stopped_server_listens_no_more(health: Health, metrics: Metrics) -> None:
    """Its port is free at once."""
    server = serve.start(health, metrics.registry, "127.0.0.1", 0)
    server.stop()
    serve.start(health, metrics.registry, "127.0.0.1", server.port).stop()
