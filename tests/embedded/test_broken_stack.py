"""Files of a stack that are not as we left them: one sentence, and nobody else is stopped."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.cli.main import main
from headwater.embedded import addresses, down, process, status
from headwater.embedded.home import Home
from headwater.errors import ConfigurationError

WHOLE = {"pid": 4711, "started": "boot/1", "port": 9092}
BROKEN = [
    "",
    "{",
    "[]",
    "{}",
    b"\xff\xfe",
    json.dumps(WHOLE | {"pid": "4711"}),
    json.dumps(WHOLE | {"pid": -1}),
    json.dumps(WHOLE | {"pid": 0}),
    json.dumps(WHOLE | {"pid": 1}),
    json.dumps(WHOLE | {"started": ""}),
    json.dumps({"pid": 4711}),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty `.headwater/` in the working directory."""
    monkeypatch.chdir(tmp_path)
    home = Home.within(tmp_path)
    home.root.mkdir()
    return home


@pytest.fixture
def registry(home: Home) -> Iterator[process.Record]:
    """A process that runs in the place of the registry."""
    path = home.record_path("registry")
    process.spawn(
        ["/bin/sleep", "600"], record=path, port=2, log=home.root / "log", env=dict(os.environ)
    )
    assert process.wait_until(lambda: home.running("registry") is not None, 60)
    record = home.running("registry")
    assert record is not None
    yield record
    process.stop(record)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["headwater", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize("text", BROKEN, ids=str)
def test_a_record_that_names_no_process_is_told(home: Home, text: str | bytes) -> None:
    """With the file, and what to do; a number that means many processes is none."""
    path = home.record_path("kafka")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for question in (addresses, status, down):
        with pytest.raises(ConfigurationError, match="does not name a process") as caught:
            question(home.root.parent)
        assert [problem.code for problem in caught.value.problems] == ["STACK_BROKEN"]
        assert str(path) in str(caught.value)


def test_down_stops_what_can_be_identified(home: Home, registry: process.Record) -> None:
    """A broken record of one service does not keep the other running."""
    home.record_path("kafka").write_text("{")
    with pytest.raises(ConfigurationError, match=r"kafka\.json"):
        down(home.root.parent)
    assert not process.is_running(registry)


@pytest.mark.parametrize("command", ["status", "down", "up"])
def test_a_file_in_the_place_of_the_folder_is_told(
    home: Home,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command of the stack says so, without a word about a defect."""
    home.root.rmdir()
    home.root.write_text("mine")
    monkeypatch.setattr("headwater.embedded.stack.install", lambda _: None)
    assert run(monkeypatch, "dev", command) == 78
    assert capsys.readouterr().err.startswith(f"STACK_BROKEN: {home.root}")
    assert home.root.read_text() == "mine"


def test_down_says_what_it_stopped_and_when_there_was_nothing(
    home: Home,
    registry: process.Record,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In words, and for programs."""
    del registry
    assert run(monkeypatch, "dev", "down") == 0
    assert capsys.readouterr().err == "stopped registry; the data stay in .headwater/\n"
    assert run(monkeypatch, "dev", "down") == 0
    assert capsys.readouterr().err == "nothing runs here\n"
    assert run(monkeypatch, "dev", "down", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": []}
