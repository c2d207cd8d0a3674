"""What `headwater run` decides before and after the loop."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.testing.conftest import Project

from headwater.adapters.memory import MemoryBroker, MemoryTopics
from headwater.assembly.project import load_product
from headwater.assembly.running import BrokenRule, Summary
from headwater.assembly.workers import require_work
from headwater.cli import running as command
from headwater.cli.main import main
from headwater.config import Settings, load_settings
from headwater.errors import StartRefusedError
from headwater.ports import TopicSettings

Started = list[Mapping[str, tuple[Sequence[str], Mapping[str, str]]]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two products, in the current directory; the addresses are somebody else's concern."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "begin", load_settings)
    project = Project(tmp_path)
    project.passing("shop.a")
    project.passing("shop.b")
    return project


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The children that were started."""
    children: Started = []

    class Recorder:
        def __init__(self, commands: Mapping[str, Any], attendants: Mapping[str, Any]) -> None:
            self._commands, self._attendants = commands, attendants

        def run(self) -> None:
            children.append(self._commands)
            if self._attendants:
                children.append(self._attendants)

    monkeypatch.setattr(command, "Supervisor", Recorder)
    return children


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["headwater", "run", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_nothing_starts_while_one_product_is_wrong(
    project: Project,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The mistakes of all are told at once, and no child begins."""
    project.product("shop.bad", "1 / 0\n")
    project.product("shop.worse", "product.publish(3, contract=0)\n")
    assert run(monkeypatch, "shop.a", "shop.bad", "shop.worse") == 78
    told = capsys.readouterr().err
    assert "products/shop/bad/product.py:5: PRODUCT_RAISED" in told
    assert "products/shop/worse/product.py:5: INVALID_VALUE" in told
    assert started == []


def test_a_product_named_twice_runs_once(
    project: Project, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, its folder and its file; every child has the options of the command."""
    monkeypatch.setenv("HEADWATER_METRICS__PORT", "9000")
    names = ("shop.a", "products/shop/a", "shop.b", "products/shop/b/product.py")
    assert run(monkeypatch, "--until-end", *names, "--start", "latest") == 0
    shared = ["run", "--until-end", "--start", "latest", "--format", "text", "--"]
    assert started == [
        {
            "shop.a": ([*shared, "shop.a"], {"HEADWATER_METRICS__PORT": "9000"}),
            "shop.b": ([*shared, "shop.b"], {"HEADWATER_METRICS__PORT": "9001"}),
        }
    ]


def test_workers_are_children_with_a_number_and_one_address(
    project: Project, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child per product and worker; a worker listens where only the parent asks."""
    ports = []

    @contextmanager
    def gathered(
        _loaded: object, count: int, _settings: object, port: int
    ) -> Iterator[list[Mapping[str, str]]]:
        ports.append(port)
        yield [{"number": str(number)} for number in range(count)]

    monkeypatch.setattr(command, "gathered", gathered)
    monkeypatch.setenv("HEADWATER_METRICS__PORT", "9000")
    assert run(monkeypatch, "shop.a", "shop.b", "--workers", "2") == 0
    assert ports == [9000, 9001]
    assert started == [
        {
            f"{product} worker {number}": (
                ["run", "--format", "text", "--", product],
                {"number": str(number)},
            )
            for product in ("shop.a", "shop.b")
            for number in range(2)
        }
    ]


@pytest.fixture
def with_policy(project: Project) -> Project:
    """Both products declare snapshots."""
    for name in ("a", "b"):
        file = project.root / "products/shop" / name / "product.py"
        text = file.read_text().replace("import DataProduct", "import DataProduct, Snapshot")
        policy = ', snapshot=Snapshot(every="90s"))'
        file.write_text(
            text.replace('owner="shop@example.com")', f'owner="shop@example.com"{policy}')
        )
    return project


def test_snapshots_are_taken_by_children_of_their_own_with_ports_of_their_own(
    with_policy: Project, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each product, behind all products, as often as it is declared."""
    monkeypatch.setenv("HEADWATER_METRICS__PORT", "9000")
    assert run(monkeypatch, "shop.a", "shop.b", "--with-snapshots") == 0
    taking = ["snapshot", "--every", "declared", "--format", "text", "--"]
    assert started[1] == {
        "shop.a snapshots": ([*taking, "shop.a"], {"HEADWATER_METRICS__PORT": "9002"}),
        "shop.b snapshots": ([*taking, "shop.b"], {"HEADWATER_METRICS__PORT": "9003"}),
    }


def test_snapshots_of_one_product_share_no_address_with_it(
    with_policy: Project, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a Unix socket; a port of 0 is a free one for each."""
    assert run(monkeypatch, "shop.a", "--with-snapshots") == 0
    monkeypatch.setenv("HEADWATER_METRICS__HOST", "/run/a")
    assert run(monkeypatch, "shop.a", "--with-snapshots") == 0
    free, socket = (started[place]["shop.a snapshots"][1] for place in (1, 3))
    assert free == {}
    assert socket == {"HEADWATER_METRICS__HOST": "/run/a.shop.a.snapshots"}


def test_snapshots_that_nobody_declared_or_that_would_not_end_are_refused(
    project: Project,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything runs, and with what to write instead."""
    assert run(monkeypatch, "shop.a", "--with-snapshots") == 78
    assert "NO_SNAPSHOT_POLICY: shop.a declares no snapshots" in capsys.readouterr().err
    assert run(monkeypatch, "shop.a", "--with-snapshots", "--until-end") == 78
    assert "USAGE: --with-snapshots goes on with the run" in capsys.readouterr().err
    assert started == []


def test_workers_that_would_have_no_partition_are_refused(project: Project) -> None:
    """With both numbers; an input that does not exist is for the start to tell."""
    topics = MemoryTopics(MemoryBroker())
    loaded = load_product("shop.a")
    require_work(loaded, 4, topics)
    topics.create([TopicSettings("shop.orders", 3, "log")])
    require_work(loaded, 3, topics)
    with pytest.raises(StartRefusedError, match=r"--workers 4, and shop\.orders has 3 ") as caught:
        require_work(loaded, 4, topics)
    assert (caught.value.code, caught.value.exit_code) == ("TOO_MANY_WORKERS", 78)


def test_one_product_named_twice_needs_no_children(
    project: Project,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It runs in the process of the command."""
    monkeypatch.setattr(command, "run_product", ended)
    assert run(monkeypatch, "shop.a", "products/shop/a") == 0
    assert capsys.readouterr().out.startswith("shop.a: read 0")
    assert started == []


@pytest.mark.parametrize(("was_stopped", "until_end"), [(True, True), (False, True), (True, False)])
def test_a_run_that_was_stopped_before_its_end_says_so(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    was_stopped: bool,
    until_end: bool,
) -> None:
    """In words and as JSON; without an end to reach there is nothing to say."""
    monkeypatch.setattr(
        command, "run_product", lambda *_: Summary("shop.a", was_stopped=was_stopped)
    )
    arguments = ["shop.a", *(["--until-end"] if until_end else [])]
    assert run(monkeypatch, *arguments) == 0
    assert ("stopped before the end" in capsys.readouterr().out) is (was_stopped and until_end)
    assert run(monkeypatch, *arguments, "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stopped_before_the_end"] is (was_stopped and until_end)


def test_the_summary_names_the_rules_that_were_broken(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With severity and count, the most often broken first; nothing where none was."""
    summary = Summary("shop.a", read=9)
    summary.rules.update({BrokenRule("shop.in", "early", "warn"): 1})
    summary.rules.update({BrokenRule("shop.a", "calm", "reject"): 1_200})
    monkeypatch.setattr(command, "run_product", lambda *_: summary)
    assert run(monkeypatch, "shop.a") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  1,200 records broke the rule calm of shop.a (reject)",
        "  1 record broke the rule early of shop.in (warn)",
    ]
    assert run(monkeypatch, "shop.a", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["rules"] == [
        {"topic": "shop.a", "rule": "calm", "severity": "reject", "records": 1_200},
        {"topic": "shop.in", "rule": "early", "severity": "warn", "records": 1},
    ]
    monkeypatch.setattr(command, "run_product", ended)
    assert run(monkeypatch, "shop.a") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def ended(loaded: Any, settings: Settings, *_: object) -> Summary:
    """A run that had nothing to do."""
    return Summary(loaded.name)
