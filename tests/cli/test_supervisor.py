"""The parent of several processes: one end for all, and nobody started again."""

import sys
from pathlib import Path

import pytest

from headwater.assembly.supervisor import ChildFailedError, Supervisor

CHILD = """\
#!/bin/sh
case $3 in
  wait) exec sleep 60 ;;
  done) exit 0 ;;
  fails) exit 65 ;;
  killed) kill -KILL $$ ;;
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
