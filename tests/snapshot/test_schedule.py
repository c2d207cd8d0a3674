"""The role of snapshots: turns, trouble that passes and that does not, metrics, the end."""

import http.client
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.snapshot.lake import FIELDS, contract

from headwater.assembly import snapshot_schedule
from headwater.assembly.snapshot_schedule import Schedule, Told
from headwater.assembly.supervisor import SUPERVISOR
from headwater.clock import ManualClock
from headwater.config import Settings
from headwater.contract import Contract
from headwater.errors import (
    HeadwaterError,
    OvertakenError,
    StartRefusedError,
    UnavailableError,
)
from headwater.observe.health import Health
from headwater.serve import start
from headwater.serve.server import Server
from headwater.snapshot.verdict import Difference, Verdict
from headwater.snapshot.writer import Progress, Taken

CONTRACT = contract(FIELDS)
EQUAL = Verdict(0, "id", 1, 10, 0, 0, (), 0, ())
DIFFERENT = Verdict(0, "id", 1, 10, 0, 0, (Difference("missing", 0, 7),), 1, ())


class Shelf:
    """Snapshots of two outputs, of which each may be in trouble."""

    product = "shop.orders"

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.contracts: Mapping[str, Contract] = {"shop.orders": CONTRACT, "shop.returns": CONTRACT}
        self.taken: list[str] = []
        self.announced: list[str] = []
        self.verified: list[str] = []
        self.troubles: dict[str, HeadwaterError] = {}
        self.while_taking: Callable[[], None] = lambda: None
        self.verdict = EQUAL

    def take(self, topic: str, progress: Progress) -> Taken:
        self._fail("take", topic)
        self.while_taking()
        progress(1, 2)
        self.clock.advance(2)
        self.taken.append(topic)
        is_first = self.taken.count(topic) == 1
        return Taken("/here", 1 if is_first else None, 1, 10, 10, {0: 10})

    def announce(self, topic: str) -> int:
        self._fail("announce", topic)
        self.announced.append(topic)
        return 1

    def storage(self, topic: str) -> tuple[int, int]:
        return 3, 4_096

    def open_letters(self, progress: Progress) -> int:
        self._fail("count", "")
        return 5

    def verify(self, topic: str, progress: Progress, *, full: bool) -> Verdict:
        self._fail("verify", topic)
        self.verified.append(topic)
        return self.verdict

    def _fail(self, doing: str, topic: str) -> None:
        if error := self.troubles.get(f"{doing} {topic}".strip()):
            raise error


class Role:
    """A schedule, and what was told of it."""

    def __init__(self, verify_every_s: float | None = None) -> None:
        self.clock = ManualClock(at_s=1_000)
        self.shelf = Shelf(self.clock)
        self.taken: list[str] = []
        self.troubles: list[str] = []
        self.schedule = Schedule(
            self.shelf,
            900,
            Told(
                lambda topic, _: self.taken.append(topic),
                lambda error: self.troubles.append(error.code),
            ),
            verify_every_s=verify_every_s,
            clock=self.clock,
        )

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of the role's metrics."""
        registry = self.schedule.metrics.registry
        return registry.get_sample_value(f"headwater_{name}", {"product": "shop.orders", **labels})


def test_a_turn_takes_and_announces_every_output_and_tells_the_metrics() -> None:
    """Rows, files, bytes and duration by topic, and the dead letters from before the cut."""
    role = Role()
    role.schedule.turn()
    assert role.taken == role.shelf.announced == ["shop.orders", "shop.returns"]
    assert role.troubles == []
    for name, expected in {
        "rows": 10,
        "files": 3,
        "bytes": 4_096,
        "duration_seconds": 2,
        "cut_age_seconds": 4,
    }.items():
        assert role.metric(f"snapshot_{name}", topic="shop.orders") == expected
    assert role.metric("snapshot_open_letters") == 5
    assert role.metric("waiting") == 0


