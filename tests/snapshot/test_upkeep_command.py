"""Upkeep behind `headwater snapshot`: what the command says of it, without a broker."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.snapshot.lake import FIELDS, contract
from tests.snapshot.test_stats_commands import run

from headwater.cli import snapshot
from headwater.errors import DamagedError, HeadwaterError, UnavailableError
from headwater.ports import Swept
from headwater.snapshot.upkeep import Upkept
from headwater.snapshot.writer import Taken

ORDERS = "shop.orders"
DONE = Upkept(79, 3, Swept(68, 300_000))


class Site:
    """Snapshots of one output, whose steps are told and may fail."""

    def __init__(self) -> None:
        self.contracts = {ORDERS: contract(FIELDS)}
        self.steps: list[str] = []
        self.troubles: dict[str, HeadwaterError] = {}
        self.upkept: Upkept | None = None

    def take(self, topic: str, _progress: object) -> Taken:
        """One commit."""
        self._step("take")
        return Taken("/here", 1, 1, 10, 10, {0: 10})

    def announce(self, _topic: str) -> int:
        """Its notice."""
        self._step("announce")
        return 1

    def keep_up(self, _topic: str, beat: Callable[[], object]) -> Upkept | None:
        """The upkeep, if it is due."""
        self._step("keep up")
        return self.upkept

    def close(self) -> None:
        """Nothing is held."""

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if error := self.troubles.get(name):
            raise error


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """A product whose snapshots are these."""
    site = Site()
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {
        "load_product": lambda _name: SimpleNamespace(name=ORDERS),
        "begin": lambda: None,
        "limit_arenas": lambda: None,
        "Snapshots": lambda *_given: site,
    }
    for name, made in given.items():
        monkeypatch.setattr(snapshot, name, made)
    return site


def test_upkeep_comes_behind_the_notice_and_is_told_on_a_line_of_its_own(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is told where it was not due; as JSON it is an object of its own."""
    assert run(monkeypatch, "snapshot", ORDERS) == 0
    assert site.steps == ["take", "announce", "keep up"]
    (line,) = capsys.readouterr().out.splitlines()
    site.upkept = DONE
    assert run(monkeypatch, "snapshot", ORDERS) == 0
    assert capsys.readouterr().out.splitlines() == [
        line,
        "shop.orders: 79 files merged into 3; 68 files that nobody needs removed, 0.3 MB",
    ]
    assert run(monkeypatch, "snapshot", ORDERS, "--format", "json") == 0
    taken, upkept = map(json.loads, capsys.readouterr().out.splitlines())
    assert taken["rows"] == 10
    assert upkept == {
        "product": ORDERS,
        "topic": ORDERS,
        "upkeep": {"merged": 79, "into": 3, "swept": {"files": 68, "bytes": 300_000}},
    }


@pytest.mark.parametrize("step", ["announce", "keep up"])
@pytest.mark.parametrize("error", [DamagedError("a byte is wrong"), UnavailableError("away")])
def test_a_notice_or_an_upkeep_that_fails_is_a_warning(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
    error: HeadwaterError,
) -> None:
    """The snapshot stands and was told, so the command did what it is for: exit code 0."""
    site.troubles[step] = error
    assert run(monkeypatch, "snapshot", ORDERS) == 0
    told = capsys.readouterr()
    assert told.out.startswith("shop.orders: 10 rows taken")
    assert error.code in told.err
    assert site.steps == ["take", "announce", "keep up"]
