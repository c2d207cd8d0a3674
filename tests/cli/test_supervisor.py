"""The parent of several processes: one end for all, and nobody started again."""

import os
import sys
from pathlib import Path

import pytest

from headwater.assembly.supervisor import (
    NICE,
    SUPERVISOR,
    ChildFailedError,
    Supervisor,
    is_orphaned,
)

CHILD = """\
#!/bin/sh
case $3 in
  wait) exec sleep 60 ;;
  done) exit 0 ;;
  fails) exit 65 ;;
  killed) kill -KILL $$ ;;
  until) while ! [ -s "$4" ]; do sleep 0.02; done ;;
  nice) until [ "$(nice)" -gt 0 ]; do sleep 0.02; done; nice > "$HEARD"; exec sleep 60 ;;
  told) trap "exit 0" TERM; echo $$ > "$4.new"; mv "$4.new" "$4"; while true; do sleep 0.02; done ;;
  stops)
    while ! [ -s "$4" ]; do sleep 0.02; done
    echo run >> "$HEARD"
    if [ "$(wc -l < "$HEARD")" -ge 2 ]; then kill "$(cat "$4")"; exec sleep 60; fi
    exit 70 ;;
esac
"""


@pytest.fixture(autouse=True)
def _children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that do what their one argument says."""
    script = tmp_path / "child"
    script.write_text(CHILD)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def _run(*what: str) -> None:
    Supervisor({f"a worker {place}": ([each], {}) for place, each in enumerate(what)}).run()


def test_all_are_waited_for() -> None:
    """When each is done, so is the parent."""
    _run("done", "done", "done")


@pytest.mark.parametrize(("what", "code"), [("fails", 65), ("killed", 137)])
def test_the_first_that_fails_drains_the_others_and_gives_the_exit_code(
    what: str, code: int
) -> None:
    """A signal counts as shells have it; those that were asked to stop did not fail."""
    with pytest.raises(ChildFailedError, match="a worker 1 ended with exit code") as caught:
        _run("wait", what, "done", "wait")
    assert caught.value.exit_code == code
    assert caught.value.code == "PRODUCT_FAILED"


def test_an_attendant_ends_after_the_last_that_it_attends(tmp_path: Path) -> None:
    """It is asked to, and its end is no failure; while it runs, it gives way on the processor."""
    heard = tmp_path / "heard"
    attendants = {"snapshots": (["nice"], {"HEARD": str(heard)})}
    Supervisor({"a worker": (["until", str(heard)], {})}, attendants).run()
    assert heard.read_text() == f"{NICE}\n"


def test_an_attendant_that_fails_ends_nobody_and_is_started_again(tmp_path: Path) -> None:
    """The worker goes on; what is begun twice by then stops it, so that this test ends."""
    heard, pid = tmp_path / "heard", tmp_path / "pid"
    attendants = {"snapshots": (["stops", str(pid)], {"HEARD": str(heard)})}
    Supervisor({"a worker": (["told", str(pid)], {})}, attendants, restart_s=0.05).run()
    assert heard.read_text() == "run\nrun\n"


def test_the_failure_of_a_worker_ends_its_attendant_too() -> None:
    """The exit code is that of the worker."""
    with pytest.raises(ChildFailedError) as caught:
        Supervisor({"a worker": (["fails"], {})}, {"snapshots": (["wait"], {})}).run()
    assert caught.value.exit_code == 65


def test_who_has_no_supervisor_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a child whose parent is another than the one that started it."""
    monkeypatch.delenv(SUPERVISOR, raising=False)
    assert not is_orphaned()
    monkeypatch.setenv(SUPERVISOR, str(os.getppid()))
    assert not is_orphaned()
    monkeypatch.setenv(SUPERVISOR, "1")
    assert is_orphaned()
