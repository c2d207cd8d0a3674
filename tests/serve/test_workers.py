"""One address for several workers: their metrics told apart, their probes taken together."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.serve.test_server import ask

from headwater import serve
from headwater.observe import Health, Metrics
from headwater.serve import workers as workers_module


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket."""
    with TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture
def sockets(folder: Path) -> list[Path]:
    """Where two workers listen, or will."""
    return [folder / "0", folder / "1"]


@pytest.fixture
def server(sockets: list[Path]) -> Iterator[serve.Server]:
    """The address of both."""
    with serve.start_gathering(sockets, "127.0.0.1", 0) as running:
        yield running


@pytest.fixture
def started(sockets: list[Path]) -> Iterator[list[tuple[Health, Metrics]]]:
    """Both workers, listening."""
    with ExitStack() as serving:
        found = []
        for path in sockets:
            health, metrics = Health(), Metrics("flights.late")
            serving.enter_context(serve.start(health, metrics.registry, str(path), 0))
            found.append((health, metrics))
        yield found


def test_metrics_of_all_workers_come_with_their_number(
    server: serve.Server, started: list[tuple[Health, Metrics]]
) -> None:
    """One family each, whatever its kind; the same names as of a process that is alone."""
    for number, (_, metrics) in enumerate(started):
        metrics.counts(read={"in": number + 3}, written={}, codes={})
        metrics.batch("in", 0.002)
    status, text = ask(server, "/metrics")
    assert status == 200
    assert text.count("# TYPE headwater_records_in_total counter") == 1
    for number, records in enumerate((3.0, 4.0)):
        labels = f'worker="{number}",product="flights.late",topic="in"'
        assert f"headwater_records_in_total{{{_sorted(labels)}}} {records}" in text
        assert f"headwater_batch_duration_seconds_count{{{_sorted(labels)}}} 1.0" in text


def _sorted(labels: str) -> str:
    return ",".join(sorted(labels.split(",")))


def test_a_probe_is_passed_when_every_worker_passes(
    server: serve.Server, started: list[tuple[Health, Metrics]]
) -> None:
    """Who does not is named, with its reasons."""
    for health, _ in started:
        health.started()
        health.assigned()
    assert ask(server, "/readyz") == (200, "ok\n")
    started[1][0].draining()
    assert ask(server, "/readyz") == (503, "worker 1: draining\n")
    assert ask(server, "/livez") == (200, "ok\n")


def test_a_worker_that_does_not_listen_yet_is_alive_but_not_ready(server: serve.Server) -> None:
    """It loads its libraries; a restart would not help."""
    assert ask(server, "/livez")[0] == 200
    told = "worker 0: starting\nworker 1: starting\n"
    assert ask(server, "/startupz") == (503, told)
    assert ask(server, "/readyz") == (503, told)
    assert ask(server, "/metrics") == (200, "")


def test_a_worker_that_is_stuck_is_not_alive(
    server: serve.Server, sockets: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens and answers nothing; the metrics of the others still come."""
    monkeypatch.setattr(workers_module, "ANSWER_S", 1.0)  # the other one answers
    health, metrics = Health(), Metrics("flights.late")
    with (
        socket.socket(socket.AF_UNIX) as stuck,
        serve.start(health, metrics.registry, str(sockets[1]), 0),
    ):
        stuck.bind(str(sockets[0]))
        stuck.listen()
        assert ask(server, "/livez") == (503, "worker 0: does not answer\n")
        assert 'worker="1"' in ask(server, "/metrics")[1]
