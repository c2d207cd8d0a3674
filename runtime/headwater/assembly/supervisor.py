"""Products and workers on one machine: a child process each, watched by a parent that runs none.

Children are spawned, never forked: librdkafka does not survive a fork. A child's failure drains the
others, and the parent exits with that child's code: the others' follow from it. Nothing is started
again here: whoever supervises machines does that, with the back-off it was told.

Attendants are children that the others do not need. They give way to them on the processor, and end
after the last of them. The failure of one ends nobody, so that nobody outside would start it again:
that happens here, after a while.
"""

import contextlib
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

NICE: Final = 5  # of 0 to 19: an attendant gets a third of what a worker gets where both want more
RESTART_S: Final = 60.0  # a start costs two seconds of a processor; what passes has passed by then

log = get_logger("supervisor")

Command = tuple[Sequence[str], Mapping[str, str]]
"""Arguments of `headwater`, and environment variables laid over ours."""
NO_COMMANDS: Final[Mapping[str, Command]] = {}


def is_orphaned() -> bool:
    """Whether this is a child whose supervisor was killed: nobody watches it any more."""
    supervisor = os.environ.get(SUPERVISOR)
    return supervisor is not None and str(os.getppid()) != supervisor


class Supervisor:
    """Runs one command per name until all have ended; `attendants` beside them."""

    def __init__(
        self,
        commands: Mapping[str, Command],
        attendants: Mapping[str, Command] = NO_COMMANDS,
        *,
        restart_s: float = RESTART_S,
    ) -> None:
        self._commands = commands
        self._attendants = attendants
        self._restart_s = restart_s
        self._is_draining = False
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: queue.SimpleQueue[tuple[str, int | None]] = queue.SimpleQueue()

    def run(self) -> None:
        """Start the children and wait for them.

        Raises FatalError with the exit code of the first child that failed.
        """
        previous = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            for name, command in self._commands.items():
                self._start(name, command)
            for name, command in self._attendants.items():
                self._attend(name, command)
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

    def _attend(self, name: str, command: Command) -> None:
        child = self._start(name, command)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            # now, before it has any thread: each begins as nice as the one that starts it
            os.setpriority(os.PRIO_PROCESS, child.pid, NICE)

    def _start(self, name: str, command: Command) -> "subprocess.Popen[bytes]":
        arguments, environment = command
        child = subprocess.Popen(
            [sys.executable, "-m", "headwater", *arguments],
            env={**os.environ, SUPERVISOR: str(os.getpid()), **environment},
        )
        self._children[name] = child
        threading.Thread(target=self._watch, args=(name, child), daemon=True).start()
        return child

    def _watch(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        code = child.wait()
        self._ended.put((name, code))

    def _wait(self) -> tuple[str, int] | None:
        failed: tuple[str, int] | None = None
        left, attending = set(self._commands), set(self._attendants)
        while left or attending:
            name, code = self._ended.get()
            if name in self._attendants:
                self._attended(name, code, attending)
                continue
            log.info("supervisor.child_ended", child=name, exit_code=code)
            left.discard(name)
            is_unheard = self._is_draining and code in UNHEARD  # asked before it could listen
            if code and failed is None and not is_unheard:
                failed = (name, code)
            if failed is not None or not left:
                self.drain()
        return failed

    def _attended(self, name: str, code: int | None, attending: set[str]) -> None:
        """An attendant ended, or with no code is due to be started again."""
        attending.discard(name)
        if code is None:
            if not self._is_draining:
                self._attend(name, self._attendants[name])
                attending.add(name)
            return
        if self._is_draining:
            log.info("supervisor.child_ended", child=name, exit_code=code)
            return
        log.error(
            "supervisor.attendant_ended",
            child=name,
            exit_code=code,
            again_in_s=self._restart_s,
        )
        again = threading.Timer(self._restart_s, self._ended.put, ((name, None),))
        again.daemon = True
        again.start()

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
