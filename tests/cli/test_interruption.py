"""Ctrl-C ends a command with one line and 130, at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from headwater.cli.interruption import Interrupted, keeping
from headwater.embedded.process import wait_until

IN_TIME_S: Final = 60.0  # the interpreter and its libraries, on a crowded machine
# It looks again and again: a signal just before a wait without end would not be heard.
SLOW_PRODUCT = """\
import time
from pathlib import Path
Path("loading").touch()
while True:
    time.sleep(0.02)
"""
INTERRUPTED_IMPORT = """\
import sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from headwater.__main__ import main
main()
"""


def test_a_command_at_work_is_interrupted_with_one_line(tmp_path: Path) -> None:
    """Ctrl-C wherever it is: no stack trace, exit 130."""
    file = tmp_path / "products" / "shop" / "slow" / "product.py"
    file.parent.mkdir(parents=True)
    file.write_text(SLOW_PRODUCT, encoding="utf-8")
    command = subprocess.Popen(
        [sys.executable, "-m", "headwater", "check"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_until((tmp_path / "loading").exists, IN_TIME_S)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=IN_TIME_S)
    assert (command.returncode, told) == (130, "Interrupted.\n")


def test_a_command_that_only_begins_is_interrupted_the_same_way() -> None:
    """Before the libraries are there, the one line is."""
    answer = run(INTERRUPTED_IMPORT)
    assert (answer.returncode, answer.stderr) == (130, "Interrupted.\n")


def test_the_entry_point_is_ready_before_anything_heavy() -> None:
    """No room is imported until Ctrl-C is taken care of."""
    program = "import sys, headwater.__main__; print([m for m in sys.modules if 'headwater' in m])"
    assert run(program).stdout.strip() == "['headwater', 'headwater.__main__']"


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A program of Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=IN_TIME_S,
        check=False,
    )


def test_what_is_kept_is_told_where_it_is_known() -> None:
    """The words of the block in which Ctrl-C came."""
    with pytest.raises(KeyboardInterrupt) as caught, keeping("the stack stays up"):
        raise KeyboardInterrupt
    assert str(Interrupted(*caught.value.args)) == "Interrupted; the stack stays up."
    assert str(Interrupted()) == "Interrupted."
