"""A stack that lives as long as a block of code, or the process that runs it, whichever is shorter.

The guard is a process of its own that waits for the end of its standard input. The kernel closes
that pipe when we end in whatever way, `kill -9` included, and then the guard stops the stack.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.embedded.artefacts import SILENT, Progress
from headwater.embedded.home import Home
from headwater.embedded.services import Broker, SchemaRegistry
from headwater.embedded.stack import Addresses, down, up

_PROGRAM = "import sys; from headwater.embedded.guard import watch; watch(sys.argv[1])"


@contextmanager
def temporary(directory: Path, *, progress: Progress = SILENT) -> Iterator[Addresses]:
    """A running stack in `directory`; afterwards it is stopped and its data, not its logs, deleted.

    Raises what `up` raises.
    """
    # in a session of its own: Ctrl-C in the terminal is for us, and the guard outlives it
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(directory)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ):  # leaving the block closes the pipe and waits for the guard
        yield up(directory, progress=progress)


def watch(directory: str) -> None:
    """Wait for the end of standard input, then end the stack and delete its data."""
    sys.stdin.buffer.read()
    down(Path(directory))
    home = Home.within(Path(directory))
    for kind in (Broker, SchemaRegistry):
        shutil.rmtree(home.data(kind.name), ignore_errors=True)
