"""One service on its way up: launch, wait until it answers, and say why when it does not."""

import re
from pathlib import Path
from typing import Final

from headwater.embedded import process
from headwater.embedded.artefacts import Progress
from headwater.embedded.home import Home, stop
from headwater.embedded.services import Service, free_port, is_free, java_environment
from headwater.errors import UnavailableError

START_S: Final = 120.0  # both answer after 4-8 s on an idle machine; this bounds a crowded one
PORT_ATTEMPTS: Final = 3  # a port found free may be taken by another before the service binds it
RECORD_S: Final = 5.0  # a Python start of 30 ms, on a crowded machine
LOG_TAIL_LINES: Final = 12  # enough for Kafka's and Quarkus' last words

_STACK_FRAME: Final = re.compile(r"^\s+(at |\.\.\. \d+ )")
_CAUSE: Final = re.compile(r"Caused by: |Exception: |\b(ERROR|FATAL)\b|Error: ")
_PORT_TAKEN: Final = re.compile(r"already in use|Port already bound", re.IGNORECASE)


class Start:
    """Brings one service up; changes nothing where it already runs."""

    def __init__(self, home: Home, service: Service, *, wanted_port: int | None) -> None:
        self._home = home
        self._service = service
        self._wanted_port = wanted_port
        self._log = home.log(service.name)
        self._pid: int | None = None  # of the process this start created
        self.port = 0

    def begin(self, progress: Progress) -> None:
        """Launch the service unless it runs.

        Raises UnavailableError when the wanted port is taken or the service runs on another.
        """
        running = self._home.running(self._service.name)
        if running is None:
            progress.step(f"starting {self._service.title}")
            self._launch(self._choose_port())
            return
        if self._wanted_port not in (None, running.port):
            raise UnavailableError(
                f"{self._service.title} in {self._home.root} already listens on port "
                f"{running.port}: run `headwater dev down` first, or leave out the port",
                code="STACK_RUNS",
            )
        self.port = running.port

    def finish(self, progress: Progress) -> None:
        """Wait until the service answers. Raises UnavailableError with the log's end if not."""
        progress.step(f"waiting for {self._service.title}")
        for _ in range(PORT_ATTEMPTS):
            if self._answered():
                return
            if not self._lost_its_port():
                break
            self.abandon()
            self._launch(free_port())
        raise UnavailableError(self._failure(), code="STACK_FAILED")

    def abandon(self) -> None:
        """Stop the process this start created, if it created one."""
        if self._pid is None:
            return
        # a child that was only just spawned has yet to write its record
        process.wait_until(lambda: self._own_record() is not None or self._has_ended(), RECORD_S)
        record = self._own_record()
        if record is not None:
            stop(record, self._service.title)

    def _own_record(self) -> process.Record | None:
        record = self._home.record(self._service.name)
        return record if record is not None and record.pid == self._pid else None

    def _choose_port(self) -> int:
        """The wanted port, else that of the last time, else any: addresses stay when they can."""
        if self._wanted_port is not None:
            if not is_free(self._wanted_port):
                raise UnavailableError(
                    f"port {self._wanted_port} for {self._service.title} is taken by another "
                    "program: choose another port, or none to get a free one",
                    code="PORT_TAKEN",
                )
            return self._wanted_port
        last = self._home.record(self._service.name)
        return last.port if last is not None and is_free(last.port) else free_port()

    def _launch(self, port: int) -> None:
        self.port = port
        data = self._home.data(self._service.name)
        command = self._service.prepare(data, port)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._pid = process.spawn(
            command,
            record=self._home.record_path(self._service.name),
            port=port,
            log=self._log,
            env=java_environment(),
        )

    def _answered(self) -> bool:
        """Whether it answered in time; a process that ended is not waited for."""
        answered = False

        def decided() -> bool:
            nonlocal answered
            answered = self._service.answers(self.port)
            return answered or self._has_ended()

        process.wait_until(decided, START_S)
        return answered and not self._has_ended()

    def _has_ended(self) -> bool:
        if self._pid is not None:
            return process.has_ended(self._pid)
        return self._home.running(self._service.name) is None

    def _lost_its_port(self) -> bool:
        if self._wanted_port is not None or not self._has_ended():
            return False
        return _PORT_TAKEN.search(_read(self._log)) is not None

    def _failure(self) -> str:
        lines = [line for line in _read(self._log).splitlines() if line.strip()]
        told = [line for line in lines if not _STACK_FRAME.match(line)]
        causes = [line for line in told if _CAUSE.search(line)]
        what = "ended while starting" if self._has_ended() else f"did not answer in {START_S:.0f} s"
        cause = f": {causes[-1].strip()}" if causes else ""
        tail = "".join(f"\n  {line}" for line in told[-LOG_TAIL_LINES:])
        return f"{self._service.title} {what}{cause}; the end of {self._log}:{tail}"


def _read(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""