@pytest.mark.parametrize(
    "error",
    [
        OvertakenError("another"),
        UnavailableError("away"),
        StartRefusedError("it has not run yet", code="TOPIC_MISSING"),
    ],
)
def test_trouble_with_one_output_passes_and_holds_no_other_up(error: HeadwaterError) -> None:
    """It is told, the metric says so until the next turn, and that begins anew."""
    role = Role()
    role.shelf.troubles["take shop.orders"] = error
    role.schedule.turn()
    assert role.taken == ["shop.returns"]
    assert role.troubles == [error.code]
    assert role.metric("waiting") == 1
    assert role.schedule.pause_s == 60
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.taken == ["shop.returns", "shop.orders", "shop.returns"]
    assert role.metric("waiting") == 0
    assert role.schedule.pause_s == 900


def test_a_notice_that_is_refused_undoes_no_snapshot() -> None:
    """Whatever refuses it, forever or not: the commit stands, and the next turn announces it."""
    role = Role()
    refused = StartRefusedError("no such topic", code="NOTICES_TOPIC")
    role.shelf.troubles["announce shop.orders"] = refused
    role.schedule.turn()
    assert (role.taken, role.troubles) == (["shop.orders", "shop.returns"], ["NOTICES_TOPIC"])
    assert role.metric("waiting") == 0
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.shelf.announced == ["shop.returns", "shop.orders", "shop.returns"]


def test_what_does_not_pass_ends_the_role() -> None:
    """Whoever started it is told by the exit code."""
    role = Role()
    role.shelf.troubles["take shop.orders"] = StartRefusedError("gone", code="RANGE_LOST")
    with pytest.raises(StartRefusedError, match="gone"):
        role.schedule.turn()


def test_table_and_log_are_compared_so_often_and_a_difference_is_told() -> None:
    """After the first turn, then when it is due; the metrics keep what was found."""
    role = Role(verify_every_s=100)
    role.schedule.turn()
    role.schedule.turn()
    assert role.shelf.verified == ["shop.orders", "shop.returns"]
    role.shelf.verdict = DIFFERENT
    role.clock.advance(100)
    role.schedule.turn()
    assert role.shelf.verified == ["shop.orders", "shop.returns"] * 2
    assert role.troubles == ["DIFFERENT", "DIFFERENT"]
    labels = {"topic": "shop.orders"}
    assert role.metric("snapshot_check_age_seconds", **labels) == 0
    assert role.metric("snapshot_check_outcome", **labels, outcome="different") == 1
    assert role.metric("snapshot_check_outcome", **labels, outcome="equal") == 0


def test_a_comparison_that_could_not_be_made_is_due_again() -> None:
    """The age of the last one tells."""
    role = Role(verify_every_s=100)
    role.shelf.troubles["verify shop.orders"] = UnavailableError("away")
    role.schedule.turn()
    assert role.metric("snapshot_check_age_seconds", topic="shop.orders") is None
    role.shelf.troubles.clear()
    role.schedule.turn()
    assert role.shelf.verified == ["shop.orders", "shop.returns"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Probes and metrics on a free port."""
    return Settings.from_tables({"kafka": {}, "registry": {}})


def test_a_stop_signal_leaves_what_is_not_committed(settings: Settings) -> None:
    """At once, in mid-read: the next start reads it again."""
    role = Role()
    role.shelf.while_taking = lambda: signal.raise_signal(signal.SIGTERM)
    role.schedule.run(settings)
    assert (role.taken, role.troubles) == ([], [])


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
    told = Told(lambda topic, _: orphan(), lambda error: None)
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
    told = Told(lambda topic, _: role.taken.append(topic), ask)
    role.schedule = Schedule(role.shelf, 0.01, told)
    role.schedule.run(settings)
    assert answers["/readyz"] == (503, "waiting: UNAVAILABLE\n")
    assert answers["/livez"][0] == 200
    assert (
        'headwater_snapshot_rows{product="shop.orders",topic="shop.orders"} 10.0'
        in (answers["/metrics"][1])
    )


def _get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
