"""Child processes: known from their first moment, and never mistaken for another."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from headwater.embedded import process

SLEEP: Final = ["/bin/sleep", "600"]
LONGEST_S: Final = 60.0  # of what takes milliseconds, on a crowded machine


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[process.Record]:
    """The record of a running child that does nothing."""
    record = spawn(tmp_path, SLEEP)
    yield record
    process.stop(record)


def spawn(directory: Path, command: list[str]) -> process.Record:
    """Start `command` and wait for the record it writes."""
    path = directory / "child.json"
    pid = process.spawn(
        command, record=path, port=4711, log=directory / "child.log", env=dict(os.environ)
    )
    assert process.wait_until(path.exists, LONGEST_S)
    record = process.read_record(path)
    assert record is not None
    assert (record.pid, record.port) == (pid, 4711)
    return record


def test_a_stopped_child_is_gone(sleeper: process.Record) -> None:
    """`stop` returns when the process has ended."""
    assert process.is_running(sleeper)
    process.stop(sleeper)
    assert not process.is_running(sleeper)


def test_a_child_that_ignores_the_polite_signal_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stop` does not depend on the goodwill of the process."""
    monkeypatch.setattr(process, "STOP_S", 0.2)
    ready = tmp_path / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do read line < /dev/zero; done"
    record = spawn(tmp_path, ["/bin/sh", "-c", script])
    assert process.wait_until(ready.exists, LONGEST_S)
    process.stop(record)
    assert not process.is_running(record)


def test_a_child_killed_from_outside_counts_as_ended(sleeper: process.Record) -> None:
    """An ended child that nobody collected yet is not taken for a running one."""
    os.kill(sleeper.pid, signal.SIGKILL)
    assert process.wait_until(lambda: not process.is_running(sleeper), LONGEST_S)


def test_a_recycled_pid_is_never_touched(sleeper: process.Record) -> None:
    """A record whose start time differs from that of the process with its pid is dead."""
    older = replace(sleeper, started="an earlier life of this pid")
    process.stop(older)
    assert process.is_running(sleeper)


def test_the_pid_of_another_child_keeps_its_exit_status(tmp_path: Path) -> None:
    """Asking about a stale record does not steal the result of a child that is not ours."""
    with subprocess.Popen(["/bin/sh", "-c", "exit 7"]) as other:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        stale = process.Record(pid=other.pid, started="long ago", port=1)
        assert not process.is_running(stale)
        assert other.wait(LONGEST_S) == 7


def test_both_ways_to_read_a_start_time_tell_processes_apart(
    sleeper: process.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /proc the answer comes from ps, and it is another word for the same start."""
    monkeypatch.setattr(process, "_PROC", Path("/nonexistent"))
    if not Path("/bin/ps").exists():
        pytest.skip("no ps on this machine")
    by_ps = process._state_and_start(sleeper.pid)[1]
    assert by_ps
    assert not process.is_running(sleeper)  # the record was written by way of /proc
    assert process.is_running(replace(sleeper, started=by_ps))


def test_no_record_means_nothing_was_started(tmp_path: Path) -> None:
    """A missing record is an answer, not an error."""
    assert process.read_record(tmp_path / "none.json") is None
