"""The role of snapshots as a process: its end, its probes, its metrics."""

import http.client
import os
import signal
from collections.abc import Callable
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry
from tests.snapshot.test_schedule import Role

from headwater.assembly import snapshot_schedule
from headwater.assembly.snapshot_schedule import Schedule, Told
from headwater.assembly.supervisor import SUPERVISOR
from headwater.config import Settings
from headwater.errors import HeadwaterError, UnavailableError
from headwater.observe.health import Health
from headwater.serve import start
from headwater.serve.server import Server


@pytest.fixture
def settings() -> Settings:
    """Probes and metrics on a free port."""
    return Settings.from_tables({"kafka": {}, "registry": {}})


def test_a_stop_signal_leaves_what_is_not_committed(settings: Settings) -> None:
    """At once, in mid-read: the next start reads it again."""
    role = Role()
    role.shelf.while_taking = lambda: signal.raise_signal(signal.SIGTERM)
    role.schedule.run(settings)
    assert (role.taken, role.troubles) == ([], [])


def test_a_stop_signal_ends_an_upkeep_between_two_parts(settings: Settings) -> None:
    """Nobody waits for a merge of large files; the next start begins it again."""
    role = Role()

    def stopped(beat: Callable[[], object]) -> None:
        signal.raise_signal(signal.SIGTERM)
        beat()

    role.shelf.while_keeping_up = stopped
    role.schedule.run(settings)
    assert (role.shelf.announced, role.troubles) == (["shop.orders", "shop.returns"], [])
    assert (role.shelf.kept_up, role.upkept) == ([], [])


def test_a_role_whose_parent_was_killed_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody watches it any more; it finds out by itself, waiting or reading."""
    monkeypatch.setenv(SUPERVISOR, str(os.getppid()))
    role = Role()

    def orphan() -> None:
        monkeypatch.setenv(SUPERVISOR, "1")

    role.shelf.while_taking = orphan
    role.schedule.run(settings)
    assert role.taken == []
    monkeypatch.setenv(SUPERVISOR, str(os.getppid()))
    role.shelf.while_taking = lambda: None
    waiting = Role()
    told = Told(lambda topic, _: orphan(), lambda topic, _: None, lambda error: None)
    waiting.schedule = Schedule(waiting.shelf, 600, told)
    waiting.schedule.run(settings)
    assert waiting.shelf.taken == ["shop.orders"]


def test_probes_and_metrics_are_those_of_the_role(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for the storage is not ready, and alive; the figures are served beside it."""
    role, answers = Role(), dict[str, tuple[int, str]]()
    ports: list[int] = []

    def served(health: Health, registry: CollectorRegistry, host: str, port: int) -> Server:
        server = start(health, registry, host, port)
        ports.append(server.port)
        return server

    def ask(_error: HeadwaterError) -> None:
        if len(role.taken) == 2:  # in the second turn, behind a first one with trouble
            for path in ("/readyz", "/livez", "/metrics"):
                answers[path] = _get(ports[0], path)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(snapshot_schedule, "serve", served)
    role.shelf.troubles["take shop.returns"] = UnavailableError("away")
    told = Told(lambda topic, _: role.taken.append(topic), lambda topic, _: None, ask)
    role.schedule = Schedule(role.shelf, 0.01, told)
    role.schedule.run(settings)
    assert answers["/readyz"] == (503, "waiting: UNAVAILABLE\n")
    assert answers["/livez"][0] == 200
    assert (
        'headwater_snapshot_rows{product="shop.orders",topic="shop.orders"} 10.0'
        in (answers["/metrics"][1])
    )


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
