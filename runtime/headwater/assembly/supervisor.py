"""Products and workers on one machine: a child process each, watched by a parent that runs none.

Children are spawned, never forked: librdkafka does not survive a fork. A child's failure drains the
others, and the parent exits with that child's code: the others' follow from it. Nothing is started
again here: whoever supervises machines does that, with the back-off it was told.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from headwater.errors import FatalError
from headwater.observe.logs import get_logger

SUPERVISOR: Final = "_HEADWATER_SUPERVISOR"  # in a child's environment: the pid it answers to
UNHEARD: Final = (-signal.SIGTERM, 128 + signal.SIGINT)  # how a child ends that was not ready
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = get_logger("supervisor")

Command = tuple[Sequence[str], Mapping[str, str]]
"""Arguments of `headwater`, and environment variables laid over ours."""


class Supervisor:
    """Runs one command per name until all have ended."""

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._is_draining = False
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def run(self) -> None:
        """Start the children and wait for them.

        Raises FatalError with the exit code of the first child that failed.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            for name, (arguments, environment) in self._commands.items():
                self._start(name, arguments, environment)
            failed = self._wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if failed is not None:
            name, code = failed
            raise ChildFailedError(name, code)

    def drain(self) -> None:
        """Ask every child to finish what it holds and exit."""
        self._is_draining = True
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)

    def _start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        child = subprocess.Popen(
            [sys.executable, "-m", "headwater", *arguments],
            env={**os.environ, SUPERVISOR: str(os.getpid()), **environment},
        )
        self._children[name] = child
        threading.Thread(target=self._watch, args=(name, child), daemon=True).start()

    def _watch(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        code = child.wait()
        self._ended.put((name, code))

    def _wait(self) -> tuple[str, int] | None:
        failed: tuple[str, int] | None = None
        for _ in self._children:
            name, code = self._ended.get()
            log.info("supervisor.child_ended", child=name, exit_code=code)
            if self._is_draining and code in UNHEARD:
                continue  # it was asked before it could listen: it had not begun
            if code != 0 and failed is None:
                failed = (name, code)
                self.drain()
        return failed

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.drain()


class ChildFailedError(FatalError):
    """A product, or one of its workers, failed; the others were drained."""

    code = "PRODUCT_FAILED"

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(
            f"{name} ended with exit code {exit_code}, see its message above; "
            "the others were drained"
        )
        # a child killed by signal n counts as 128 + n, as shells have it
        self.exit_code = exit_code if exit_code > 0 else 128 - exit_code  # type: ignore[misc]  # of its class else
